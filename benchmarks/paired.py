"""Two classifiers on the same images: by how much one is worse, and how sure we can be.

Only the images on which exactly one of the two is right tell them apart. Comparing the two accuracies' own intervals instead would throw
away that the images are the same, and needs many times as many of them. numpy only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..runtime.errors import ConfigError, DataError
from .accuracy import Z_95, wilson

Flags = npt.NDArray[np.bool_]

POINTS = 100.0  # percentage points in a share of 1
_HALVINGS = 60  # of an interval of at most 2: below the last bit of a float64


@dataclass(frozen=True, slots=True)
class Pairs:
    """How often each of two models is right; counts of images.

    Attributes:
        both: Both are right.
        lost: Only the reference is right.
        won: Only the candidate is right.
        neither: Neither is.
    """

    both: int
    lost: int
    won: int
    neither: int

    def __post_init__(self) -> None:
        """Refuse counts that no images give.

        Raises:
            ConfigError: A count is negative.
        """
        if min(self.both, self.lost, self.won, self.neither) < 0:
            raise ConfigError("a count of images cannot be negative", self, "count both models on the same images")

    @property
    def images(self) -> int:
        """All images."""
        return self.both + self.lost + self.won + self.neither

    @property
    def drop_points(self) -> float:
        """The reference's accuracy minus the candidate's, in percentage points; 0 without images."""
        return POINTS * (self.lost - self.won) / max(1, self.images)

    def __add__(self, other: "Pairs") -> "Pairs":
        """Return the counts of both sets of images together."""
        return Pairs(self.both + other.both, self.lost + other.lost, self.won + other.won, self.neither + other.neither)


def count_pairs(reference: Flags, candidate: Flags) -> Pairs:
    """Count how often each model is right.

    Args:
        reference: Whether the reference is right on each image, bool, shape (N,).
        candidate: The same for the candidate, on the same images in the same order.

    Raises:
        DataError: The two differ in shape, are not bool, or have more than one dimension.
    """
    if reference.shape != candidate.shape or reference.ndim != 1 or reference.dtype != bool or candidate.dtype != bool:
        raise DataError(
            "two models are compared on the same images",
            f"{reference.dtype} {reference.shape} and {candidate.dtype} {candidate.shape}",
            "give one bool an image for each model",
        )
    both, right, other = (int(np.count_nonzero(one)) for one in (reference & candidate, reference, candidate))
    return Pairs(both, right - both, other - both, len(reference) - right - other + both)


def newcombe(pairs: Pairs, z: float = Z_95) -> tuple[float, float]:
    """Return an interval of the drop, in points: Wilson's intervals of the two accuracies, joined with their correlation.

    Method 10 of Newcombe 1998, doi 10.1002/(SICI)1097-0258(19981130)17:22<2635::AID-SIM954>3.0.CO;2-C.

    Args:
        pairs: The counts.
        z: Quantile of the standard normal; 1.96 gives 95 %.

    Raises:
        ConfigError: There is no image.
    """
    n = pairs.images
    first, second = (pairs.both + pairs.lost) / max(1, n), (pairs.both + pairs.won) / max(1, n)
    first_low, first_high = wilson(pairs.both + pairs.lost, n, z)
    second_low, second_high = wilson(pairs.both + pairs.won, n, z)
    phi = _correlation(pairs)

    def joined(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))

    drop = first - second
    return (
        POINTS * (drop - joined(first - first_low, second_high - second)),
        POINTS * (drop + joined(first_high - first, second - second_low)),
    )


def tango(pairs: Pairs, z: float = Z_95, *, correction: float = 0.0) -> tuple[float, float]:
    """Return an interval of the drop, in points: all drops that a score test does not refuse.

    Tango 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B.

    Args:
        pairs: The counts.
        z: Quantile of the standard normal; 1.96 gives 95 %.
        correction: Images by which the observed difference is moved towards the tested one; 0.5 makes the interval a little wide, so that
            each side keeps its level with few discordant images too.

    Raises:
        ConfigError: There is no image.
    """
    if not pairs.images:
        raise ConfigError("an interval needs at least one image", "none", "give images that both models have seen")
    observed = (pairs.lost - pairs.won) / pairs.images
    low = _root(lambda drop: tango_score(pairs, drop, correction=correction) > z, -1.0, observed)
    high = _root(lambda drop: tango_score(pairs, drop, correction=correction) >= -z, observed, 1.0)
    return POINTS * low, POINTS * high


def tango_score(pairs: Pairs, drop: float, *, correction: float = 0.0) -> float:
    """Return how many standard deviations the observed drop lies above an assumed one; below 0 where it lies under it.

    Args:
        pairs: The counts, at least one image.
        drop: The assumed drop, a share between -1 and 1.
        correction: Images by which the difference is made smaller, at most to 0.
    """
    return score_of(pairs.lost, pairs.won, pairs.images, drop, correction)


def score_of(lost: float, won: float, images: float, drop: float, correction: float = 0.0) -> float:
    """Return Tango's score from counts that need not be whole: what more images would give at the same rates."""
    # The most likely share of images that the candidate alone gets right, if the drop were the assumed one.
    b = (2 * images - lost + won) * drop - lost - won
    won_share = (math.sqrt(max(0.0, b * b + 8 * images * won * drop * (1 - drop))) - b) / (4 * images)
    variance = images * (2 * won_share + drop * (1 - drop))
    distance = lost - won - images * drop
    distance = math.copysign(max(0.0, abs(distance) - correction), distance)
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def mcnemar(pairs: Pairs) -> float:
    """Return the exact two-sided p-value of "both models are equally often right".

    McNemar 1947, doi 10.1007/BF02295996, with the binomial distribution instead of its normal approximation.
    """
    discordant, fewer = pairs.lost + pairs.won, min(pairs.lost, pairs.won)
    term = tail = 1  # whole numbers: thousands of digits, and exact
    for count in range(1, fewer + 1):
        term = term * (discordant - count + 1) // count
        tail += term
    return min(1.0, 2 * tail / 2**discordant)


def _correlation(pairs: Pairs) -> float:
    """Return the correlation of the two models' being right, with the continuity correction of Newcombe's method 10."""
    right, wrong = pairs.both + pairs.lost, pairs.won + pairs.neither
    other_right, other_wrong = pairs.both + pairs.won, pairs.lost + pairs.neither
    product = right * wrong * other_right * other_wrong
    excess = pairs.both * pairs.neither - pairs.lost * pairs.won
    if excess > 0:
        excess = max(excess - pairs.images / 2, 0)
    return excess / math.sqrt(product) if product else 0.0


def _root(above: Callable[[float], bool], low: float, high: float) -> float:
    """Return where `above` turns from true to false between `low` and `high`."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) else (low, middle)
    return (low + high) / 2
