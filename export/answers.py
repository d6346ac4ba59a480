"""What PyTorch answers, output by output, and how far a file is from that."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..graph.parity import Parity, Tolerance, check, compare
from ..runtime.errors import GateError, ModelError
from ..runtime.session import open_session
from ..train.evaluation import evaluating
from .tracing import cause

Array = npt.NDArray[np.generic]
Feeds = Mapping[str, Array]
Outputs = dict[str, Array]

OUTPUT = "logits"
_FIX = "let forward take any batch size and return (N, classes)"


class Flat(nn.Module):
    """A model that returns its tensors as a plain tuple, in the order of their names."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(name_outputs(self.model(*inputs)).values())


def name_outputs(result: object) -> dict[str, Tensor]:
    """Give every tensor that a forward returned its name: a dict's keys, a named tuple's fields, or `logits`, `output_1`, `output_2` ...

    Raises:
        ModelError: Something in it is no tensor.
    """
    if isinstance(result, Tensor):
        return {OUTPUT: result}
    if isinstance(result, Mapping):
        named = {str(name): value for name, value in result.items()}
    elif isinstance(result, (tuple, list)):
        names = getattr(result, "_fields", None) or [OUTPUT, *(f"output_{at}" for at in range(1, len(result)))]
        named = dict(zip(names, result, strict=True))
    else:
        raise ModelError("forward returns no tensors", type(result).__name__, "return a tensor, or a dict or tuple of tensors")
    odd = [f"{name} is a {type(value).__name__}" for name, value in named.items() if not isinstance(value, Tensor)]
    if odd or not named:
        raise ModelError("forward returns something else than tensors", ", ".join(odd) or "nothing", "return tensors, each by its own name")
    return named


def run_torch(model: nn.Module, feeds: Feeds) -> object:
    """Run forward on arrays in their order, on the model's device, evaluating; return what it gives, and let through what it raises."""
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    tensors = [torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in feeds.values()]
    with evaluating(model), torch.inference_mode():
        return model(*tensors)


def ask_torch(model: nn.Module, feeds: Feeds) -> Outputs:
    """Return PyTorch's answers by output name, floats as float32.

    Raises:
        ModelError: The model refuses the batch, or does not return one row for each image.
    """
    images = len(next(iter(feeds.values())))
    try:
        result = run_torch(model, feeds)
    # A user's forward may raise anything; torch.export traces some that take one batch size only.
    except Exception as error:
        raise ModelError(
            "the model refuses a batch", f"{images} images ({cause(error)})", f"{_FIX}, or fix the batch with --batch"
        ) from error
    answers = {name: (one.float() if one.is_floating_point() else one).cpu().numpy() for name, one in name_outputs(result).items()}
    for name, array in answers.items():
        if not array.ndim or len(array) != images:
            raise ModelError(
                "the model does not return one row of logits for each image", f"{images} images gave {name} {array.shape}", _FIX
            )
    return answers


def ask_file(file: Path, names: Sequence[str]) -> Callable[[Feeds], Outputs]:
    """Open a file with ONNX Runtime on the CPU."""
    session = open_session(file)
    half = {one.name for one in session.inputs if one.type == "tensor(float16)"}

    def run(feeds: Feeds) -> Outputs:
        results = session.run({name: array.astype(np.float16) if name in half else array for name, array in feeds.items()})
        found = {name: results[name] for name in names}
        return {name: array.astype(np.float32) if array.dtype == np.float16 else array for name, array in found.items()}

    return run


def check_answers(expected: Sequence[Outputs], found: Sequence[Outputs], tolerance: Tolerance) -> Parity:
    """Compare all outputs over all batches; return the numbers of the one that is farthest off.

    Top-1 is asked of the first output alone: the largest value of a feature map means nothing.

    Raises:
        GateError: An output is farther off than the tolerance says; it is named if there are several.
    """
    parities: list[Parity] = []
    for at, name in enumerate(expected[0]):
        batches = [{"expected": one[name], "found": other[name]} for one, other in zip(expected, found, strict=True)]
        parity = compare(lambda pair: pair["expected"], lambda pair: pair["found"], batches)
        try:
            check(parity, tolerance if at == 0 else replace(tolerance, top1_agreement=0.0))
        except GateError as error:
            given = error.given if len(expected[0]) == 1 else f"output {name}: {error.given}"
            raise GateError(error.problem, given, error.fix) from error
        parities.append(parity)
    return max(parities, key=lambda one: one.max_abs / max(1.0, one.largest))
