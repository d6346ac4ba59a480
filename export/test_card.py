"""Pictures that are hard to resize, for packing without a photo: edges, fine lines, noise, and smooth colour."""

import numpy as np
import numpy.typing as npt

from ..runtime.spec import InputSpec

Pixels = npt.NDArray[np.uint8]


def draw(height: int, width: int, channels: int) -> Pixels:
    """Return a picture, uint8 (height, width, channels); the same at every call.

    Four quarters: a zone plate (every frequency up to the finest), a chequered board (hard edges), noise, and a smooth ramp.
    """
    y, x = np.ogrid[0:height, 0:width]
    zone = 127.5 + 127.5 * np.cos(((x * x + y * y) * np.pi / (2 * max(height, width))).astype(np.float32))
    board = ((x // 7 + y // 5) % 2) * 255
    noise = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    ramp = 255 * (x + y) // max(1, height + width - 2)
    top = np.where(x < width / 2, zone.astype(np.uint8), board)
    bottom = np.where(x < width / 2, ramp, noise)
    grey = np.where(y < height / 2, top, bottom).astype(np.float32)
    tints = np.array([1.0, 0.75, 0.5], np.float32)[:channels]
    return np.rint(grey[:, :, np.newaxis] * tints + 255 * (1 - tints) * 0.5).astype(np.uint8)


def sizes(spec: InputSpec) -> tuple[tuple[int, int], ...]:
    """Return sizes to try resizing with: as wanted, off by one, smaller, larger, upright, very upright and wide."""
    height, width = spec.height, spec.width
    return (
        (height, width),
        (height + 1, width),
        (max(1, height // 2), max(1, 3 * width // 4)),
        (3 * height, 2 * width + 1),
        (5 * height, 2 * width),
        (640, 427),
        (1080, 1920),
    )
