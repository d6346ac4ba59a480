"""Image files: decoded, resized and normalised."""

import io
from functools import cache
from pathlib import Path

import numpy as np

from ...runtime.preprocess import decode, prepare
from ...runtime.spec import InputSpec

_SPEC = InputSpec(24, 24)


def _encoded(kind: str, mode: str = "RGB", **options: object) -> bytes:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 3), np.uint8)
    smooth = Image.fromarray(pixels).resize((56, 40), Image.Resampling.BICUBIC).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    smooth.save(buffer, kind, exif=exif, **options) if kind in ("JPEG", "PNG", "WEBP") else smooth.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def samples() -> dict[str, bytes]:
    """Return small intact files by name."""
    return {
        "bmp": _encoded("BMP"),
        "gif": _encoded("GIF", "P"),
        "jpeg": _encoded("JPEG"),
        "jpeg-progressive": _encoded("JPEG", progressive=True),
        "png": _encoded("PNG"),
        "png-palette": _encoded("PNG", "P", transparency=3),
        "ppm": _encoded("PPM"),
        "tiff": _encoded("TIFF", compression="tiff_lzw"),
        "tiff-float": _encoded("TIFF", "F"),
        "webp": _encoded("WEBP"),
        "webp-lossless": _encoded("WEBP", lossless=True),
    }


def attempt(name: str, data: bytes, folder: Path) -> None:
    """Read one damaged file as `predict` does.

    Raises:
        EdgerecError: It is refused.
    """
    del name, folder
    values = prepare(decode(data), _SPEC)
    if values.shape != _SPEC.shape or not np.isfinite(values).all():
        raise AssertionError(f"an image became {values.shape} with values that are not finite")
