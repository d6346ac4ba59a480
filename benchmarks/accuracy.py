"""How often a classifier is right: top-1 and top-5, recall of each class, confusion matrix, and how sure we can be.

One module serves training, budget search and bench. numpy only; every count is an integer, so the figures are exact and do not
depend on how the images were cut into batches.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..data.splits import Split
from ..runtime.errors import ConfigError, DataError, ModelError
from ..runtime.preprocess import prepare_feeds
from ..runtime.spec import ModelSpec

Feeds = Mapping[str, npt.NDArray[np.generic]]

Z_95 = 1.959963984540054  # the standard normal's 97.5 % quantile: a two-sided interval of 95 %
TOP = 5
EVALUATION_BATCH = 250  # images; larger ones gain nothing on a CPU and cost memory


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What a classifier achieved on labelled images; all shares are fractions, 0 to 1.

    Attributes:
        top1: Share of images whose label has the highest logit.
        top5: Share of images whose label is among the five highest logits; 1.0 when there are at most five classes.
        low: Lower end of top-1's 95 % Wilson interval.
        high: Upper end of it.
        images: How many images were scored.
        recall: For each class, the share of its images that were recognised; None for a class without images.
        confusion: `confusion[label][predicted]`, counts.
    """

    top1: float
    top5: float
    low: float
    high: float
    images: int
    recall: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]


class Counter:
    """Accumulates batches of logits; two counters of the same classes can be added.

    Args:
        classes: Number of logits.

    Attributes:
        confusion: int64, shape (classes, classes): row is the label, column the prediction.
        top5_hits: Images whose label is among the five highest logits.

    Raises:
        ConfigError: No class.
    """

    def __init__(self, classes: int) -> None:
        if classes < 1:
            raise ConfigError("accuracy needs at least one class", classes, "give the number of logits")
        self.classes = classes
        self.confusion = np.zeros((classes, classes), np.int64)
        self.top5_hits = 0

    def add(self, logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> None:
        """Count one batch.

        Equal logits are ranked by their index, lowest first, as `argmax` does.

        Args:
            logits: Shape (N, classes). Probabilities or logarithms of them do as well.
            labels: Class indices, shape (N,).

        Raises:
            DataError: A label is outside the classes.
            ModelError: The logits have another shape, or hold NaN.
        """
        self._check(logits, labels)
        predicted = logits.argmax(axis=1)
        np.add.at(self.confusion, (labels, predicted), 1)
        self.top5_hits += int((_rank(logits, labels) < TOP).sum())

    def __add__(self, other: "Counter") -> "Counter":
        """Return the counts of both, as if one counter had seen all batches.

        Raises:
            ConfigError: They count different numbers of classes.
        """
        if self.classes != other.classes:
            raise ConfigError(
                "counters of different classes cannot be added", f"{self.classes} and {other.classes}", "use one model's counters"
            )
        both = Counter(self.classes)
        both.confusion = self.confusion + other.confusion
        both.top5_hits = self.top5_hits + other.top5_hits
        return both

    def result(self) -> Accuracy:
        """Return the figures so far.

        Raises:
            DataError: No image was counted.
        """
        images, hits = int(self.confusion.sum()), int(self.confusion.trace())
        if images == 0:
            raise DataError("accuracy needs labelled images", "0 images", "choose a split with labels")
        low, high = wilson(hits, images)
        per_class = zip(self.confusion.diagonal().tolist(), self.confusion.sum(axis=1).tolist(), strict=True)
        return Accuracy(
            top1=hits / images,
            top5=self.top5_hits / images,
            low=low,
            high=high,
            images=images,
            recall=tuple(right / total if total else None for right, total in per_class),
            confusion=tuple(tuple(row) for row in self.confusion.tolist()),
        )

    def _check(self, logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> None:
        if logits.shape != (len(labels), self.classes):
            raise ModelError(
                "the logits do not fit the labels",
                f"logits {logits.shape}, {len(labels)} labels",
                f"expected {self.classes} logits for each image",
            )
        outside = labels[(labels < 0) | (labels >= self.classes)]
        if len(outside):
            raise DataError(
                "a label is outside the classes", f"label {int(outside[0])}, {self.classes} classes", "use the data this model was made for"
            )
        if np.isnan(logits).any():
            raise ModelError(
                "the model returned NaN", f"{int(np.isnan(logits).any(axis=1).sum())} of {len(labels)} images", "check its weights"
            )


def score(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], classes: int) -> Accuracy:
    """Return the accuracy of one array of logits.

    Args:
        logits: Shape (N, classes).
        labels: Class indices, shape (N,).
        classes: Number of classes.

    Raises:
        DataError: No image, or a label outside the classes.
        ModelError: The logits have another shape, or hold NaN.
    """
    counter = Counter(classes)
    counter.add(logits, labels)
    return counter.result()


def count(
    predict: Callable[[Feeds], npt.NDArray[np.generic]],
    images: Split,
    spec: ModelSpec,
    classes: int | None = None,
    done: Callable[[int], None] = lambda _images: None,
) -> Counter:
    """Count how often a model is right on labelled images, however it runs.

    Args:
        predict: From prepared arrays by input name to logits, shape (N, classes).
        images: What to score; processes may add up the counters of their shards.
        spec: What the model expects.
        classes: Number of logits; by default as many as the model gives.
        done: Told after each batch how many images it had.

    Raises:
        DataError: No labels, no images, or a label outside the classes.
        ModelError: The model does not return one row of logits for each image, or returns NaN.
    """
    counter = None if classes is None else Counter(classes)
    for batch in images.batches(EVALUATION_BATCH, spec.inputs):
        if batch.labels is None:
            raise DataError("accuracy needs labels", "this data set has none", "give a folder with one sub-folder a class")
        logits = np.asarray(predict(prepare_feeds(batch.feeds, spec)), np.float32)
        if logits.ndim != 2:
            raise ModelError("a classifier's first output must have the shape (N, classes)", f"shape {logits.shape}", "give a classifier")
        counter = counter or Counter(logits.shape[1])
        counter.add(logits, batch.labels)
        done(len(batch.ids))
    if counter is None:
        raise DataError("the split is empty", "0 images", "choose another split")
    return counter


def wilson(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a share.

    Unlike the normal approximation it stays inside 0..1 and does not shrink to a point at 0 % or 100 %
    (Wilson 1927, doi 10.1080/01621459.1927.10502953; Brown, Cai and DasGupta 2001 recommend it).

    Args:
        successes: How many trials succeeded.
        trials: How many there were.
        z: Quantile of the standard normal; 1.96 gives 95 %.

    Raises:
        ConfigError: No trial, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ConfigError("an interval needs 0 <= successes <= trials and a trial", f"{successes} of {trials}", "count at least one image")
    share, z2 = successes / trials, z * z
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials)) / (1 + z2 / trials)
    # At the ends the exact bound is 0 or 1; rounding would leave 1e-17 beside it.
    return (0.0 if successes == 0 else middle - half, 1.0 if successes == trials else middle + half)


def _rank(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return how many classes stand before the label's, shape (N,)."""
    own = np.take_along_axis(logits, labels[:, np.newaxis].astype(np.int64), axis=1)  # (N, 1)
    before = np.arange(logits.shape[1]) < labels[:, np.newaxis]  # (N, classes)
    return ((logits > own) | ((logits == own) & before)).sum(axis=1)
