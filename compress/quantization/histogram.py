"""Histograms of signed values that can be added: counts over a symmetric range that is a power of two and doubles by folding.

Bin k of H on each side holds the values v with trunc(v / width) == k: bin 0 lies on both sides of zero, is twice as wide, and stands for
zero itself, which ReLU makes in great numbers. Counts are an array of 2 * H integers; bin k has the index H + k, index 0 is never used.
"""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]

BINS_PER_SIDE = 8192
LEAST_EXPONENT = -100  # smaller values count as zero: the factor below must be a normal float32


def exponent_for(low: float, high: float) -> int:
    """Return the least e with -2**e < low and high < 2**e."""
    return max(math.frexp(max(-low, high))[1], LEAST_EXPONENT)


def count(elements: Floats, exponent: int) -> Counts:
    """Return the histogram of finite values that lie in (-2**exponent, 2**exponent).

    The factor is a power of two, so a product is exact, or underflows to what is below 1 in any case: counting in a wide range and
    folding counts of a narrow one give the same integers.
    """
    bins = (elements * np.float32(math.ldexp(BINS_PER_SIDE, -exponent))).astype(np.int32)  # the cast cuts towards zero
    bins += BINS_PER_SIDE
    return np.bincount(bins, minlength=2 * BINS_PER_SIDE).astype(np.int64, copy=False)


def folded(counts: Counts, times: int) -> Counts:
    """Return the counts in bins that are 2**times as wide, over a range that is as much larger."""
    half = len(counts) // 2
    for _ in range(min(times, half.bit_length())):  # after so many, all is in bin 0
        above = counts[half:].reshape(-1, 2).sum(axis=1)  # bins 0 and 1, 2 and 3, ...
        below = counts[half:0:-1].reshape(-1, 2).sum(axis=1)  # bins 0 and -1, -2 and -3, ...
        zero = counts[half]
        counts = np.zeros_like(counts)
        counts[half : half + half // 2] = above
        counts[half - half // 2 + 1 : half + 1] += below[::-1]
        counts[half] -= zero  # which both sides have counted
    return counts
