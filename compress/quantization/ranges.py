"""Which range of an activation 8 bits should cover, from the statistics alone.

- `minmax`: everything that was seen.
- `percentile`: all but a share of the elements at each end.
- `mse`: the least expected squared error. An element inside is off by a rounding error, step**2 / 12 on average; an element outside by
  its distance to the bound; zero is exact on every grid.
- `entropy`: the least Kullback-Leibler divergence of what the grid makes of the histogram from the histogram, see `divergence`.

A range is judged here by its own tensor. What is best for a tensor may be bad for the model's answer (resolution where it does not matter),
so whoever can should judge `candidates` at the output.
"""

from collections.abc import Callable
from math import inf, isqrt
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ...runtime.errors import ConfigError
from .divergence import divergences
from .histogram import Counts, folded
from .statistics import TensorStatistics

Method = Literal["minmax", "percentile", "mse", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)

Range = tuple[float, float]
_Integers = npt.NDArray[np.int64]
_Cost = Callable[[_Integers, _Integers], npt.NDArray[np.float64]]

# Pairs of bounds that one round of a search looks at; the second round looks at as many between the best's neighbours.
_MSE_PAIRS = 2**16
_ENTROPY_PAIRS = 18**2
# Bins a side for `entropy`: more than TensorRT's 2048, because they serve both signs and half of them may lie above the largest value.
_ENTROPY_BINS = 4096


def choose_range(
    statistics: TensorStatistics, method: Method, *, percentile: float = 99.999, symmetric: bool = False, levels: int = 256
) -> Range:
    """Return the (low, high) that a grid should cover; never beyond what was seen.

    Args:
        statistics: What the tensor did.
        method: How to choose.
        percentile: For `percentile`: percent of the elements below the upper bound, and above the lower; of the magnitudes below the bound
            where `symmetric`.
        symmetric: The grid will have 0 in its middle, so that both sides get one bound, and one integer stays unused.
        levels: How many integers the grid has.

    Raises:
        ConfigError: The method is unknown, or the percentile is not between 50 and 100.
    """
    if method not in METHODS:
        raise ConfigError("the range method is unknown", repr(method), f"choose one of {', '.join(METHODS)}")
    if not 50 <= percentile <= 100:
        raise ConfigError("percentile must be between 50 and 100", percentile, "99.999 keeps all but one value in 100,000")
    counts = statistics.counts[1:]  # bin 0 is in the middle
    zero = len(counts) // 2
    if method == "minmax" or (method == "percentile" and percentile == 100) or counts.sum() == counts[zero]:
        return statistics.low, statistics.high
    if symmetric:
        counts = counts + counts[::-1]
    if method == "percentile":
        low, high = _percentile(counts, percentile, symmetric=symmetric)
    elif method == "mse":
        low, high = _least_error(counts, levels, symmetric=symmetric)
    else:
        low, high = _least_divergence(counts, levels, symmetric=symmetric)
    bounds = np.clip(np.multiply((low, high), statistics.bin_width), statistics.low, statistics.high)
    return float(bounds[0]) + 0.0, float(bounds[1]) + 0.0  # not -0.0


def _percentile(counts: Counts, percentile: float, *, symmetric: bool) -> Range:
    """Return the percentile's bounds in bins; of magnitudes, each tail of the mirrored histogram loses half of the share."""
    share = (100 - percentile) / (200 if symmetric else 100)
    return -_upper_bound(counts[::-1], share), _upper_bound(counts, share)


def _upper_bound(counts: Counts, share: float) -> float:
    """Return the upper edge of the last bin that is kept where at most `share` of all elements may be cut."""
    above = np.cumsum(counts[::-1])[::-1]  # elements in each bin and above it
    index = int(np.flatnonzero(above > share * above[0])[-1]) - len(counts) // 2
    return index + 1 if index >= 0 else index


def _least_error(counts: Counts, levels: int, *, symmetric: bool) -> Range:
    """Return the bounds in bins with the least expected squared error."""
    zero = len(counts) // 2
    steps = levels - 2 if symmetric else levels - 1
    (far_down, error_down, bound_down), (far_up, error_up, bound_up) = _side(counts[zero - 1 :: -1]), _side(counts[zero + 1 :])

    def cost(downs: _Integers, ups: _Integers) -> npt.NDArray[np.float64]:
        inside = far_down[0] + far_up[0] - far_down[downs] - far_up[ups]
        step = (bound_down[downs] + bound_up[ups]) / steps
        return inside * step**2 / 12 + error_down[downs] + error_up[ups]

    down, up = _search(cost, len(far_down) - 1, len(far_up) - 1, _MSE_PAIRS, symmetric=symmetric)
    return -float(bound_down[down]), float(bound_up[up])


def _side(counts: Counts) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return, for a bound above the first t bins of one side, t from 0: elements beyond it, the sum of their squared distances, the bound."""
    used = _last(counts)
    if not used:
        return np.zeros(1), np.zeros(1), np.zeros(1)
    bound = np.arange(1.0, used + 2)
    centre = bound[:-1] + 0.5  # bin 1 reaches from 1 to 2
    sums = np.zeros((3, used + 1))  # of 1, x and x**2 over the elements beyond each bound
    for power in range(3):
        sums[power, :-1] = np.cumsum((counts[:used] * centre**power)[::-1])[::-1]
    return sums[0], sums[2] - 2 * bound * sums[1] + bound**2 * sums[0], bound


def _least_divergence(counts: Counts, levels: int, *, symmetric: bool) -> Range:
    """Return the bounds in bins with the least divergence."""
    levels = levels - 1 if symmetric else levels
    counts, width = _coarser(counts)
    zero = len(counts) // 2
    last_down, last_up = _last(counts[zero - 1 :: -1]), _last(counts[zero + 1 :])
    if last_down + last_up + 1 < levels:  # the grid is finer than the histogram and loses nothing
        return -inf, inf

    def cost(downs: _Integers, ups: _Integers) -> npt.NDArray[np.float64]:
        return divergences(counts, downs, ups, levels)

    down, up = _search(cost, last_down, last_up, _ENTROPY_PAIRS, symmetric=symmetric)
    return -width * (down + 1) if last_down else 0, width * (up + 1) if last_up else 0


def _coarser(counts: Counts) -> tuple[Counts, int]:
    """Return the histogram in at most `_ENTROPY_BINS` bins a side, and how many of the old bins one of its bins holds."""
    half = len(counts) // 2 + 1
    times = max(half // _ENTROPY_BINS, 1).bit_length() - 1
    new = half >> times
    return folded(np.concatenate([[0], counts]), times)[half - new + 1 : half + new], 2**times


def _last(counts: Counts) -> int:
    """Return how many bins it takes to reach the outermost one that is not empty."""
    return int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0


def _search(cost: _Cost, last_down: int, last_up: int, pairs: int, *, symmetric: bool) -> tuple[int, int]:
    """Return how many bins below and above bin 0 cost least: first on a grid over all pairs of numbers, then between the best's neighbours.

    Exact where one grid holds all pairs, and where the cost has no second valley as deep.
    """
    ranges = (0, last_down), (0, last_up)
    is_line = symmetric or 0 in (last_down, last_up)
    width = pairs if is_line else isqrt(pairs)
    best = 0, 0
    for _ in range(2):
        downs, ups = (np.unique(np.linspace(*ends, min(width, ends[1] - ends[0] + 1)).round().astype(np.int64)) for ends in ranges)
        grid = (ups, ups) if symmetric else tuple(axis.ravel() for axis in np.meshgrid(downs, ups))
        at = int(np.argmin(cost(*grid)))
        best = int(grid[0][at]), int(grid[1][at])
        ranges = _between(downs, best[0]), _between(ups, best[1])
    return best


def _between(values: _Integers, best: int) -> tuple[int, int]:
    """Return the neighbours of one of ascending values; at an end, that value itself."""
    at = int(np.searchsorted(values, best))
    return int(values[max(at - 1, 0)]), int(values[min(at + 1, len(values) - 1)])
