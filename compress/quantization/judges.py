"""Judges for the budget search, from validation images and the means to run a proposal: top-1, agreement without labels, the user's metric."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from ...benchmarks.accuracy import EVALUATION_BATCH
from ...benchmarks.metric import Answers, Metric, collect, score_images, score_set
from ...benchmarks.paired import Flags
from ...benchmarks.resampling import Rows, Scores
from ...data.splits import Split
from ...runtime.errors import ConfigError, DataError, ModelError
from ...runtime.preprocess import prepare_feeds
from ...runtime.session import Session
from ...runtime.spec import ModelSpec
from .budget import Budget, Judge, Proposal, judge_flags, judge_metric, judge_scores

Array = npt.NDArray[np.generic]
Labels = npt.NDArray[np.int64]
Open = Callable[[Proposal], Session]


def judge_top1(reference: Session, candidate: Open, images: Split, spec: ModelSpec, budget: Budget) -> Judge:
    """Return a judge by top-1; by agreement with the float file where the images have no labels.

    Args:
        reference: The float file; it runs on all images now.
        candidate: From a proposal to its file; it runs on no more images than decide.
        images: Validation images.
        spec: What both files expect.
        budget: The limit, percentage points.

    Raises:
        DataError: There is no image, or a label is outside the classes.
        ModelError: The float file does not give one row of logits an image, or gives NaN.
    """
    parts = [*_logits(reference, images, spec)]
    if not parts:
        raise DataError("the split is empty", "0 images", "choose another split")
    if any(np.isnan(logits).any() for logits, _ in parts):
        raise ModelError("the float model returned NaN", f"{len(images)} images", "check its weights")
    expected = [_classes_of(logits, labels) for logits, labels in parts]
    flags = np.concatenate([_is_right(logits, classes) for (logits, _), classes in zip(parts, expected, strict=True)])

    def evaluate(proposal: Proposal) -> Iterator[Flags]:
        found = _logits(candidate(proposal), images, spec)
        for (logits, _), classes in zip(found, expected, strict=True):
            yield _is_right(logits, classes)

    return judge_flags(flags, evaluate, budget)


def judge_by(metric: Metric, reference: Session, candidate: Open, images: Split, spec: ModelSpec, budget: Budget) -> Judge:
    """Return a judge by a metric of the user's.

    Args:
        metric: One score an image, or one number for a set; higher is better.
        reference: The float file; it runs on all images now.
        candidate: From a proposal to its file.
        images: Validation images.
        spec: What both files expect.
        budget: The limit, in the metric's own unit.

    Raises:
        ConfigError: The metric fails or returns something else.
        DataError: There is no image.
    """
    scores = score_images(metric, _answers(reference, images, spec))
    if scores is not None:
        return judge_scores(scores, lambda proposal: _scores(metric, _answers(candidate(proposal), images, spec)), budget)
    expected = collect(_answers(reference, images, spec))

    def evaluate(proposal: Proposal) -> Callable[[Rows], tuple[float, float]]:
        found = collect(_answers(candidate(proposal), images, spec))
        return lambda rows: (score_set(metric, expected.take(rows)), score_set(metric, found.take(rows)))

    return judge_metric(evaluate, len(expected.batch.ids), budget)


def _logits(session: Session, images: Split, spec: ModelSpec) -> Iterator[tuple[Array, Labels | None]]:
    for batch in images.batches(EVALUATION_BATCH, spec.inputs):
        logits = session.predict(prepare_feeds(batch.feeds, spec))
        if logits.ndim != 2:
            raise ModelError(
                "top-1 needs a classifier: its first output has the shape (N, classes)", f"shape {logits.shape}", "give --metric instead"
            )
        yield logits, batch.labels


def _classes_of(logits: Array, labels: Labels | None) -> Labels:
    """Return the class that each image should be given: its label, or what the float file says."""
    if labels is None:
        return logits.argmax(axis=1)
    outside = labels[(labels < 0) | (labels >= logits.shape[1])]
    if len(outside):
        raise DataError(
            "a label is outside the classes", f"label {int(outside[0])}, {logits.shape[1]} classes", "use the data this model was made for"
        )
    return labels


def _is_right(logits: Array, classes: Labels) -> Flags:
    """Return whether the largest logit is the class's; NaN is never right."""
    return (logits.argmax(axis=1) == classes) & ~np.isnan(logits).any(axis=1)


def _answers(session: Session, images: Split, spec: ModelSpec) -> Iterator[Answers]:
    size = session.fixed_batch or EVALUATION_BATCH
    for batch in images.batches(size, spec.inputs):
        count = len(batch.ids)
        feeds = prepare_feeds(batch.feeds, spec)
        if session.fixed_batch:  # the last part is filled up by repeating
            feeds = {name: np.resize(array, (size, *array.shape[1:])) for name, array in feeds.items()}
        yield Answers({name: array[:count] for name, array in session.run(feeds).items()}, batch)


def _scores(metric: Metric, answers: Iterator[Answers]) -> Scores:
    scores = score_images(metric, answers)
    if scores is None:
        raise ConfigError("the metric returned an array first and a number later", "one number", "return one of the two always")
    return scores
