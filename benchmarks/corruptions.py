"""Images disturbed on purpose: noise, blur, JPEG and brightness in five severities, since compression often costs there first.

The corruptions and their strengths are those of Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations" (arXiv 1903.12261), as their own scripts hold them (github.com/hendrycks/robustness, `ImageNet-C/create_c`: `make_cifar_c.py`,
`make_tinyimagenet_c.py`, `make_imagenet_c.py`). Each works on the uint8 pixels that preprocessing would take. Two things differ: results are
rounded, where the scripts cut, which would darken every image by half a level; and the noise of an image is drawn from its id, so that it
is the same in every batch, order and run. numpy and Pillow only.
"""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ..runtime.errors import ConfigError, DataError
from ..runtime.preprocess import Pixels

Corruption = Literal["noise", "blur", "jpeg", "brightness"]

CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
SEVERITIES = (1, 2, 3, 4, 5)
SUBSET = 1000  # images: the interval of a drop of 2 points is about 1 point wide to each side

# Strength by severity, 1 to 5. noise: standard deviation, of the range 0 to 1; blur: sigma in pixels; jpeg: quality; brightness: added to HSV's
# value, 0 to 1.
Strengths = Mapping[Corruption, tuple[float, ...]]
CIFAR_C: Strengths = {
    "noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "blur": (0.4, 0.6, 0.7, 0.8, 1.0),
    "jpeg": (80, 65, 58, 50, 40),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
}
TINY_IMAGENET_C: Strengths = {
    "noise": (0.04, 0.08, 0.12, 0.15, 0.18),
    "blur": (0.5, 0.75, 1.0, 1.25, 1.5),
    "jpeg": (65, 58, 50, 40, 25),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
}
IMAGENET_C: Strengths = {
    "noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "blur": (1, 2, 3, 4, 6),
    "jpeg": (25, 18, 15, 10, 7),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
}
# The tables were made for 32, 64 and 224 pixels; between two of them the nearer one by ratio counts.
_TINY_FROM, _IMAGENET_FROM = 46, 120  # sqrt(32 * 64) and sqrt(64 * 224), rounded up

_CUT_AT_SIGMAS = 4.0  # where the scripts' blur (skimage.filters.gaussian) cuts its kernel
_BLOCK_BYTES = 2**20  # of float32 pixels blurred at once: stays in a core's cache


@dataclass(frozen=True, slots=True)
class Corruptions:
    """Which disturbances to score.

    Attributes:
        names: Of `CORRUPTIONS`.
        severities: 1 to 5.
        images: How many of the split's first images, a fair sample; each costs one run for every name and severity.
    """

    names: tuple[Corruption, ...] = CORRUPTIONS
    severities: tuple[int, ...] = SEVERITIES
    images: int = SUBSET

    def __post_init__(self) -> None:
        """Refuse what cannot be scored.

        Raises:
            ConfigError: A name or severity is unknown or given twice, or there is nothing to score.
        """
        for kind, given, known in (("corruption", self.names, CORRUPTIONS), ("severity", self.severities, SEVERITIES)):
            wrong = [one for one in given if one not in known]
            if wrong or not given or len(set(given)) < len(given):
                problem = f"unknown {kind}" if wrong else f"each {kind} counts once, and one is needed"
                raise ConfigError(problem, wrong[0] if wrong else given, f"choose from {', '.join(map(str, known))}")
        if self.images < 1:
            raise ConfigError("corruptions are scored on at least one image", self.images, "1000 is usual")

    @property
    def conditions(self) -> tuple[tuple[Corruption, int], ...]:
        """Every name with every severity."""
        return tuple((name, severity) for name in self.names for severity in self.severities)


def strengths_for(height: int, width: int) -> Strengths:
    """Return the table that was made for images of about this size, by the shorter side: CIFAR-C's, Tiny-ImageNet-C's or ImageNet-C's."""
    shorter = min(height, width)
    return CIFAR_C if shorter < _TINY_FROM else TINY_IMAGENET_C if shorter < _IMAGENET_FROM else IMAGENET_C


def corrupt(pixels: Pixels, name: Corruption, severity: int, ids: Sequence[str]) -> Pixels:
    """Return the images disturbed; each depends on its own pixels and id alone.

    Args:
        pixels: uint8, shape (N, H, W, C), C is 1 or 3 (RGB).
        name: Which corruption.
        severity: 1 to 5.
        ids: A name for each image: it seeds the noise, the same at every severity.

    Returns:
        uint8, the same shape.

    Raises:
        ConfigError: The name or the severity is unknown.
        DataError: The pixels have another form, or not one id each.
    """
    Corruptions((name,), (severity,))  # refuses both
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or len(ids) != len(pixels):
        raise DataError(
            "only images can be disturbed",
            f"{pixels.dtype} {pixels.shape}, {len(ids)} ids",
            "give uint8 images, (N, H, W, 1) or (N, H, W, 3), and an id each",
        )
    if not pixels.size:
        return pixels.copy()
    strength = strengths_for(*pixels.shape[1:3])[name][severity - 1]
    return _APPLY[name](pixels, strength, ids)


def _noise(pixels: Pixels, deviation: float, ids: Sequence[str]) -> Pixels:
    values = np.empty(pixels.shape, np.float32)
    for at, name in enumerate(ids):
        seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest(), "little")
        np.random.Generator(np.random.PCG64(seed)).standard_normal(dtype=np.float32, out=values[at])
    values *= np.float32(255 * deviation)
    values += pixels
    return _rounded(values)


def _blur(pixels: Pixels, sigma: float, _ids: Sequence[str]) -> Pixels:
    radius = int(_CUT_AT_SIGMAS * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    taps = (taps / (2 * taps.sum() - taps[0])).astype(np.float32)  # from the middle outwards
    step = max(1, _BLOCK_BYTES // (4 * pixels[0].size))
    blurred = np.empty_like(pixels)
    for start in range(0, len(pixels), step):
        values = pixels[start : start + step].astype(np.float32)
        blurred[start : start + step] = _rounded(_convolved(_convolved(values, taps, 1), taps, 2))
    return blurred


def _convolved(values: npt.NDArray[np.float32], taps: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """Convolve along one axis with a symmetric kernel; the border's pixels go on outside."""
    radius, size = len(taps) - 1, values.shape[axis]
    padding = [(radius, radius) if one == axis else (0, 0) for one in range(values.ndim)]
    padded = np.moveaxis(np.pad(values, padding, mode="edge"), axis, 0)
    total = padded[radius : radius + size] * taps[0]
    for at in range(1, radius + 1):
        total += (padded[radius - at : radius - at + size] + padded[radius + at : radius + at + size]) * taps[at]
    return np.moveaxis(total, 0, axis)


def _jpeg(pixels: Pixels, quality: float, _ids: Sequence[str]) -> Pixels:
    from PIL import Image

    compressed = np.empty_like(pixels)
    for at, image in enumerate(pixels):
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image[:, :, 0] if image.shape[2] == 1 else image)).save(buffer, "JPEG", quality=int(quality))
        with Image.open(buffer) as read:
            compressed[at] = np.asarray(read).reshape(image.shape)
    return compressed


def _brightness(pixels: Pixels, added: float, _ids: Sequence[str]) -> Pixels:
    """Raise HSV's value and keep hue and saturation: all channels grow by the factor of the largest one; black has no hue and turns grey."""
    value = pixels.max(axis=3, keepdims=True).astype(np.float32)  # (N, H, W, 1)
    raised = np.minimum(value + np.float32(255 * added), 255)
    return _rounded(np.where(value > 0, pixels * (raised / np.maximum(value, 1)), raised))


def _rounded(values: npt.NDArray[np.float32]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


_APPLY: dict[Corruption, Callable[[Pixels, float, Sequence[str]], Pixels]] = {
    "noise": _noise,
    "blur": _blur,
    "jpeg": _jpeg,
    "brightness": _brightness,
}
