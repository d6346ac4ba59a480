"""How long a call takes, and how many times faster than another one, on a machine that does other things too."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..runtime.errors import ConfigError

Call = Callable[[], object]
Clock = Callable[[], int]  # nanoseconds from any start, never backwards

_MAX_RUNS_PER_BLOCK = 100_000
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Timing:
    """How long to measure.

    Attributes:
        rounds: Blocks of each call; one round runs every call once, the next in the opposite order (A B B A).
        block_seconds: Time one block takes at least; it holds one run or more.
        warmup_seconds: Time each call runs before the first block.
    """

    rounds: int = 20
    block_seconds: float = 0.05
    warmup_seconds: float = 0.25

    def __post_init__(self) -> None:
        """Refuse what would measure nothing.

        Raises:
            ConfigError: A field is out of range.
        """
        if self.rounds < 1 or not 0 <= self.block_seconds < math.inf or not 0 <= self.warmup_seconds < math.inf:
            raise ConfigError("timing needs at least one round and no negative time", self, "leave the fields at their defaults")


@dataclass(frozen=True, slots=True)
class Latency:
    """The time of one call, in milliseconds, over `runs` calls.

    Attributes:
        p50_ms: Median.
        p90_ms: 90th percentile.
        p99_ms: 99th percentile.
        min_ms: Shortest.
        runs: How many calls were timed.
        max_ms: Longest.
        p50_interval_ms: The median's 95 % bootstrap interval over rounds; None where there were too few.
        p90_interval_ms: The 90th percentile's.
        p99_interval_ms: The 99th percentile's.
        quantiles_ms: Percentiles 0 to 100 of all calls, 101 values: the distribution for a plot; empty where it was not kept.
        warmup_runs: Calls before the first timed one.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    runs: int
    max_ms: float = 0.0
    p50_interval_ms: tuple[float, float] | None = None
    p90_interval_ms: tuple[float, float] | None = None
    p99_interval_ms: tuple[float, float] | None = None
    quantiles_ms: tuple[float, ...] = ()
    warmup_runs: int = 0


@dataclass(frozen=True, slots=True)
class Speedup:
    """How many times faster than the first call, with a 95 % bootstrap interval."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `measure_interleaved` found, by the names of the calls; the first call's speed-up is exactly 1."""

    latency: dict[str, Latency]
    speedup: dict[str, Speedup]


def measure(call: Call, timing: Timing | None = None, *, clock: Clock = time.perf_counter_ns) -> Latency:
    """Time one call alone.

    Args:
        call: What to time; nothing else is inside the clock.
        timing: How long.
        clock: Where the time comes from.
    """
    return measure_interleaved({"call": call}, timing, clock=clock).latency["call"]


def measure_interleaved(calls: Mapping[str, Call], timing: Timing | None = None, *, clock: Clock = time.perf_counter_ns) -> Comparison:
    """Time several calls in alternating blocks, so that a machine that gets slower or busier slows all of them alike.

    The speed-up is the median over rounds of (median time of the first call / median time of this one) within the round.
    Its interval resamples rounds, not runs: neighbouring runs share their disturbances (Kalibera and Jones 2013, "Rigorous benchmarking
    in reasonable time", doi 10.1145/2464157.2464160).

    Args:
        calls: What to time, by name; the first is the reference.
        timing: How long.
        clock: Where the time comes from.

    Raises:
        ConfigError: There is nothing to time.
    """
    timing = timing or Timing()
    if not calls:
        raise ConfigError("there is nothing to time", "no call", "give at least one")
    names = tuple(calls)
    runs = {name: _warm_up(call, timing, clock) for name, call in calls.items()}
    blocks: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in calls}
    for number in range(timing.rounds):
        for name in names[::-1] if number % 2 else names:
            blocks[name].append(_block(calls[name], runs[name], clock))
    medians = {name: np.array([np.median(block) for block in own]) for name, own in blocks.items()}
    first = next(iter(medians.values()))
    return Comparison(
        {name: _latency(np.concatenate(own)) for name, own in blocks.items()},
        {name: spread_of(first / own) for name, own in medians.items()},
    )


def spread_of(ratios: npt.ArrayLike) -> Speedup:
    """Return the median of one ratio a round, and where 95 % of the medians of resampled rounds lie."""
    ratios = np.asarray(ratios, np.float64)
    picks = np.random.default_rng(0).integers(len(ratios), size=(_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[picks], axis=1), (2.5, 97.5)).tolist()
    return Speedup(float(np.median(ratios)), low, high)


def images_per_second(latency: Latency, batch: int) -> float:
    """Return the throughput of a call that takes `batch` images at a time, from its median."""
    return batch * 1e3 / latency.p50_ms


def _warm_up(call: Call, timing: Timing, clock: Clock) -> int:
    """Run until caches, pools and clocks of the processor have settled; return how many runs fill one block."""
    start, runs = clock(), 0
    while True:
        call()
        runs += 1
        elapsed_ns = clock() - start
        if elapsed_ns >= timing.warmup_seconds * 1e9:
            break
    return min(math.ceil(timing.block_seconds * 1e9 * runs / max(elapsed_ns, 1)) or 1, _MAX_RUNS_PER_BLOCK)


def _block(call: Call, runs: int, clock: Clock) -> npt.NDArray[np.float64]:
    """Return the times of `runs` runs in milliseconds."""
    call()  # the call before had its own data in the caches
    times = np.empty(runs, np.int64)
    for number in range(runs):
        start = clock()
        call()
        times[number] = clock() - start
    return times / 1e6


def _latency(times_ms: npt.NDArray[np.float64]) -> Latency:
    p50, p90, p99 = np.percentile(times_ms, (50, 90, 99)).tolist()
    return Latency(p50, p90, p99, float(times_ms.min()), len(times_ms))
