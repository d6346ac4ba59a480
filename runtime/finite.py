"""Is every value a number? Asked on every call, so it must cost almost nothing."""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# OpenBLAS starts threads for products of more than 10,000 values, which cost more than they save here.
DOT_LIMIT = 8192
# A sum of so many values weighted by this stays finite where they are, up to the largest float32.
_WEIGHTS = np.full(DOT_LIMIT, 0.5 / DOT_LIMIT, np.float32)


def weights_for(count: int) -> Floats:
    """Return what `has_finite_sum` needs for `count` values, at most `DOT_LIMIT`."""
    return _WEIGHTS[:count]


def has_finite_sum(flat: Floats, weights: Floats) -> bool:
    """Whether no value is NaN or infinite; 1.3 us for 3,072 values where `isfinite` and `all` take 2.6, and no array of flags.

    Args:
        flat: Shape (count,), contiguous.
        weights: From `weights_for(count)`.
    """
    try:
        return math.isfinite(np.dot(flat, weights))
    except RuntimeWarning:  # inf - inf, where the caller makes warnings errors
        return False


def is_finite(tensor: Floats) -> bool:
    """Whether no value is NaN or infinite.

    An int8 model turns NaN into some integer and answers as if nothing had happened, so every tensor is looked at.
    """
    if tensor.size <= DOT_LIMIT and tensor.flags.c_contiguous:
        return has_finite_sum(tensor.reshape(-1), weights_for(tensor.size))
    return bool(np.isfinite(tensor).all())


def count_not_finite(tensor: Floats) -> int:
    """Return how many values are NaN or infinite."""
    return tensor.size - int(np.count_nonzero(np.isfinite(tensor)))
