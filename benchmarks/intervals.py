"""From the times of blocks to figures with intervals. A block is one process's runs in one round; processes are started several times.

Two processes that run the same file do not take the same time: where the system put their memory stays with them until they end
(Mytkowicz et al. 2009, "Producing wrong data without doing anything obviously wrong", doi 10.1145/1508244.1508275). On the machine of the
first measurement the ratio of two copies of one file moved by 0.3 to 0.5 % from start to start, and by a fifth of that within one. An interval
over rounds of one pair of processes would call most copies different. So the unit is the start: every start gives one ratio, and Student's t
over the starts gives the interval (Kalibera and Jones 2013, doi 10.1145/2464157.2464160, repeat at the highest level that varies).

On a virtual machine one start in ten or so is off by 5 to 10 % though no counter tells why: a neighbour on the same processor. One of them in a
mean of five hides a difference of 5 %. From eight starts on, the lowest and the highest fifth are trimmed, and the variance is that of the
trimmed mean (Tukey and McLaughlin 1963; Yuen 1974, doi 10.1093/biomet/61.1.165).
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..runtime.errors import ConfigError
from .latency import Latency, Speedup
from .student import student_quantile

Times = npt.NDArray[np.float64]  # milliseconds
Blocks = Sequence[Sequence[Times]]  # of each start, one array a round

_RESAMPLES = 1000
_KEPT = 200  # sorted values that stand for a block in the bootstrap: enough for its 99th percentile
_TRIMMED_FROM = 8  # starts; of fewer, trimming would leave too few degrees of freedom: 2 of 5
_TRIMMED = 5  # one fifth at each end
LEAST_STARTS = 3  # with two, t has one degree of freedom: 64 standard errors at 99 %


def ratio_of(first: Blocks, other: Blocks, confidence: float = 0.95) -> Speedup:
    """Return how many times faster the other is, with an interval.

    Each round gives the log of (median time of the first / median time of the other); a start's value is the median of its rounds. With
    fewer than `LEAST_STARTS` starts the unit is a pair of rounds (A B B A), which leaves out what differs from process to process.

    Args:
        first: Times of the reference.
        other: Times of the other, in the same starts and rounds.
        confidence: Of the interval, such as 0.99.

    Raises:
        ConfigError: There is no round that both have, or the confidence is no share.
    """
    if not 0 < confidence < 1:
        raise ConfigError("a confidence is between 0 and 1", confidence, "0.95 is usual")
    starts = [_logs(mine, its) for mine, its in zip(first, other, strict=False)]
    starts = [one for one in starts if one.size]
    if not starts:
        raise ConfigError("there is nothing to compare", "no round that both files have", "measure again")
    units = np.array([np.median(one) for one in starts]) if len(starts) >= LEAST_STARTS else _pairs(np.concatenate(starts))
    return _interval(units, confidence)


def latency_of(blocks: Blocks, warmup_runs: int = 0) -> Latency:
    """Return percentiles of all calls, with 95 % bootstrap intervals.

    Starts are drawn again, then rounds within them (two levels: neighbouring runs share their disturbances).

    Args:
        blocks: Times in milliseconds.
        warmup_runs: Kept in the record.
    """
    pooled = np.concatenate([block for start in blocks for block in start])
    p50, p90, p99 = np.percentile(pooled, (50, 90, 99)).tolist()
    low, high = _bootstrap(blocks, (50, 90, 99))
    spans = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    return Latency(
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        min_ms=float(pooled.min()),
        runs=len(pooled),
        max_ms=float(pooled.max()),
        p50_interval_ms=spans[0],
        p90_interval_ms=spans[1],
        p99_interval_ms=spans[2],
        quantiles_ms=tuple(np.percentile(pooled, np.arange(101)).tolist()),
        warmup_runs=warmup_runs,
    )


def _logs(first: Sequence[Times], other: Sequence[Times]) -> Times:
    return np.array([math.log(float(np.median(a)) / float(np.median(b))) for a, b in zip(first, other, strict=False)])


def _pairs(logs: Times) -> Times:
    """Return the means of neighbouring rounds: the second one ran in the opposite order, so that a steady drift cancels."""
    if len(logs) < 4:
        return logs
    return logs[: len(logs) // 2 * 2].reshape(-1, 2).mean(axis=1)  # (rounds / 2,)


def _interval(units: Times, confidence: float) -> Speedup:
    """Return the mean of the logs, trimmed where there are enough, with Student's interval; as a ratio."""
    count = len(units)
    cut = count // _TRIMMED if count >= _TRIMMED_FROM else 0
    ordered = np.sort(units)
    middle = float(ordered[cut : count - cut].mean())
    freedom = count - 2 * cut - 1
    if freedom < 1:
        return Speedup(math.exp(middle), 0.0, math.inf)
    winsorised = np.clip(ordered, ordered[cut], ordered[count - 1 - cut])
    error = float(winsorised.std(ddof=1)) / ((1 - 2 * cut / count) * math.sqrt(count))
    half = student_quantile(0.5 + confidence / 2, freedom) * error
    return Speedup(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def _bootstrap(blocks: Blocks, percents: tuple[int, ...]) -> tuple[Times, Times]:
    """Return the 2.5th and the 97.5th percentile of the resampled percentiles."""
    small = [[_reduced(block) for block in start] for start in blocks if len(start)]
    draws = np.random.default_rng(0)
    found = np.empty((_RESAMPLES, len(percents)))
    for number in range(_RESAMPLES):
        starts = [small[at] for at in draws.integers(0, len(small), len(small))]
        picked = [start[at] for start in starts for at in draws.integers(0, len(start), len(start))]
        found[number] = np.percentile(np.concatenate(picked), percents)
    low, high = np.percentile(found, (2.5, 97.5), axis=0)
    return low, high


def _reduced(block: Times) -> Times:
    return np.percentile(block, np.linspace(0, 100, _KEPT)) if len(block) > _KEPT else block
