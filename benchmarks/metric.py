"""A score of the user's own, for what is no classifier: `package.module:function`, called without arguments, returns the metric.

    def metric(outputs, batch):
        \"\"\"outputs: the model's outputs by name; batch: its `feeds` (images uint8), `labels` (or None) and `ids` (a name for each image).\"\"\"

A metric returns one score an image, an array of shape (N,), where images can be scored one by one: accuracy, overlap, negative error. Then
images stream, and only scores are kept. Where only a set of images has a score (mean average precision), it returns one number; then all outputs
and images are kept in memory, and the metric is called some thousand times on images drawn from them, some more than once. Higher is better.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from ..data.splits import Batch
from ..runtime.errors import ConfigError, DataError, EdgerecError
from ..runtime.factory import find_function
from .resampling import Rows, Scores

Array = npt.NDArray[np.generic]
Outputs = Mapping[str, Array]
Metric = Callable[[Outputs, Batch], object]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """A model's outputs for some images, and the images; the first dimension of each array counts images."""

    outputs: Outputs
    batch: Batch

    def take(self, rows: Rows) -> "Answers":
        """Return the answers for some rows, each as often as it is named."""
        feeds = {name: array[rows] for name, array in self.batch.feeds.items()}
        labels = None if self.batch.labels is None else self.batch.labels[rows]
        batch = Batch(feeds, labels, tuple(self.batch.ids[row] for row in rows.tolist()))
        return Answers({name: array[rows] for name, array in self.outputs.items()}, batch)


def load_metric(text: str) -> Metric:
    """Import the user's function and call it for the metric.

    Raises:
        ConfigError: There is no such function, or it returns nothing that can be called.
    """
    metric = find_function(text, ConfigError)()
    if not callable(metric):
        raise ConfigError("the function must return the metric, a function of (outputs, batch)", f"{text} returned {metric!r}", "return it")
    return cast("Metric", metric)


def score_images(metric: Metric, answers: Iterable[Answers]) -> Scores | None:
    """Return one score an image, float64, shape (N,); None for a metric that gives one number for a set.

    Args:
        metric: The user's.
        answers: Parts of all images; only the first is read where the metric gives a number.

    Raises:
        ConfigError: The metric fails, or returns neither a number nor one an image.
        DataError: There is no image.
    """
    scores: list[Scores] = []
    for part in answers:
        found = _call(metric, part)
        if not found.ndim:
            return None
        if found.shape != (len(part.batch.ids),):
            raise ConfigError(
                "a metric returns one number, or one an image",
                f"shape {found.shape} for {len(part.batch.ids)} images",
                "correct the metric",
            )
        scores.append(found)
    if not scores:
        raise DataError("a metric needs at least one image", "none", "choose a split that has some")
    return np.concatenate(scores)


def score_set(metric: Metric, answers: Answers) -> float:
    """Return the one number that a metric gives for a set of images.

    Raises:
        ConfigError: The metric fails, or returns anything else.
    """
    found = _call(metric, answers)
    if found.ndim:
        raise ConfigError("the metric returned a number first and an array later", f"shape {found.shape}", "return one of the two always")
    return float(found)


def collect(answers: Iterable[Answers]) -> Answers:
    """Join parts into one.

    Raises:
        DataError: There is no part.
    """
    parts = list(answers)
    if not parts:
        raise DataError("a metric needs at least one image", "none", "choose a split that has some")
    batches = [part.batch for part in parts]
    labels = [batch.labels for batch in batches if batch.labels is not None]
    batch = Batch(
        {name: np.concatenate([one.feeds[name] for one in batches]) for name in batches[0].feeds},
        np.concatenate(labels) if labels else None,
        tuple(name for one in batches for name in one.ids),
    )
    return Answers({name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs}, batch)


def _call(metric: Metric, answers: Answers) -> Scores:
    """Run the user's code, which may raise anything and return anything."""
    try:
        found = np.asarray(metric(answers.outputs, answers.batch), np.float64)
    except EdgerecError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the metric raised {type(error).__name__}: {error}", f"{len(answers.batch.ids)} images", "correct it, then try again"
        ) from error
    if not np.isfinite(found).all():
        raise ConfigError("the metric returned NaN or infinity", f"{len(answers.batch.ids)} images", "return a number for every image")
    return found
