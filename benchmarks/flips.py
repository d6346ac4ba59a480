"""Images that two files see differently, a few of them with a small picture to look at."""

import base64
import io

import numpy as np

from ..runtime.preprocess import Pixels
from .measured import Flip

FLIPS = 64  # kept a file
THUMBNAIL_PIXELS = 64  # of the longer side


class Flips:
    """Collects the first flips of each kind: those that the reference had right, and the others.

    A split's order is random and fair, so the first ones are a sample. No more than `FLIPS` of a kind are kept, whatever the number of images.
    """

    def __init__(self) -> None:
        self._lost: list[Flip] = []
        self._others: list[Flip] = []

    def add(self, flip: Flip, image: Pixels | None) -> None:
        """Keep a flip while there is room.

        Args:
            flip: Without its thumbnail.
            image: uint8, shape (H, W, C) with C 1 or 3 in RGB order; None when the model takes no image.
        """
        kind = self._lost if flip.label is not None and flip.label == flip.before else self._others
        if len(kind) < FLIPS:
            picture = "" if image is None else thumbnail(image)
            kind.append(Flip(flip.id, flip.label, flip.before, flip.after, picture))

    def result(self) -> tuple[Flip, ...]:
        """Return at most `FLIPS` of them, those that were right before first."""
        return (*self._lost, *self._others)[:FLIPS]


def thumbnail(image: Pixels) -> str:
    """Return a PNG of at most 64 pixels a side, base64; smaller images keep their size.

    Args:
        image: uint8, shape (H, W, C) with C 1 or 3 in RGB order.
    """
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image[:, :, 0] if image.shape[2] == 1 else image))
    picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
