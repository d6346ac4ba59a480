"""One file against the first on the same images: batch by batch, in memory that does not grow with their number."""

from itertools import islice

import numpy as np
import numpy.typing as npt

from ..runtime.errors import DataError, ModelError
from ..runtime.preprocess import Pixels
from .accuracy import wilson
from .flips import FLIPS, Flips
from .measured import Agreement, ClassChange, Flip
from .noise import Noise, measure_noise
from .paired import POINTS, Pairs, mcnemar, tango

Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

WORST = 10  # classes that are named
# Half an image: with few images in a class, Tango's plain interval is a little narrow (see `paired.tango`), and it is what ranks them.
_CLASS_CORRECTION = 0.5
_BOTH, _LOST, _WON, _NEITHER = range(4)


class Against:
    """Accumulates a file's answers beside the reference's.

    Attributes:
        images: How many so far.
        same: Of them, with the same class in both.
        cells: int64, shape (4, classes): images of each class that both get right, only the reference, only this file, neither; None
            without labels.
    """

    def __init__(self) -> None:
        self.images = 0
        self.same = 0
        self.cells: npt.NDArray[np.int64] | None = None
        self._noise: Noise | None = Noise()
        self._flips = Flips()

    def add(self, reference: Logits, logits: Logits, labels: Labels | None, ids: tuple[str, ...], images: Pixels | None = None) -> None:
        """Count one batch.

        Args:
            reference: The first file's answers, shape (N, classes).
            logits: This file's; where it has another number of classes there is no SQNR.
            labels: Class of each image, shape (N,), or None.
            ids: The images' names.
            images: uint8, shape (N, H, W, C) in RGB order, for the thumbnails; None when the model takes no image.

        Raises:
            DataError: A label is outside the classes.
            ModelError: The two differ in their number of images.
        """
        if len(reference) != len(logits) or len(ids) != len(logits):
            raise ModelError("two files are compared on the same images", f"{len(reference)} and {len(logits)}", "give one row an image")
        before, after = reference.argmax(axis=1), logits.argmax(axis=1)
        if labels is not None:
            self._count(before == labels, after == labels, labels, max(reference.shape[1], logits.shape[1]))
        self.images += len(ids)
        self.same += int((before == after).sum())
        self._noise = (
            self._noise + measure_noise(reference, logits) if self._noise is not None and reference.shape == logits.shape else None
        )
        changed = np.flatnonzero(before != after)
        self._keep(changed, before, after, labels, ids, images)

    def result(self) -> Agreement:
        """Return the figures so far.

        Raises:
            DataError: No image was counted.
        """
        if not self.images:
            raise DataError("agreement needs images", "0 images", "choose another split")
        low_high = wilson(self.same, self.images)
        sqnr_db = None if self._noise is None else self._noise.sqnr_db
        if self.cells is None:
            return Agreement(self.images, self.same / self.images, low_high, flips=self._flips.result(), sqnr_db=sqnr_db)
        pairs = _pairs(self.cells.sum(axis=1))
        return Agreement(
            images=self.images,
            agreement=self.same / self.images,
            agreement_interval=low_high,
            lost=pairs.lost,
            won=pairs.won,
            drop_points=pairs.drop_points,
            drop_interval=tango(pairs),
            mcnemar_p=mcnemar(pairs),
            worst=worst_classes(self.cells),
            flips=self._flips.result(),
            sqnr_db=sqnr_db,
        )

    def _count(self, was_right: npt.NDArray[np.bool_], is_right: npt.NDArray[np.bool_], labels: Labels, classes: int) -> None:
        outside = labels[(labels < 0) | (labels >= classes)]
        if len(outside):
            raise DataError(
                "a label is outside the classes", f"label {int(outside[0])}, {classes} classes", "use the data this model was made for"
            )
        if self.cells is None:
            self.cells = np.zeros((4, classes), np.int64)
        for cell, chosen in (
            (_BOTH, was_right & is_right),
            (_LOST, was_right & ~is_right),
            (_WON, ~was_right & is_right),
            (_NEITHER, ~was_right & ~is_right),
        ):
            self.cells[cell] += np.bincount(labels[chosen], minlength=classes)

    def _keep(
        self,
        changed: npt.NDArray[np.intp],
        before: npt.NDArray[np.intp],
        after: npt.NDArray[np.intp],
        labels: Labels | None,
        ids: tuple[str, ...],
        images: Pixels | None,
    ) -> None:
        """Keep the flips of one batch; those of a kind that is full are not even looked at."""
        was_right = np.zeros(len(changed), bool) if labels is None else before[changed] == labels[changed]
        for rows in (changed[was_right], changed[~was_right]):
            for row in islice(rows.tolist(), FLIPS):
                flip = Flip(ids[row], None if labels is None else int(labels[row]), int(before[row]), int(after[row]))
                self._flips.add(flip, None if images is None else images[row])


def worst_classes(cells: npt.NDArray[np.int64]) -> tuple[ClassChange, ...]:
    """Return the classes that lost most, at most ten, the worst first; those that lost nothing are left out.

    They are ranked by the lower end of their drop's interval, the loss that is certain: by the drop alone, a class of three images that lost
    one by luck (33 points) would stand before one of a thousand images that lost eighty. The interval is Tango's with the continuity
    correction, 95 % for each class by itself.

    Args:
        cells: int64, shape (4, classes), as in `Against`.
    """
    changes = [_change(label, _pairs(cells[:, label])) for label in np.flatnonzero(cells[_LOST] > cells[_WON]).tolist()]
    return tuple(sorted(changes, key=lambda one: (-one.interval[0], -one.drop_points, one.label))[:WORST])


def _change(label: int, pairs: Pairs) -> ClassChange:
    before, after = pairs.both + pairs.lost, pairs.both + pairs.won
    return ClassChange(
        label=label,
        images=pairs.images,
        before=before / pairs.images,
        after=after / pairs.images,
        drop_points=POINTS * (before - after) / pairs.images,
        interval=tango(pairs, correction=_CLASS_CORRECTION),
    )


def _pairs(cells: npt.NDArray[np.int64]) -> Pairs:
    both, lost, won, neither = cells.tolist()
    return Pairs(both, lost, won, neither)
