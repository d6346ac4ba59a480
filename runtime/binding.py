"""Buffers that one thread reuses: a run of the model allocates nothing.

Bound buffers also take 2 of 14 us off a bare `session.run` (one thread, 3x32x32 inputs): ONNX Runtime neither converts the feeds nor makes
an output. `run_with_ort_values` would add 33 us (docs/log.md, 2026-11-25).
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from .finite import DOT_LIMIT, has_finite_sum, weights_for
from .loading import CPU
from .session import Session

Array = npt.NDArray[np.generic]

_FLOAT32 = np.dtype(np.float32)

# What preprocessing can write into directly; a model that takes anything else is fed float32 and refuses it by name.
DTYPES: dict[str, type[np.generic]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
KEPT = 2  # sizes of batch that a thread keeps buffers for: 1, and the last other one


class _IoBinding(Protocol):
    """The part of `onnxruntime.IOBinding` that is used here."""

    def bind_input(self, name: str, device_type: str, device_id: int, element_type: object, shape: list[int], buffer_ptr: int) -> None: ...
    def bind_output(self, name: str, device_type: str, device_id: int, element_type: object, shape: list[int], buffer_ptr: int) -> None: ...


class _Bindable(Protocol):
    """A session of ONNX Runtime; the stand-ins of tests have `run` alone."""

    def io_binding(self) -> _IoBinding: ...
    def run_with_iobinding(self, iobinding: _IoBinding) -> None: ...


@dataclass(frozen=True, slots=True)
class _Ready:
    """The only input of a small model, for one image: a float32 tensor of one of the shapes goes straight in."""

    array: npt.NDArray[np.float32]
    flat: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]

    @classmethod
    def of(cls, inputs: Sequence[Array]) -> "_Ready | None":
        if len(inputs) != 1 or len(inputs[0]) != 1 or inputs[0].dtype != _FLOAT32 or inputs[0].size > DOT_LIMIT:
            return None
        array = cast("npt.NDArray[np.float32]", inputs[0])
        return cls(array, array.reshape(-1), weights_for(array.size), (array.shape, array.shape[1:]))


class Binding:
    """Input arrays for one number of images, and the first output behind them. For one thread at a time.

    Args:
        session: The model.
        shapes: Shape of one image for each input, by name; every input of the model is there.
        count: Images a run.

    Attributes:
        inputs: Arrays to write into, by input name, shape (count, *shape).
        count: Images a run.
    """

    def __init__(self, session: Session, shapes: Mapping[str, tuple[int, ...]], count: int) -> None:
        kinds = {one.name: DTYPES.get(one.type, np.float32) for one in session.inputs}
        self.inputs: dict[str, Array] = {name: np.zeros((count, *shape), kinds.get(name, np.float32)) for name, shape in shapes.items()}
        self.count = count
        self._ready = _Ready.of(list(self.inputs.values()))
        self._session = session
        self._bound: tuple[_Bindable, _IoBinding, Array] | None = None
        # CUDA's sessions copy an input when it is bound, not when the model runs: every image would get the first one's scores.
        on_cpu = session.placement.nodes.keys() <= {CPU}
        known = session.fixed_batch in (None, count) and kinds.keys() == shapes.keys()
        self._can_bind = on_cpu and known and hasattr(session.ort, "io_binding")

    def take(self, tensor: Array) -> bool:
        """Put a tensor that is ready for the model into the only input; return whether it was one, finite and of the right shape."""
        ready = self._ready
        if ready is None or tensor.dtype != _FLOAT32 or tensor.shape not in ready.shapes:
            return False
        np.copyto(ready.array, tensor)
        return has_finite_sum(ready.flat, ready.weights)

    def run(self) -> Array:
        """Run the model on what `inputs` holds; return its first output, which the next run overwrites.

        Raises:
            DataError: The model refuses the shapes or dtypes.
            ModelError: A node fails while it runs.
        """
        if self._bound is None:
            found = self._session.predict(self.inputs)
            if self._can_bind:
                # The first run tells the output's shape: many files leave dimensions open.
                self._bound = self._bind(found)
            return found
        ort, bound, output = self._bound
        try:
            ort.run_with_iobinding(bound)
        except Exception:
            return self._session.predict(self.inputs)  # the plain way names what is wrong, or takes an output that changes its shape
        return output

    def _bind(self, found: Array) -> tuple[_Bindable, _IoBinding, Array]:
        ort = cast("_Bindable", self._session.ort)
        bound, output = ort.io_binding(), np.empty_like(found, order="C")
        for name, array in self.inputs.items():
            bound.bind_input(name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data)
        bound.bind_output(self._session.outputs[0].name, "cpu", 0, output.dtype.type, list(output.shape), output.ctypes.data)
        return ort, bound, output


class Bindings:
    """The calling thread's bindings, made when they are first needed.

    Args:
        session: The model.
        shapes: Shape of one image for each input, by name.
    """

    def __init__(self, session: Session, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._session = session
        self._shapes = shapes
        self._local = threading.local()

    def of(self, count: int) -> Binding:
        """Return this thread's binding for `count` images a run."""
        kept = cast("dict[int, Binding] | None", getattr(self._local, "kept", None))
        if kept is None:
            kept = self._local.kept = {}
        found = kept.get(count)
        if found is None:
            for old in [one for one in kept if one != 1][: len(kept) - KEPT + 1]:
                del kept[old]
            found = kept[count] = self.new(count)
        return found

    def new(self, count: int) -> Binding:
        """Return a binding of its own, for a caller that hands it from thread to thread."""
        return Binding(self._session, self._shapes, count)
