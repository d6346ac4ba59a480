"""Whether a series goes up or down: a robust line, and a test that it is more than chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True, slots=True)
class Trend:
    """A robust line through a series.

    Attributes:
        slope: Change of the value for each unit of the position: the median of the slopes of all pairs (Theil 1950, Sen 1968).
        low: Lower end of its 95 % interval, from Kendall's statistic (Sen 1968).
        high: Upper end.
        p: Two-sided p-value of the Mann-Kendall test: the values have no order in time.
    """

    slope: float
    low: float
    high: float
    p: float


def trend(values: Sequence[float], positions: Sequence[float] | None = None) -> Trend:
    """Fit a line that a few strange values do not move.

    Args:
        values: In the order of time.
        positions: Where each was taken, rising; None counts from 0.
    """
    y = np.asarray(values, np.float64)
    x = np.arange(len(y), dtype=np.float64) if positions is None else np.asarray(positions, np.float64)
    if len(y) < 3:
        return Trend(0.0, -math.inf, math.inf, 1.0)
    first, second = np.triu_indices(len(y), 1)
    rises, widths = y[second] - y[first], x[second] - x[first]
    slopes = np.sort(rises[widths > 0] / widths[widths > 0])
    s = float(np.sign(rises).sum())
    deviation = math.sqrt(_variance(y))
    if deviation == 0 or not slopes.size:
        return Trend(0.0, 0.0, 0.0, 1.0)
    z = max(abs(s) - 1, 0) / deviation  # the correction for continuity: s moves in steps of 2
    reach = NormalDist().inv_cdf(0.975) * deviation
    low, high = (len(slopes) - reach) / 2, (len(slopes) + reach) / 2
    return Trend(
        float(np.median(slopes)),
        float(slopes[max(0, math.floor(low))]),
        float(slopes[min(len(slopes) - 1, math.ceil(high))]),
        2 * (1 - NormalDist().cdf(z)),
    )


def _variance(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    """Return the variance of Kendall's S where values may be equal."""
    n = len(values)
    ties = np.unique(values, return_counts=True)[1].astype(np.float64)
    return (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
