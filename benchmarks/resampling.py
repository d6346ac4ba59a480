"""Is a candidate at most so much worse by a score of the user's own? Asked of images drawn again and again from those that are there.

The percentile bootstrap (Efron 1979, doi 10.1214/aos/1176344552), paired: both models are scored on the same drawn images. It looks once, at
all images: its bounds are not sharp enough in the far tails that early looks need.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..runtime.errors import ConfigError, DataError
from .sequential import Decision, Verdict

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

RESAMPLES = 2000
# Identical answers have no spread, so that five images would prove anything. Below this number nothing is decided.
LEAST_IMAGES = 100


def decide_scores(
    reference: Scores, candidate: Scores, max_drop: float, alpha: float = 0.05, *, resamples: int = RESAMPLES, seed: int = 0
) -> Verdict:
    """Decide whether the candidate's mean score is at most `max_drop` below the reference's.

    Two imaginary images are added, one that lost and one that won the whole range of scores: without them, equal scores on a few images
    would leave no doubt at all. (Agresti and Min 2005, doi 10.1002/sim.1781, add as much to the counts of a paired table.)

    Args:
        reference: One score an image, higher is better, shape (N,).
        candidate: The same for the candidate, on the same images in the same order.
        max_drop: The limit, in the scores' own unit.
        alpha: Largest probability of each wrong decision.
        resamples: How many times images are drawn.
        seed: Of the drawing.

    Raises:
        ConfigError: A number is out of range, or a score is not finite.
        DataError: The two differ in shape.
    """
    if reference.shape != candidate.shape or reference.ndim != 1:
        raise DataError("two models are compared on the same images", f"{reference.shape} and {candidate.shape}", "give one score an image")
    _check(len(reference), max_drop, alpha, resamples)
    widest = float(np.ptp([reference, candidate]))
    losses = np.concatenate([reference - candidate, [widest, -widest]])
    verdict = decide_resampled(lambda rows: (float(losses[rows].mean()), 0.0), len(losses), max_drop, alpha, resamples=resamples, seed=seed)
    return Verdict(
        verdict.decision, float((reference - candidate).mean()), verdict.low, verdict.high, len(reference), verdict.images_needed
    )


def decide_resampled(
    values: Callable[[Rows], tuple[float, float]],
    images: int,
    max_drop: float,
    alpha: float = 0.05,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Verdict:
    """Decide whether the candidate is at most `max_drop` worse by a score that only a whole set of images has.

    Args:
        values: From rows, int64, shape (`images`,), some of them more than once, to the reference's and the candidate's score on these
            images; higher is better.
        images: How many there are.
        max_drop: The limit, in the score's own unit.
        alpha: Largest probability of each wrong decision.
        resamples: How many times images are drawn, each time as many as there are.
        seed: Of the drawing.

    Raises:
        ConfigError: A number is out of range, or a score is not finite.
        DataError: There is no image.
    """
    _check(images, max_drop, alpha, resamples)
    drop = _drop(values(np.arange(images, dtype=np.int64)))
    draws = np.random.default_rng(seed)
    drops = [_drop(values(draws.integers(0, images, images))) for _ in range(resamples)]
    low, high = (float(one) for one in np.quantile(drops, [alpha, 1 - alpha]))
    decision: Decision = (
        "undecided" if images < LEAST_IMAGES else "inside" if high <= max_drop else "outside" if low > max_drop else "undecided"
    )
    needed = None if decision != "undecided" else _images_needed(images, max_drop, drop, low, high)
    return Verdict(decision, drop, low, high, images, needed)


def _drop(values: tuple[float, float]) -> float:
    reference, candidate = values
    if not np.isfinite([reference, candidate]).all():
        raise ConfigError("a metric must return a finite number", f"{reference} and {candidate}", "check it on an image without any object")
    return reference - candidate


def _images_needed(images: int, max_drop: float, drop: float, low: float, high: float) -> int | None:
    """Return how many images would decide: an interval shrinks with the square root of their number."""
    distance, half = (max_drop - drop, high - drop) if drop <= max_drop else (drop - max_drop, drop - low)
    if distance <= 0:
        return None
    return max(LEAST_IMAGES, images, int(np.ceil(images * (half / distance) ** 2)))


def _check(images: int, max_drop: float, alpha: float, resamples: int) -> None:
    if images < 1:
        raise DataError("a decision needs at least one image", images, "choose a split that has some")
    if not 0 <= max_drop < float("inf"):
        raise ConfigError("the largest drop must be 0 or more", max_drop, "give it in the metric's own unit")
    if not 0 < alpha < 0.5 or resamples * alpha < 5:
        raise ConfigError(
            "alpha must be between 0 and 0.5, and leave 5 resamples outside", f"{alpha}, {resamples} resamples", "0.05 is usual"
        )
