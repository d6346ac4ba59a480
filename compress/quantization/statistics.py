"""What tensors do over many images, in a form that adds up: exact extremes and a histogram of integers.

Memory does not grow with the number of images, and the result does not depend on their order, on batches or on how the work was shared
out: minima, maxima and counts commute.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from ...runtime.errors import ConfigError, DataError
from .histogram import BINS_PER_SIDE, LEAST_EXPONENT, Counts, Floats, count, exponent_for, folded


@dataclass(frozen=True, slots=True, eq=False)
class TensorStatistics:
    """What one tensor did.

    Attributes:
        channel_low: Smallest value of each channel, exact, shape (C,); (1,) where there are no channels to tell apart.
        channel_high: Largest value of each channel, the same shape.
        counts: Elements in each bin of the histogram, shape (2 * H,), as `histogram` says.
        axis: The tensor's axis that counts channels, None where there is none.
    """

    channel_low: Floats
    channel_high: Floats
    counts: Counts
    axis: int | None = None

    @property
    def low(self) -> float:
        """Smallest value, exact."""
        return float(self.channel_low.min())

    @property
    def high(self) -> float:
        """Largest value, exact."""
        return float(self.channel_high.max())

    @property
    def exponent(self) -> int:
        """The histogram reaches from -2**exponent to 2**exponent, the least power of two above every magnitude."""
        return exponent_for(self.low, self.high)

    @property
    def bin_width(self) -> float:
        """Distance of two bin edges."""
        return math.ldexp(2 / len(self.counts), self.exponent)

    @property
    def is_dead(self) -> bool:
        """Nothing but zeros was seen."""
        return self.low == self.high == 0

    def merged(self, other: "TensorStatistics") -> "TensorStatistics":
        """Return the statistics of both together, exactly as if one pass had seen all."""
        total = Accumulator(self.axis if self.axis == other.axis else None)
        total.add(self)
        total.add(other)
        return total.result()


class Accumulator:
    """Adds up what one tensor does, run by run, in memory that does not grow."""

    def __init__(self, axis: int | None = None) -> None:
        """Start with nothing; `axis` is the tensor's axis that counts channels."""
        self._axis = axis
        self._low: list[Floats] = []
        self._high: list[Floats] = []
        self._exponent = LEAST_EXPONENT
        self._counts: Counts = np.zeros(0, np.int64)

    def add_runs(self, low: Sequence[Floats], high: Sequence[Floats], elements: Sequence[Floats]) -> bool:
        """Add what the model gave in one or more runs; several at once cost less.

        Args:
            low: Smallest value of each channel in each run, shape (C,).
            high: Largest value of each channel in each run, the same shapes.
            elements: The elements for the histogram of each run, between these, shape (n,).

        Returns:
            False, and nothing is added, if a number is not finite.
        """
        chosen = np.concatenate(elements)
        if not (np.isfinite(chosen).all() and np.isfinite(np.concatenate([*low, *high])).all()):
            return False
        self._extend(low, high, 2 * BINS_PER_SIDE)
        self._counts += count(chosen, self._exponent)
        return True

    def add(self, other: TensorStatistics) -> None:
        """Add what another accumulator has collected."""
        self._extend([other.channel_low], [other.channel_high], len(other.counts))
        self._counts += folded(other.counts, self._exponent - other.exponent)

    def result(self) -> TensorStatistics:
        """Return the statistics of everything added so far; something must have been."""
        return TensorStatistics(self._low[0], self._high[0], self._counts.copy(), self._axis)

    def _extend(self, low: Sequence[Floats], high: Sequence[Floats], bins: int) -> None:
        self._low, self._high = [_combined(np.minimum, [*self._low, *low])], [_combined(np.maximum, [*self._high, *high])]
        exponent = exponent_for(float(self._low[0].min()), float(self._high[0].max()))
        self._counts = folded(self._counts, exponent - self._exponent) if len(self._counts) else np.zeros(bins, np.int64)
        self._exponent = exponent


def _combined(pick: np.ufunc, extremes: Sequence[Floats]) -> Floats:
    """Return each channel's smallest or largest value; where their number is free in this model, channels cannot be told apart."""
    if len({one.shape for one in extremes}) > 1:
        extremes = [pick.reduce(one, keepdims=True) for one in extremes]
    found: Floats = pick.reduce(np.stack(extremes))
    return found + np.float32(0)  # -0.0 becomes 0.0: which of the two is the smaller is up to the order


@dataclass(frozen=True, slots=True)
class Key:
    """What statistics belong to: those with an equal key need not be computed again.

    Attributes:
        model: SHA-256 of the float model.
        preprocessing: Hash of what turns images into inputs.
        data: Names the images: the data set's fingerprint, the split and how many; empty where nobody said.
        shards: Into how many parts the images were divided.
        done: Numbers of the parts that are in, ascending, counted from 0.
    """

    model: str
    preprocessing: str = ""
    data: str = ""
    shards: int = 1
    done: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        """Refuse parts that do not exist.

        Raises:
            ConfigError: No part, a part's number is not below the number of parts, or one is there twice.
        """
        if not self.done or list(self.done) != sorted(set(self.done)) or not 0 <= self.done[0] <= self.done[-1] < self.shards:
            raise ConfigError("a shard's number must be in [0, shards)", f"{self.done} of {self.shards}", "count shards from 0")

    def difference(self, other: "Key") -> str:
        """Name the first of model, preprocessing and data that differs, with the beginning of both; empty where none does."""
        pairs = (("model", self.model, other.model), ("preprocessing", self.preprocessing, other.preprocessing))
        for name, ours, theirs in (*pairs, ("data", self.data, other.data)):
            if ours != theirs:
                return f"{name} {ours[:16] or 'unknown'} and {theirs[:16] or 'unknown'}"
        return ""

    def merged(self, other: "Key") -> "Key":
        """Return the key of both parts; all parts of a division together have the key of the whole.

        Raises:
            DataError: The two belong to another model, preprocessing or data set, or hold the same images.
        """
        if difference := self.difference(other):
            raise DataError("these statistics cannot be added", difference, "merge shards of one model, one preprocessing and one data set")
        if self.shards != other.shards or set(self.done) & set(other.done):
            given = f"shards {self.done} of {self.shards} and {other.done} of {other.shards}"
            raise DataError("these statistics hold the same images twice", given, "give each shard of one division once")
        done = tuple(sorted((*self.done, *other.done)))
        return replace(self, shards=1, done=(0,)) if len(done) == self.shards else replace(self, done=done)


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What several tensors did over the same images.

    Attributes:
        tensors: Statistics by tensor name, in the order in which they were asked for.
        images: How many images were seen.
        key: What they belong to.
    """

    tensors: Mapping[str, TensorStatistics]
    images: int
    key: Key


def merge(first: Statistics, *others: Statistics) -> Statistics:
    """Add up the statistics of several shards of a data set.

    Raises:
        DataError: They are of different tensors, or their keys do not fit together.
    """
    return reduce(_added, others, first)


def _added(ours: Statistics, theirs: Statistics) -> Statistics:
    key = ours.key.merged(theirs.key)
    if ours.tensors.keys() != theirs.tensors.keys():
        names = ", ".join(sorted(ours.tensors.keys() ^ theirs.tensors.keys())[:3])
        raise DataError("these statistics are of different tensors", names, "observe the same tensors in every shard")
    tensors = {name: one.merged(theirs.tensors[name]) for name, one in ours.tensors.items()}
    return Statistics(tensors, ours.images + theirs.images, key)
