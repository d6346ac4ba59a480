"""Inputs for a model of which nothing is known but its declared shapes and types."""

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TypeProto, ValueInfoProto
from onnx.helper import tensor_dtype_to_np_dtype

from ..runtime.errors import ModelError

Array = npt.NDArray[np.generic]
Feeds = Mapping[str, Array]

_BATCH = 2
# Tried one after the other for the free sizes of an image or a sequence: what a network strides over 32 times, small, what ImageNet has.
_FREE_SIZES = (32, 7, 1, 64, 224)


def random_feeds(model: ModelProto) -> Iterator[Feeds]:
    """Yield inputs that fit the declared shapes, in the order in which they are worth trying; always the same for the same declarations.

    A free first dimension gets 2, other free ones get a common small size. Floats are normal, or else uniform between 0 and 1; integers,
    which may be indices or lengths, are 0 or 1, but bytes use their whole range.

    Raises:
        ModelError: An input is no tensor, or of a type that numpy has no numbers for.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    seen: list[dict[str, tuple[int, ...]]] = []
    for size in _FREE_SIZES:
        shapes = {value.name: _shape(value, size) for value in inputs}
        if shapes not in seen:  # without free sizes they are all alike
            seen.append(shapes)
    for shapes, uniform in product(seen, (False, True)):
        draw = np.random.default_rng(0)
        yield {value.name: _draw(draw, value.type.tensor_type, shapes[value.name], uniform=uniform) for value in inputs}


def _shape(value: ValueInfoProto, size: int) -> tuple[int, ...]:
    if not value.type.HasField("tensor_type"):
        raise ModelError("an input of the model is no tensor", value.name, "give arrays to compare with")
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.dim_value > 0 else size if axis else _BATCH for axis, dim in enumerate(dims))


def _draw(draw: np.random.Generator, kind: TypeProto.Tensor, shape: tuple[int, ...], *, uniform: bool) -> Array:
    dtype = tensor_dtype_to_np_dtype(kind.elem_type)
    if dtype == np.bool_:
        return draw.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu" and dtype.itemsize == 1:
        limits = np.iinfo(dtype)
        return draw.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)
    if np.issubdtype(dtype, np.integer):
        return draw.integers(0, 2, shape).astype(dtype)
    if dtype.kind not in "fV":  # V: bfloat16 and its kin
        raise ModelError("an input of the model is neither number nor truth value", f"{dtype}", "give arrays to compare with")
    return (draw.random(shape) if uniform else draw.standard_normal(shape)).astype(dtype)
