"""How much information a grid loses: Kullback-Leibler divergences of many clipping ranges of one histogram at once.

The idea is TensorRT's (S. Migacz, "8-bit inference with TensorRT", GTC 2017), for signed values and windows whose two ends move freely.
P is the histogram inside the window, with what lies outside added to the outermost bins. Q is what the grid makes of the histogram inside:
the window is cut into as many cells as the grid has values, and each cell's mass is spread evenly over those of its bins that P fills.
Since P holds the clipped mass and Q does not, clipping costs; since Q is even inside a cell, width costs.

What TensorRT leaves open is decided here like this:
- Bin 0 is left out of both: zero is exact on every grid, and after ReLU it would outweigh all else.
- Cell j of L covers the bins from floor(j * m / L) to floor((j + 1) * m / L) of a window of m bins, which needs at least L of them.
- A cell that P fills with clipped mass only would make the divergence infinite; it counts as if it held one element.
"""

import numpy as np
import numpy.typing as npt

from .histogram import Counts

_Integers = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


def divergences(counts: Counts, downs: _Integers, ups: _Integers, levels: int) -> _Floats:
    """Return KL(P || Q) in nats for each window.

    Args:
        counts: Elements in each bin, bin 0 in the middle, shape (2 * H - 1,).
        downs: How many bins below bin 0 each window takes in, shape (n,).
        ups: How many bins above, the same shape.
        levels: How many values the grid has.

    Returns:
        Shape (n,); infinite for windows of fewer bins than `levels`, or with nothing inside.
    """
    counts = counts.copy()
    zero = len(counts) // 2
    counts[zero] = 0
    first, last = zero - downs, zero + ups
    before = np.concatenate([[0], np.cumsum(counts)])  # elements before each bin
    outside = np.stack([before[first], before[-1] - before[last + 1]])  # clipped at the low and at the high end, (2, n)
    ends = np.stack([first, last])  # the outermost bins, (2, n)
    is_filled = counts[ends] + outside > 0

    edges = first[:, None] + np.arange(levels + 1) * (last - first + 1)[:, None] // levels  # (n, levels + 1)
    kept = np.diff(before[edges])  # elements in each cell, (n, levels)
    filled = np.diff(np.concatenate([[0], np.cumsum(counts > 0)])[edges])
    mass = kept.copy()
    for side, cell in enumerate((0, -1)):
        filled[:, cell] += is_filled[side] & (counts[ends[side]] == 0)
        mass[:, cell] += outside[side]  # of P
    assumed = np.maximum(kept, mass > 0)  # of Q

    with np.errstate(divide="ignore", invalid="ignore"):
        of_q = np.where(mass > 0, mass * np.log(assumed / filled), 0).sum(axis=1)
    total = before[-1]
    values = (_of_p(counts, ends, outside, first, last) - of_q) / total - np.log(total) + np.log(assumed.sum(axis=1))
    return np.where((last - first + 1 < levels) | (kept.sum(axis=1) == 0), np.inf, values)


def _of_p(counts: Counts, ends: _Integers, outside: _Integers, first: _Integers, last: _Integers) -> _Floats:
    """Return the sum of P * log(P) over each window's bins, P in elements."""
    before = np.concatenate([[0.0], np.cumsum(_xlogx(counts))])
    gained = _xlogx(counts[ends] + outside) - _xlogx(counts[ends])
    return before[last + 1] - before[first] + gained.sum(axis=0)


def _xlogx(counts: Counts) -> _Floats:
    return counts.astype(np.float64) * np.log(np.maximum(counts, 1))
