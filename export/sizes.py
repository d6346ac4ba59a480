"""Images of other heights and widths: whether PyTorch takes them, and what it answers."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from torch import nn

from ..runtime.errors import ModelError
from ..runtime.spec import InputSpec, ModelSpec
from .answers import Outputs, ask_torch, run_torch

Array = npt.NDArray[np.generic]

# The gate's sizes are the spec's plus these many steps, by axis: larger both, never square, and different from each other.
_STEPS = ((1, 2), (2, 1))
_LARGEST_STEP = 32  # what a network halves five times


def free_sides(spec: ModelSpec) -> dict[str, dict[int, str]]:
    """Return per image the axes of its height and width with their names; images of equal size share the names, and so the sizes."""
    if not spec.inputs:
        return {}
    first = spec.inputs[0]
    return {one.name: _sides(one, "" if (one.height, one.width) == (first.height, first.width) else f"{one.name}_") for one in spec.inputs}


def _sides(image: InputSpec, prefix: str) -> dict[int, str]:
    at = 2 if image.layout == "NCHW" else 1
    return {at: f"{prefix}height", at + 1: f"{prefix}width"}


def ask_at_sizes(
    model: nn.Module, example: Mapping[str, Array], free: Mapping[str, Mapping[int, str]]
) -> Iterator[tuple[dict[str, Array], Outputs]]:
    """Yield the example at two other sizes with PyTorch's answers; nothing where only the batch is free.

    Sizes grow by the power of two that divides them (at most 32), so that a network that halves its images and joins them again still can.

    Raises:
        ModelError: The model takes one size only; the module that refuses another is named.
    """
    if not any(at for axes in free.values() for at in axes):
        return
    for steps in _STEPS:
        feeds = {name: _grown(array, free.get(name, {}), steps) for name, array in example.items()}
        try:
            yield feeds, ask_torch(model, feeds)
        except ModelError as error:
            given = ", ".join(f"{name} {array.shape[1:]}" for name, array in feeds.items() if array.shape != example[name].shape)
            raise ModelError(
                "the model takes one image size only",
                f"{given}: {_refusing(model, feeds)} refuses it ({error.given})",
                "leave --dynamic-size out; or pool over all pixels before a Linear, and interpolate position embeddings",
            ) from error


def _grown(array: Array, axes: Mapping[int, str], steps: tuple[int, int]) -> Array:
    """Stretch an array along its free axes, nearest neighbours."""
    for at, step in zip((at for at in sorted(axes) if at), steps, strict=False):
        size = array.shape[at]
        larger = size + step * min(_LARGEST_STEP, size & -size)
        array = np.take(array, np.arange(larger) * size // larger, axis=at)
    return array


def _refusing(model: nn.Module, feeds: Mapping[str, Array]) -> str:
    """Run a model that fails and return the innermost module that was entered and not left."""
    entered: list[str] = []

    def enter(path: str):
        def note(module: nn.Module, inputs: object) -> None:
            entered.append(f"{type(module).__name__} {path!r}" if path else type(module).__name__)

        return note

    def leave(module: nn.Module, inputs: object, output: object) -> None:
        entered.pop()

    handles = [one.register_forward_pre_hook(enter(path)) for path, one in model.named_modules()]
    handles += [one.register_forward_hook(leave) for one in model.modules()]
    try:
        run_torch(model, feeds)
    except Exception:
        return entered[-1] if entered else type(model).__name__
    finally:
        for handle in handles:
            handle.remove()
    return type(model).__name__  # it runs, but does not give one row for each image
