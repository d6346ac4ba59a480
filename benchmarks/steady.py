"""When a file has warmed up: caches, memory pools, compiled kernels and the processor's clock have settled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

WINDOW = 3  # blocks on each side; the median of three forgives one that was disturbed
# Falls below 1 % are within what two starts of one process differ by (`intervals`), so that waiting for them gains nothing.
NOISE = 0.01
# A clock needs tens of milliseconds to rise, cuDNN and TensorRT choose kernels in the first runs; what falls for longer is reported.
LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How a file warmed up.

    Attributes:
        runs: Calls it took.
        run_ms: Median of the last block.
        steady: Whether it settled within the limit.
    """

    runs: int
    run_ms: float
    steady: bool


def is_steady(medians_ms: Sequence[float]) -> bool:
    """Return whether blocks no longer get faster.

    The median of the last three blocks is compared with that of the three before. The fall must be smaller than 1 %, or than what the last
    three blocks differ by among themselves.

    Args:
        medians_ms: Of successive blocks.
    """
    if len(medians_ms) < 2 * WINDOW:
        return False
    before, last = np.asarray(medians_ms[-2 * WINDOW : -WINDOW]), np.asarray(medians_ms[-WINDOW:])
    fall = float(np.median(before) - np.median(last))
    return fall <= max(NOISE * float(np.median(last)), float(np.ptp(last)))


def warm_up(block: Callable[[int], Sequence[float]], first_ms: float, block_ms: float, limit_s: float = LIMIT_S) -> WarmUp:
    """Run blocks until they are steady, or until the limit.

    Args:
        block: Runs so many calls and returns their times in milliseconds.
        first_ms: What one call takes, roughly; a first call that was slow only makes the first block short.
        block_ms: What a block should take.
        limit_s: Sum of the calls' times after which it ends, steady or not.
    """
    medians: list[float] = []
    runs, spent_ms, run_ms = 0, 0.0, first_ms
    while not is_steady(medians):
        if medians and spent_ms >= limit_s * 1e3:
            return WarmUp(runs, run_ms, steady=False)
        times = block(runs_for(run_ms, block_ms))
        run_ms = float(np.median(times))
        medians.append(run_ms)
        runs, spent_ms = runs + len(times), spent_ms + sum(times)
    return WarmUp(runs, run_ms, steady=True)


def runs_for(run_ms: float, block_ms: float) -> int:
    """Return how many calls fill a block: at least one, at most 100,000, which is as much as one line of answers should hold."""
    return max(1, min(100_000, round(block_ms / max(run_ms, 1e-6))))
