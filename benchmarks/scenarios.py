"""MLPerf Inference's scenarios for the edge: single-stream, multi-stream and offline, by the rules of versions 4 and 5.

Every scenario runs for 600 s at least. Single-stream sends one image as soon as the last one is done and reports the 90th percentile; multi-stream
sends eight at once and reports the 99th; offline has all of at least 24,576 images at hand and reports images a second (MLPerf Inference Rules,
"Scenarios", github.com/mlcommons/inference_policies; the figures as in loadgen/mlperf.conf). The percentiles are early-stopping estimates: a
few queries give a value that is a little higher, and fewer than 64 (90th) or 662 (99th) give none that counts.

What is timed is the model's call on prepared arrays; MLPerf's official runs draw images from a set by a given seed. A result here keeps the
rules on duration and count, and is no official result.
"""

import math
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..runtime.errors import ConfigError
from .measured import Scenario

Name = Literal["single-stream", "multi-stream", "offline"]
NAMES: tuple[Name, ...] = ("single-stream", "multi-stream", "offline")

SECONDS = 600.0  # min_duration = 600000 in mlperf.conf, for every scenario
OFFLINE_SAMPLES = 24_576
STREAMS = 8  # samples_per_query of multi-stream
CONFIDENCE = 0.99  # of the early-stopping estimate
_PERCENT = {"single-stream": 0.9, "multi-stream": 0.99}
_METRIC: dict[str, Literal["p90_ms", "p99_ms"]] = {"single-stream": "p90_ms", "multi-stream": "p99_ms"}


@dataclass(frozen=True, slots=True)
class Rules:
    """How long a scenario runs.

    Attributes:
        seconds: Least duration; below MLPerf's 600 the result is marked as not valid, and no count of queries is waited for.
    """

    seconds: float = SECONDS

    def __post_init__(self) -> None:
        """Refuse what would never end or not begin.

        Raises:
            ConfigError: The duration is not above zero, or endless.
        """
        if not 0 < self.seconds < math.inf:
            raise ConfigError("a scenario needs a duration", f"{self.seconds} s", "MLPerf asks for 600 s")


def batch_of(name: str, batch: int) -> int:
    """Return how many images a call has.

    Args:
        name: A scenario.
        batch: Of the configuration; offline uses it, since it may choose.

    Raises:
        ConfigError: There is no such scenario.
    """
    if name not in NAMES:
        raise ConfigError("unknown scenario", repr(name), f"choose one of {', '.join(NAMES)}")
    return {"single-stream": 1, "multi-stream": STREAMS}.get(name, batch)


def run_scenario(
    name: Name, call: Callable[[], object], rules: Rules, batch: int, *, clock: Callable[[], int] = time.perf_counter_ns
) -> Scenario:
    """Run one scenario.

    Args:
        name: Which.
        call: One query (offline: one batch of the query).
        rules: How long.
        batch: Images in a call.
        clock: Nanoseconds.
    """
    percent = _PERCENT.get(name)
    least = math.ceil(OFFLINE_SAMPLES / batch) if percent is None else least_queries(percent)
    full = rules.seconds >= SECONDS
    times, end = array("q"), clock() + int(rules.seconds * 1e9)
    start = before = clock()
    while before < end or not times or (full and len(times) < least):
        call()
        now = clock()
        times.append(now - before)
        before = now
    seconds = (before - start) / 1e9
    valid = full and len(times) >= least
    if percent is None:
        return Scenario("offline", "images_per_s", len(times) * batch / seconds, 1, seconds, valid)
    return Scenario(name, _METRIC[name], early_stopping_ns(times, percent) / 1e6, len(times), seconds, valid)


def early_stopping_ns(times: "array[int]", percent: float) -> float:
    """Return the smallest time that the given share of all queries stays below with 99 % confidence; the plain percentile of too few.

    Args:
        times: Of every query.
        percent: The share, such as 0.9.
    """
    ordered = np.sort(np.frombuffer(times, np.int64))
    over = queries_over(len(ordered), percent)
    return float(ordered[len(ordered) - over]) if over else float(np.percentile(ordered, 100 * percent))


def queries_over(count: int, percent: float) -> int:
    """Return how many queries may take longer than a bound that is to hold for `percent` of all, at 99 % confidence; 0 for too few.

    With the share of slow queries at 1 - percent, so few or fewer slow ones come with at most 1 %: the largest t with
    P(Binomial(count, 1 - percent) <= t) <= 1 - 0.99 (MLPerf Inference Rules, appendix "Early stopping criterion").

    Args:
        count: Queries made.
        percent: The share, such as 0.9.
    """
    slow = 1 - percent
    top = int(count * slow) + 1  # the binomial's mean: half of all lies below it
    steps = np.arange(top, dtype=np.float64)
    logs = np.concatenate([[0.0], np.cumsum(np.log((count - steps) / (steps + 1) * (slow / percent)))]) + count * math.log(percent)
    return max(0, int((np.logaddexp.accumulate(logs) <= math.log(1 - CONFIDENCE)).sum()) - 1)


def least_queries(percent: float) -> int:
    """Return the fewest queries that an early-stopping estimate can be made of: 64 for the 90th percentile, 662 for the 99th."""
    count = 1
    while queries_over(count, percent) < 1:
        count += 1
    return count
