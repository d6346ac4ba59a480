"""What `predict` takes, and how it gets into the arrays that a model reads."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from .errors import DataError
from .finite import count_not_finite, is_finite
from .preprocess import MAX_PIXELS, Pixels, decode, normalize, read_pixels, to_pixels
from .spec import InputSpec

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Array = npt.NDArray[np.generic]

_FLOAT32 = np.dtype(np.float32)

# An image file, its bytes, decoded pixels, an image that Pillow has opened, or a tensor that is ready for the model.
Image: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | Array | PillowImage"
Sample: TypeAlias = "Image | Mapping[str, Image]"  # by input name, for models with several inputs


def write_image(image: Image, spec: InputSpec, out: Array, max_pixels: int = MAX_PIXELS) -> None:
    """Put one image into the model's input array.

    Args:
        image: A path, the bytes of an image file, a Pillow image, uint8 pixels of shape (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA;
            or float32 of the shape `spec.shape` or (1, *spec.shape), which goes in as it is.
        spec: What the model expects.
        out: Where it goes, shape `spec.shape`.
        max_pixels: Files with more pixels are refused before they are decoded.

    Raises:
        DataError: The image cannot be decoded, has another dtype or shape, or has values that are not finite.
    """
    if isinstance(image, np.ndarray) and image.dtype == _FLOAT32:
        _write_tensor(cast("npt.NDArray[np.float32]", image), spec, out)
        return
    pixels = (to_pixels(image, spec) if isinstance(image, np.ndarray) else read_pixels(_source_of(image), spec, max_pixels))[np.newaxis]
    if out.dtype == np.float32:
        normalize(pixels, spec, cast("npt.NDArray[np.float32]", out[np.newaxis]))
    else:
        np.copyto(out, normalize(pixels, spec)[0], casting="same_kind")


def read_image(image: Image, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode a path, bytes or a Pillow image; an array passes as it is.

    Raises:
        DataError: It is none of these, or cannot be decoded.
    """
    return cast("Pixels", np.asarray(image)) if isinstance(image, np.ndarray) else decode(_source_of(image), max_pixels)


def _source_of(image: object) -> "Path | bytes | PillowImage":
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(cast("bytes", image))
    if isinstance(image, str | os.PathLike):
        return Path(cast("str", image))
    if _is_pillow(image):
        return image
    raise DataError(
        "this is no image",
        f"a {type(image).__name__}",
        "give a path, the bytes of an image file, a uint8 array or a prepared float32 array",
    )


def _write_tensor(tensor: npt.NDArray[np.float32], spec: InputSpec, out: Array) -> None:
    if tensor.shape != out.shape and tensor.shape != (1, *out.shape):
        raise DataError(
            f"a prepared tensor must have the shape {spec.shape}",
            f"float32 {tensor.shape}",
            "give pixels as uint8, 0 to 255, channels last; several images go to predict_batch",
        )
    if not is_finite(tensor):
        bad = f"{count_not_finite(tensor)} of {tensor.size} values"
        raise DataError(f"the tensor for {spec.name!r} is not finite", bad, "check where NaN and infinity come from")
    np.copyto(out, tensor, "same_kind")  # a leading 1 is left out


def _is_pillow(image: object) -> "TypeGuard[PillowImage]":
    """Whether this is an image of Pillow's; there is none before somebody has loaded Pillow."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)
