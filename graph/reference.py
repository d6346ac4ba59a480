"""What a model answers before it is edited, and whether an edited one still gives that."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from ..runtime.errors import DataError, EdgerecError, ModelError
from .execution import first_bad_tensor, has_nan, open_model
from .random_inputs import Feeds, random_feeds

Array = npt.NDArray[np.generic]

# Folding a batch norm moves a deep network's outputs by 1e-6 of the largest; a wrong rewrite moves them by far more.
_TOLERANCE = 1e-4
_SMALLEST = 1e-3  # an output below this is compared as if its largest value were this: differences of rounding may be all it is


@dataclass(frozen=True, slots=True)
class Reference:
    """Inputs, and the outputs that a model gives for them.

    Attributes:
        feeds: One array for each input, by name.
        outputs: One array for each output, by name.
    """

    feeds: Feeds
    outputs: Mapping[str, Array]

    @classmethod
    def of(cls, model: ModelProto, feeds: Feeds | None = None) -> "Reference":
        """Run a model once, on `feeds` or on random inputs that it takes.

        Raises:
            ModelError: ONNX Runtime cannot run the model, or an output is NaN; the first node that gives NaN is named.
            DataError: The arrays do not fit the model, or it takes none of the random ones.
        """
        session = open_model(model, threads=1, optimise=False)
        if feeds is not None:
            outputs = session.run(feeds)
            if any(has_nan(array) for array in outputs.values()):
                raise _nan(model, feeds)
            return cls(feeds, outputs)
        failure: EdgerecError | None = None
        for candidate in random_feeds(model):
            try:
                outputs = session.run(candidate)
            except EdgerecError as error:
                failure = failure or error
                continue
            if not any(has_nan(array) for array in outputs.values()):
                return cls(candidate, outputs)
            failure = _nan(model, candidate)
        raise failure or DataError("the model takes no input that fits its declaration", "nothing was tried", "give arrays to compare with")

    def fault(self, model: ModelProto) -> str | None:
        """Return in what the model's outputs differ from these, or None where they agree.

        Floats may differ by a ten-thousandth of the output's largest value; anything else must be equal.

        Raises:
            EdgerecError: ONNX Runtime cannot run the model.
        """
        outputs = open_model(model, threads=1, optimise=False).run(self.feeds)
        if list(outputs) != list(self.outputs):
            return f"the outputs are {', '.join(outputs)} instead of {', '.join(self.outputs)}"
        faults = ((name, _difference(expected, outputs[name])) for name, expected in self.outputs.items())
        return next((f"output {name}: {fault}" for name, fault in faults if fault), None)


def _nan(model: ModelProto, feeds: Feeds) -> ModelError:
    node, tensor = first_bad_tensor(model, feeds) or ("?", "?")
    return ModelError("the model computes NaN", f"node {node!r} gives it first, in tensor {tensor!r}", "check the model and its input")


def _difference(expected: object, found: object) -> str | None:
    if not isinstance(expected, np.ndarray) or not isinstance(found, np.ndarray):
        return None if _listed(expected) == _listed(found) else "other values"
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return f"{found.dtype}{list(found.shape)} instead of {expected.dtype}{list(expected.shape)}"
    if not np.issubdtype(expected.dtype, np.floating):
        return None if np.array_equal(expected, found) else "other values"
    finite = np.isfinite(expected)
    largest = float(np.abs(expected[finite]).max(initial=_SMALLEST))
    allowed = max(_TOLERANCE, 4 * float(np.finfo(expected.dtype).eps)) * largest
    worst = float(np.abs(expected[finite].astype(np.float64) - found[finite].astype(np.float64)).max(initial=0))
    if not worst <= allowed or not np.array_equal(expected[~finite], found[~finite]):  # written so that NaN fails
        return f"values differ by {worst:.2e}, allowed {allowed:.2e}"
    return None


def _listed(value: object) -> object:
    """Return the arrays in a sequence as lists, which can be compared."""
    return [_listed(one) for one in value] if isinstance(value, list) else value.tolist() if isinstance(value, np.ndarray) else value
