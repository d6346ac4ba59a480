"""Is a candidate at most so many points worse? Asked of a growing number of images, and answered as soon as they suffice.

Looking early costs nothing in honesty when the looks share one error budget. The share of `alpha` that may be used up to a look follows a
spending function (Lan and DeMets 1983, doi 10.1093/biomet/70.3.659); each look tests at what it adds to that share. The errors of all looks
then sum to at most `alpha` however they depend on each other (Bonferroni), and no integral over their joint distribution is needed.
The two answers spend differently. "Inside" lets a file pass, so it waits: O'Brien and Fleming's boundary leaves nearly all of `alpha` to the
last look. "Outside" only sends a search on, so it is quick: Pocock's boundary.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Literal

import numpy as np

from ..runtime.errors import ConfigError, DataError
from .paired import POINTS, Flags, Pairs, count_pairs, score_of, tango

Decision = Literal["inside", "outside", "undecided"]

LOOKS = (0.0625, 0.125, 0.25, 0.5, 1.0)  # shares of all images
# Half an image: counts move in whole ones. Without it the level is missed where there are few discordant images (0.07 instead of 0.05 with
# 538 images, none of them lost, and a limit of 0.5 points).
_CORRECTION = 0.5
_MOST_IMAGES = 10**9


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the images say about a drop.

    Attributes:
        decision: `inside` the limit, `outside` it, or `undecided` with this many images.
        drop_points: Observed drop; above 0 the candidate is worse.
        low: Lower bound of the drop, at the level of the look that decided.
        high: Upper bound of it.
        images: How many images were looked at.
        images_needed: About how many would decide if the rates stay as observed; None where it is decided, or where no number would do.
    """

    decision: Decision
    drop_points: float
    low: float
    high: float
    images: int
    images_needed: int | None = None


def decide(
    correct_float: Flags, correct_int8: Flags, max_drop_points: float, alpha: float = 0.05, looks: Sequence[float] = LOOKS
) -> Verdict:
    """Decide whether int8 is at most `max_drop_points` worse than float; later images are ignored once that is clear.

    Args:
        correct_float: Whether the float model is right on each image, bool, shape (N,).
        correct_int8: The same for the int8 model, on the same images in the same order; any prefix must be a fair sample.
        max_drop_points: The limit, percentage points.
        alpha: Largest probability of each wrong decision, over all looks together.
        looks: Shares of the images at which to look, rising, the last one 1.

    Raises:
        ConfigError: A number is out of range.
        DataError: No image, or arrays that do not fit each other.
    """
    count_pairs(correct_float, correct_int8)  # refuses arrays that do not fit each other
    images = len(correct_float)
    ends = [0, *dict.fromkeys(max(1, math.ceil(share * images)) for share in looks)]
    parts = (count_pairs(correct_float[start:end], correct_int8[start:end]) for start, end in pairwise(ends))
    return decide_early(parts, images, max_drop_points, alpha, looks)


def decide_early(
    parts: Iterable[Pairs], images: int, max_drop_points: float, alpha: float = 0.05, looks: Sequence[float] = LOOKS
) -> Verdict:
    """Decide from counts that arrive bit by bit; no more are drawn once it is decided.

    Args:
        parts: Counts of further images each; their sizes must not depend on what is counted.
        images: How many there are in all.
        max_drop_points: The limit, percentage points.
        alpha: Largest probability of each wrong decision, over all looks together.
        looks: Shares of the images at which to look, rising, the last one 1; a look waits for the part that reaches it.

    Raises:
        ConfigError: A number is out of range.
        DataError: No image, or another number of images than announced.
    """
    _check(images, max_drop_points, alpha, looks)
    seen, spent = Pairs(0, 0, 0, 0), 0.0
    waiting = list(looks)
    for part in parts:
        seen += part
        share = seen.images / images
        if share > 1:
            break
        if share < waiting[0]:
            continue
        waiting = [one for one in waiting if one > share]
        look = _Look(seen, max_drop_points / POINTS, *(_quantile(spend(alpha, share) - spend(alpha, spent)) for spend in _SPENDING))
        spent = share
        if look.decision != "undecided" or not waiting:
            return look.verdict()
    raise DataError(
        "another number of images came than was announced", f"{seen.images} of {images}", "score both models on the same images"
    )


def obrien_fleming(alpha: float, share: float) -> float:
    """Return how much of `alpha` may be spent up to a share of the images; nearly all of it at the end."""
    return 2 * _upper_tail(_quantile(alpha / 2) / math.sqrt(share)) if share > 0 else 0.0


def pocock(alpha: float, share: float) -> float:
    """Return how much of `alpha` may be spent up to a share of the images; about as much at each look."""
    return alpha * math.log1p((math.e - 1) * share)


_SPENDING = (obrien_fleming, pocock)  # for "inside", for "outside"


@dataclass(frozen=True, slots=True)
class _Look:
    """One test of both sides: `inside` and `outside` are the standard deviations from the limit that decide, `limit` is a share."""

    seen: Pairs
    limit: float
    inside: float
    outside: float

    @property
    def decision(self) -> Decision:
        return self.decision_with(self.seen.images)

    def decision_with(self, images: int) -> Decision:
        """Return what so many images would say at the rates seen so far."""
        factor = images / self.seen.images
        score = score_of(self.seen.lost * factor, self.seen.won * factor, images, self.limit, _CORRECTION)
        return "inside" if score <= -self.inside else "outside" if score >= self.outside else "undecided"

    def verdict(self) -> Verdict:
        """Return the decision with its bounds, which take longer to find."""
        low, _ = tango(self.seen, self.outside, correction=_CORRECTION)
        _, high = tango(self.seen, self.inside, correction=_CORRECTION)
        needed = _first(lambda images: self.decision_with(images) != "undecided", self.seen.images, _MOST_IMAGES)
        decided = self.decision != "undecided"
        return Verdict(self.decision, self.seen.drop_points, low, high, self.seen.images, None if decided else needed)


def _first(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the first number for which a condition holds that goes on holding."""
    if not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return high


def _check(images: int, max_drop_points: float, alpha: float, looks: Sequence[float]) -> None:
    if images < 1:
        raise DataError("a decision needs at least one image", images, "choose a split that has some")
    check_limits(max_drop_points, alpha)
    if not looks or looks[-1] != 1 or min(looks) <= 0 or not np.all(np.diff(looks) > 0):
        raise ConfigError("looks are rising shares of the images, the last one 1", tuple(looks), "for example 0.25, 0.5, 1")


def check_limits(max_drop_points: float, alpha: float) -> None:
    """Refuse a budget that no drop can be tested against.

    Raises:
        ConfigError: The drop is no number from 0 to 100, or alpha not between 0 and 0.5.
    """
    if not 0 <= max_drop_points <= POINTS:
        raise ConfigError("the largest drop must be between 0 and 100 points", max_drop_points, "0.5 is usual")
    if not 0 < alpha < 0.5:
        raise ConfigError("alpha must be between 0 and 0.5", alpha, "0.05 is usual")


def _quantile(level: float) -> float:
    """Return the standard normal's value that is exceeded with this probability; infinite for one too small to name."""
    return -NormalDist().inv_cdf(level) if level > 0 else math.inf


def _upper_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))
