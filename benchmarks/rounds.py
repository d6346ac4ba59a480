"""Rounds of blocks over several processes, A B B A: every process times its calls once a round, one after the other."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from ..runtime.errors import ConfigError
from .configurations import Configuration
from .steady import LIMIT_S, WarmUp, runs_for, warm_up
from .watching import Counters, Seen, judge, other_siblings, read_counters
from .workers import WorkerError

Times = npt.NDArray[np.float64]  # milliseconds

# The process before had its own data in the caches: a second-level cache of 2 MiB fills within a millisecond.
SETTLE_MS = 2.0
WARMUP_BLOCK_MS = 20.0  # two of the kernel's ticks: shorter blocks see a clock that has not risen yet


class Orders(Protocol):
    """The part of `workers.Worker` that rounds need."""

    configuration: Configuration
    ready: dict[str, object]

    def order(self, told: dict[str, object], limit_s: float = ...) -> dict[str, object]:
        """Give one order and wait for the answer."""
        ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long to measure.

    Attributes:
        starts: How often each process is started anew: what differs from process to process is part of the interval.
        rounds: Blocks of each process in each start; even, so that every A B has its B A.
        block_ms: Time of one block; it holds at least one call.
        warmup_limit_s: Calls' time after which a file that has not settled is measured all the same, and marked.
        repeats: Disturbed rounds that may be run again in one start; further ones are kept and marked.
    """

    starts: int = 10
    rounds: int = 2
    block_ms: float = 50.0
    warmup_limit_s: float = LIMIT_S
    repeats: int = 2

    def __post_init__(self) -> None:
        """Refuse what would measure nothing.

        Raises:
            ConfigError: A field is out of range.
        """
        if self.starts < 1 or self.rounds < 1 or not 0 < self.block_ms < 1e7 or self.warmup_limit_s < 0 or self.repeats < 0:
            raise ConfigError(
                "a schedule needs at least one start and one round, and no negative time", self, "leave the fields at their defaults"
            )


@dataclass(slots=True)
class Gathered:
    """What one configuration gave so far, over all starts.

    Attributes:
        blocks: Times in milliseconds, of each start one array a kept round.
        warm_ups: One for each start.
        cpu_ns: Processor time of all timed calls.
        joules: Energy of all timed calls; None where no sensor is readable.
    """

    blocks: list[list[Times]] = field(default_factory=list[list[Times]])
    warm_ups: list[WarmUp] = field(default_factory=list[WarmUp])
    cpu_ns: int = 0
    joules: float | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """What one process answered to one order."""

    times_ms: Times
    cpu_ns: int
    spent_ns: int
    waited: float
    joules: float | None


def time_block(worker: Orders, runs: int, settle_ms: float = SETTLE_MS) -> Block:
    """Let one process time its calls."""
    answer = worker.order({"do": "block", "runs": runs, "settle_ms": settle_ms})
    times = np.asarray(cast("list[int]", answer["times_ns"]), np.float64) / 1e6
    waited = cast("int", answer["waited_ns"]) / max(cast("int", answer["wall_ns"]), 1)
    joules = cast("float | None", answer["joules"])
    return Block(times, cast("int", answer["cpu_ns"]), cast("int", answer["spent_ns"]), waited, joules)


def run_start(
    workers: dict[int, Orders],
    schedule: Schedule,
    gathered: dict[int, Gathered],
    cores: Sequence[int],
    counters: Callable[[Sequence[int]], Counters] = read_counters,
) -> tuple[list[Seen], int, dict[int, str]]:
    """Warm every process up, then run the rounds of one start.

    A disturbed round is thrown away and run again, as long as the schedule allows; then it is kept, and what disturbed it is told. Whether
    a round is disturbed is decided by the system's counters, never by its times.

    Args:
        workers: By number; the first is the reference. Those that fail are taken out.
        schedule: How long.
        gathered: Where the results go, by the same numbers.
        cores: Those that measure.
        counters: Reads the system's.

    Returns:
        What was seen in each kept round, how many rounds were thrown away, and why processes failed, by number.
    """
    failed: dict[int, str] = {}
    runs: dict[int, int] = {}
    for number, worker in list(workers.items()):
        try:
            warm = _warm(worker, schedule)
        except WorkerError as error:
            failed[number] = str(error)
            del workers[number]
            continue
        gathered[number].warm_ups.append(warm)
        gathered[number].blocks.append([])
        runs[number] = runs_for(warm.run_ms, schedule.block_ms)
    kept: list[Seen] = []
    repeats = 0
    while workers and len(kept) < schedule.rounds:
        blocks, seen, broken = _run_round(workers, runs, len(kept), cores, counters)
        for number, why in broken.items():
            failed[number] = why
            del workers[number]
        if broken or (seen.reasons and repeats < schedule.repeats):
            repeats += 1
            continue
        kept.append(seen)
        for number, block in blocks.items():
            _keep_(gathered[number], block)
    return kept, repeats, failed


def _run_round(
    workers: dict[int, Orders], runs: dict[int, int], turn: int, cores: Sequence[int], counters: Callable[[Sequence[int]], Counters]
) -> tuple[dict[int, Block], Seen, dict[int, str]]:
    """Run one block of each; the order is reversed in every second round."""
    blocks: dict[int, Block] = {}
    broken: dict[int, str] = {}
    before, cpu, begun = counters(cores), time.process_time_ns(), time.perf_counter()
    for number in list(workers)[::-1] if turn % 2 else list(workers):
        try:
            blocks[number] = time_block(workers[number], runs[number])
        except WorkerError as error:
            broken[number] = str(error)
    wall_s = time.perf_counter() - begun
    own_ns = time.process_time_ns() - cpu + sum(one.spent_ns for one in blocks.values())
    waited = max((one.waited for one in blocks.values()), default=0.0)
    seen = judge(before, counters(cores), wall_s, own_ns / 1e9, waited, other_siblings(cores))
    return blocks, seen, broken


def _keep_(into: Gathered, block: Block) -> None:
    into.blocks[-1].append(block.times_ms)
    into.cpu_ns += block.cpu_ns
    if block.joules is not None:
        into.joules = (into.joules or 0.0) + block.joules


def _warm(worker: Orders, schedule: Schedule) -> WarmUp:
    """Warm one process up, in short blocks: it takes six at least."""

    def block(runs: int) -> list[float]:
        return time_block(worker, runs, 0.0).times_ms.tolist()

    return warm_up(block, cast("float", worker.ready["first_run_ms"]), min(schedule.block_ms, WARMUP_BLOCK_MS), schedule.warmup_limit_s)
