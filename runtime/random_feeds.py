"""Inputs made of nothing: random arrays of a model's declared shapes, for timing a file without data."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .errors import ConfigError
from .spec import InputSpec
from .tensors import Tensor

_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_INTEGERS = {"tensor(uint8)": (np.uint8, 256), "tensor(int8)": (np.int8, 128), "tensor(bool)": (np.bool_, 2)}
# Wide integers are indices, lengths or masks: 0 and 1 are inside every range.
_INDICES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint32)": np.uint32, "tensor(int16)": np.int16}


def random_feeds(inputs: Sequence[Tensor], images: Sequence[InputSpec] = (), *, seed: int = 0) -> dict[str, npt.NDArray[np.generic]]:
    """Return one array for each input: float numbers like prepared images (mean 0, deviation 1), bytes over their whole range.

    A free first dimension becomes 1. Other free dimensions come from the input's spec.

    Args:
        inputs: What the model takes.
        images: What is known of its images, by name; a single one fits a single input under any name.
        seed: Of the random numbers.

    Raises:
        ConfigError: A size is neither declared nor known, or the type is text.
    """
    generator = np.random.default_rng(seed)
    known = {one.name: one for one in images}
    if len(inputs) == len(images) == 1:
        known = {inputs[0].name: images[0]}
    return {one.name: _array(one, _shape(one, known.get(one.name)), generator) for one in inputs}


def _shape(tensor: Tensor, image: InputSpec | None) -> tuple[int, ...]:
    declared = [size if isinstance(size, int) and size > 0 else None for size in tensor.shape]
    if declared and declared[0] is None:
        declared[0] = 1
    if image is not None and len(declared) == 4:
        sizes = (image.channels, image.height, image.width) if image.layout == "NCHW" else (image.height, image.width, image.channels)
        declared[1:] = [size or own for size, own in zip(declared[1:], sizes, strict=True)]
    shape = tuple(size for size in declared if size is not None)
    if len(shape) != len(declared):
        raise ConfigError(
            "the model leaves the size of its input open",
            f"{tensor.name} {list(tensor.shape)}",
            "give --input-size, such as 3x224x224, or feeds of your own",
        )
    return shape


def _array(tensor: Tensor, shape: tuple[int, ...], generator: np.random.Generator) -> npt.NDArray[np.generic]:
    if dtype := _FLOATS.get(tensor.type):
        return generator.standard_normal(shape).astype(dtype)
    if tensor.type in _INTEGERS:
        kind, top = _INTEGERS[tensor.type]
        return generator.integers(0, top, shape).astype(kind)
    if kind := _INDICES.get(tensor.type):
        return generator.integers(0, 2, shape).astype(kind)
    raise ConfigError("no random input can be made for this type", f"{tensor.name} {tensor.type}", "give feeds of your own")
