"""Mirror, crop and erase by indexing: whole pixels move, one gather for a batch on any device.

kornia's operations do the same one image after the other: 2.5 ms for mirroring and cropping 128 images of 32 pixels on a CPU, 7.5 ms for 512,
which is longer than a GPU takes for a whole step of a ResNet-20.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

ERASED_AREA = (0.02, 1 / 3)  # fractions of the image; Zhong et al. 2017, arXiv 1708.04896, table 6
ERASED_RATIO = (0.3, 3.3)  # height over width, from the same table


def draw_views(count: int, size: tuple[int, int], *, flip: bool, padding: tuple[int, int], erasing: float, seed: int) -> Tensor:
    """Draw what happens to each image of a batch, on the CPU.

    Args:
        count: Images.
        size: Height and width, pixels.
        flip: Whether half of them are mirrored.
        padding: Largest shift down and to the right, either way, pixels.
        erasing: Probability of a rectangle of zeros.
        seed: Decides everything.

    Returns:
        int64, shape (7, count, 1): mirrored or not, shift down, shift right, and the rectangle's top, left, height and width.
    """
    rng = np.random.default_rng(seed)
    mirrored = rng.integers(0, 2 if flip else 1, count)
    down, right = (rng.integers(-most, most + 1, count) for most in padding)
    drawn = np.stack([mirrored, down, right, *_rectangles(rng, count, size, erasing)])
    return torch.from_numpy(drawn).unsqueeze(2)


def moved(images: Tensor, views: Tensor) -> Tensor:
    """Return the images, shape (N, C, H, W), mirrored and shifted; what comes in from outside is zero."""
    count, channels, height, width = images.shape
    mirrored, down, right = views[0], views[1], views[2]
    rows = torch.arange(height, device=images.device) + down  # (N, H)
    columns = torch.arange(width, device=images.device) + right  # (N, W)
    inside = _within(rows, height).unsqueeze(2) & _within(columns, width).unsqueeze(1)  # (N, H, W)
    columns = torch.where(mirrored.bool(), width - 1 - columns, columns)
    source = rows.clamp(0, height - 1).unsqueeze(2) * width + columns.clamp(0, width - 1).unsqueeze(1)  # (N, H, W)
    flat = source.view(count, 1, height * width).expand(-1, channels, -1)
    return images.reshape(count, channels, -1).gather(2, flat).view_as(images) * inside.unsqueeze(1)


def erased(images: Tensor, views: Tensor) -> Tensor:
    """Return the images, shape (N, C, H, W), with a rectangle of zeros where one was drawn."""
    _, _, height, width = images.shape
    top, left, tall, wide = views[3], views[4], views[5], views[6]
    rows = torch.arange(height, device=images.device) - top
    columns = torch.arange(width, device=images.device) - left
    hole = _within(rows, tall).unsqueeze(2) & _within(columns, wide).unsqueeze(1)  # (N, H, W)
    return images * ~hole.unsqueeze(1)


def _within(values: Tensor, limit: int | Tensor) -> Tensor:
    return (values >= 0) & (values < limit)


def _rectangles(rng: np.random.Generator, count: int, size: tuple[int, int], probability: float) -> list[npt.NDArray[np.int64]]:
    """Return top, left, height and width of each image's rectangle; without one the height is 0."""
    if probability == 0:
        return [np.zeros(count, np.int64)] * 4
    area = rng.uniform(*ERASED_AREA, count) * size[0] * size[1]
    ratio = np.exp(rng.uniform(math.log(ERASED_RATIO[0]), math.log(ERASED_RATIO[1]), count))
    tall = np.clip(np.rint(np.sqrt(area * ratio)), 1, size[0]).astype(np.int64)
    wide = np.clip(np.rint(np.sqrt(area / ratio)), 1, size[1]).astype(np.int64)
    top, left = rng.integers(0, size[0] - tall + 1), rng.integers(0, size[1] - wide + 1)
    return [top, left, tall * (rng.random(count) < probability), wide]
