"""The one preprocessing: from an image file to the tensor a model takes, driven by the spec alone.

Training, calibration, evaluation, benchmark and device all come here, and get bit-equal tensors from the same decoded pixels.
numpy and Pillow only.
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from .errors import DataError
from .spec import MAX_PIXELS, InputSpec, ModelSpec

if TYPE_CHECKING:
    from PIL import Image

Pixels = npt.NDArray[np.uint8]
Tensor = npt.NDArray[np.float32]

# What is looked for in a file, whatever its name. Pillow knows forty more, most of them hardly tested, and EPS starts Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")


def decode(source: "Path | bytes | Image.Image", max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read one image file of the `FORMATS`; of several frames or pages, the first.

    EXIF rotation is applied. Palettes, CMYK and YCbCr become RGB; transparency is dropped (as `convert("RGB")` does in the loaders models are
    trained with); 16-bit grey keeps its upper 8 bits; 32-bit float is clipped to 0..255.

    Args:
        source: A file, its bytes, or an image that Pillow has opened.
        max_pixels: Width x height above which it is refused, from its header, before anything is decoded.

    Returns:
        uint8, shape (H, W, 3) in RGB order, or (H, W, 1) for a grey image.

    Raises:
        DataError: The file is missing, damaged, not an image, or too large, or has pixels that are not finite.
    """
    return _opened(source, max_pixels, _to_array)


def read_pixels(source: "Path | bytes | Image.Image", spec: InputSpec, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Return `to_pixels(decode(source, max_pixels), spec)`, bit by bit, without an array of the whole image in between.

    Raises:
        DataError: As `decode` and `to_pixels`.
    """
    return _opened(source, max_pixels, lambda image: _fitted(image, spec))


def _opened(source: "Path | bytes | Image.Image", max_pixels: int, use: "Callable[[Image.Image], Pixels]") -> Pixels:
    from PIL import Image, ImageOps  # here and below: a product that feeds ready arrays never loads Pillow

    if isinstance(source, Path):
        name = str(source)
    else:
        name = f"{len(source)} bytes" if isinstance(source, bytes) else f"a Pillow image, {source.mode}"
    try:
        if isinstance(source, Image.Image):
            return use(_plain(ImageOps.exif_transpose(_bounded(source, name, max_pixels)), name))
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            return use(_plain(ImageOps.exif_transpose(_bounded(image, name, max_pixels)), name))
    except FileNotFoundError as error:
        raise DataError("the image does not exist", name, "check the path") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow's own, larger limit
        raise DataError(f"the image has more than {max_pixels:,} pixels", f"{name} ({error})", "shrink it first") from error
    # Pillow's plug-ins raise almost anything on damaged files: OSError, SyntaxError, ValueError, struct.error, EOFError ...
    except (
        OSError,
        SyntaxError,
        ValueError,
        ArithmeticError,
        LookupError,
        TypeError,
        AttributeError,
        EOFError,
        MemoryError,
        RuntimeError,
        struct.error,
        zlib.error,
        Warning,  # where the caller makes warnings errors
    ) as error:
        folder = isinstance(source, Path) and source.is_dir()
        raise DataError(
            "the image cannot be decoded",
            f"{name} (a folder)" if folder else f"{name} ({error})",
            f"replace the file, or leave it out; known formats: {', '.join(FORMATS)}",
        ) from error


def to_pixels(image: npt.NDArray[np.generic], spec: InputSpec) -> Pixels:
    """Bring one decoded image to the spec's colour order and size.

    Args:
        image: uint8, shape (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA.
        spec: What the model expects.

    Returns:
        uint8, shape (spec.height, spec.width, spec.channels).

    Raises:
        DataError: Another dtype or shape, or an empty image.
    """
    pixels = _as_color(_checked(image), spec)
    if pixels.shape[:2] != (spec.height, spec.width):
        pixels = _resized(pixels, spec)
    return pixels[:, :, ::-1] if spec.color == "bgr" else pixels


def normalize(pixels: npt.NDArray[np.uint8 | np.float32], spec: InputSpec, out: Tensor | None = None) -> Tensor:
    """Return `(pixels * scale - mean) / std` in the model's layout.

    Planes are filled first, then worked on in place: 5 to 12 times faster at 224 pixels than the formula on (H, W, 3) with a transposing copy
    behind it, and bit-equal. Tables of 256 values are slower than the arithmetic (docs/log.md, 2026-11-25).

    Args:
        pixels: Raw 0..255 values, shape (N, H, W, C).
        spec: What the model expects.
        out: Where the result goes, float32, in its shape; None makes a new array.

    Returns:
        float32, contiguous, shape (N, C, H, W), or (N, H, W, C) for `NHWC`.
    """
    nchw = spec.layout == "NCHW"
    planes = pixels.transpose(0, 3, 1, 2) if nchw else pixels
    values = np.empty(planes.shape, np.float32) if out is None else out
    np.copyto(values, planes)
    # Channels last, whole rows are worked on: numpy's inner loop would be three values long.
    rows = values if nchw else values.reshape(*values.shape[:2], -1)

    def spread(each: tuple[float, ...]) -> Tensor:
        return np.asarray(each, np.float32).reshape(-1, 1, 1) if nchw else np.tile(np.asarray(each, np.float32), pixels.shape[2])

    # A step that changes no bit is skipped: models that take raw pixels have scale 1, mean 0, std 1.
    if spec.scale != 1:
        rows *= np.float32(spec.scale)
    if any(spec.mean):
        rows -= spread(spec.mean)
    if any(std != 1 for std in spec.std):
        rows /= spread(spec.std)
    return values


def prepare(image: npt.NDArray[np.generic], spec: InputSpec) -> Tensor:
    """Return one decoded image as the model takes it: float32, shape `spec.shape`."""
    return normalize(to_pixels(image, spec)[np.newaxis], spec)[0]


def prepare_batch(images: Sequence[npt.NDArray[np.generic]], spec: InputSpec) -> Tensor:
    """Return decoded images, of any sizes, as one batch: float32, shape (N, *spec.shape)."""
    batch = np.empty((len(images), *spec.shape), np.float32)
    for at, image in enumerate(images):
        normalize(to_pixels(image, spec)[np.newaxis], spec, batch[at : at + 1])
    return batch


def prepare_feeds(feeds: Mapping[str, npt.NDArray[np.generic]], spec: ModelSpec) -> dict[str, npt.NDArray[np.generic]]:
    """Normalise the uint8 images among `feeds` by the spec of their input; other arrays pass as they are.

    A packed file takes its images as they are.
    """
    if spec.packed is not None:
        return dict(feeds)
    images = {one.name: one for one in spec.inputs}
    return {
        name: normalize(cast("Pixels", array), images[name]) if name in images and array.dtype == np.uint8 else array
        for name, array in feeds.items()
    }


def _bounded(image: "Image.Image", name: str, max_pixels: int) -> "Image.Image":
    if image.width * image.height > max_pixels:
        raise DataError(f"the image has more than {max_pixels:,} pixels", f"{name}: {image.width}x{image.height}", "shrink it first")
    return image


def _plain(image: "Image.Image", name: str) -> "Image.Image":
    """Return the image in mode L or RGB."""
    from PIL import Image

    if image.mode == "F" and not np.isfinite(np.asarray(image)).all():
        raise DataError("the image has pixels that are not finite", name, "write it again without NaN and infinity")
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I"):
        # Pillow would clip these to 255 instead of scaling them.
        return Image.fromarray((np.clip(np.asarray(image, np.int32), 0, 65535) >> 8).astype(np.uint8))
    if image.mode in ("L", "LA", "La", "1", "F"):
        return image.convert("L")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, Pillow warns
    return image.convert("RGB")


def _to_array(image: "Image.Image") -> Pixels:
    array = np.asarray(image)
    return array[:, :, np.newaxis] if array.ndim == 2 else array


def _fitted(image: "Image.Image", spec: InputSpec) -> Pixels:
    """Do what `to_pixels` does with a plain image of Pillow's: colour first, then size, or grey repeated last, which is the same."""
    if image.mode == "RGB" and spec.channels == 1:
        image = image.convert("L")
    if image.size != (spec.width, spec.height):
        image = _fit(image, spec)
    pixels = _to_array(image)
    if pixels.shape[2] < spec.channels:
        pixels = np.repeat(pixels, 3, axis=2)
    return pixels[:, :, ::-1] if spec.color == "bgr" else pixels


def _checked(image: npt.NDArray[np.generic]) -> Pixels:
    if image.dtype != np.uint8:
        raise DataError(
            "an image must be uint8, 0 to 255", f"dtype {image.dtype}", "convert it, or feed a prepared tensor by the input's name"
        )
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise DataError(
            "an image must have the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)", f"shape {image.shape}", "put the channels last"
        )
    return cast("Pixels", image[:, :, :3])


def _as_color(pixels: Pixels, spec: InputSpec) -> Pixels:
    channels = pixels.shape[2]
    if channels == spec.channels:
        return pixels
    if spec.channels == 3:
        return np.repeat(pixels, 3, axis=2)
    from PIL import Image

    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[:, :, np.newaxis]


def _resized(pixels: Pixels, spec: InputSpec) -> Pixels:
    from PIL import Image

    return _to_array(_fit(Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)), spec))


def _fit(image: "Image.Image", spec: InputSpec) -> "Image.Image":
    if spec.fit == "stretch":
        return _resize(image, spec.width, spec.height, spec)
    width, height = _cover(image.width, image.height, spec)
    # The centre as torchvision's CenterCrop rounds it.
    left, top = round((width - spec.width) / 2), round((height - spec.height) / 2)
    if width * height > max(MAX_PIXELS, spec.width * spec.height):
        raise DataError(
            f"resized for the crop, this long and thin image has more than {MAX_PIXELS:,} pixels",
            f"{image.width}x{image.height}, resized {width}x{height}",
            "crop it first",
        )
    return _resize(image, width, height, spec).crop((left, top, left + spec.width, top + spec.height))


def _cover(width: int, height: int, spec: InputSpec) -> tuple[int, int]:
    """Return the size that covers the crop and keeps the aspect ratio, rounded as torchvision's Resize and timm do."""
    least_width, least_height = int(spec.width / spec.crop), int(spec.height / spec.crop)
    if least_width * height >= least_height * width:
        return least_width, max(least_height, least_width * height // width)
    return max(least_width, least_height * width // height), least_height


def _resize(image: "Image.Image", width: int, height: int, spec: InputSpec) -> "Image.Image":
    from PIL import Image

    kernel = Image.Resampling[spec.kernel.upper()]
    if spec.antialias or kernel == Image.Resampling.NEAREST:
        return image.resize((width, height), kernel)
    # Pillow's resize always widens the kernel when it shrinks; its affine transform samples without that.
    return image.transform((width, height), Image.Transform.EXTENT, (0, 0, image.width, image.height), kernel)
