"""How far one array of answers is from another: the signal-to-noise ratio, and whether the class is the same. Needs no labels; numpy only."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..runtime.errors import ModelError

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Noise:
    """Sums over two arrays; those of further images can be added.

    Attributes:
        signal: Sum of the reference's squares.
        noise: Sum of the squared differences.
        max_abs: Largest difference of two values.
        largest: Largest magnitude of the reference's values.
    """

    signal: float = 0.0
    noise: float = 0.0
    max_abs: float = 0.0
    largest: float = 0.0

    def __add__(self, other: "Noise") -> "Noise":
        """Return the noise of both sets of images together; NaN in either stays NaN."""
        return Noise(
            self.signal + other.signal,
            self.noise + other.noise,
            float(np.maximum(self.max_abs, other.max_abs)),
            float(np.maximum(self.largest, other.largest)),
        )

    @property
    def sqnr_db(self) -> float:
        """10 log10(signal / noise); infinite where nothing differs, minus infinity where the reference is all zeros, NaN where a value is."""
        if math.isnan(self.noise + self.signal):
            return math.nan
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal > 0 and self.noise < math.inf else -math.inf


def measure_noise(reference: Array, candidate: Array) -> Noise:
    """Compare two arrays of numbers.

    Args:
        reference: Any shape; sums are taken in float64.
        candidate: The same shape.

    Raises:
        ModelError: The shapes differ.
    """
    if reference.shape != candidate.shape:
        raise ModelError(
            "two arrays of different shapes have no difference", f"{reference.shape} and {candidate.shape}", "compare like with like"
        )
    if not reference.size:
        return Noise()
    first, second = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
    with np.errstate(invalid="ignore", over="ignore"):  # infinity minus infinity is NaN, which is what should be told
        difference = second - first
        return Noise(float(first @ first), float(difference @ difference), float(np.abs(difference).max()), float(np.abs(first).max()))


def sqnr_db(reference: Array, candidate: Array) -> float:
    """Return 10 log10(sum of the reference's squares / sum of the squared differences), in dB.

    Args:
        reference: Any shape.
        candidate: The same shape.

    Raises:
        ModelError: The shapes differ.
    """
    return measure_noise(reference, candidate).sqnr_db


def agreement(reference: Array, candidate: Array) -> npt.NDArray[np.bool_]:
    """Return for each image whether both models name the same class; answers with NaN agree with nothing.

    Args:
        reference: Logits, shape (N, ...); the class is the largest value's index.
        candidate: The same shape.

    Returns:
        bool, shape (N,).

    Raises:
        ModelError: The shapes differ, or have no values.
    """
    if reference.shape != candidate.shape or reference.ndim < 2 or not reference[0:1].size:
        raise ModelError(
            "classes can only be compared between logits of the same shape",
            f"{reference.shape} and {candidate.shape}",
            "give two classifiers",
        )
    first, second = (one.reshape(len(one), -1).astype(np.float64) for one in (reference, candidate))  # (N, classes)
    known = ~(np.isnan(first).any(axis=1) | np.isnan(second).any(axis=1))
    return known & (first.argmax(axis=1) == second.argmax(axis=1))
