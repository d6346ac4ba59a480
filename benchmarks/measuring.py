"""Measure files: each configuration in processes of its own, blocks interleaved, the machine watched. The one function is `measure_files`.

found = measure_files([Configuration(Path("a.onnx")), Configuration(Path("b.onnx"))])
found.measured[1].speedup   # against a.onnx, with its interval
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from ..runtime.errors import ConfigError
from .configurations import Configuration
from .document import Failed
from .intervals import latency_of, ratio_of
from .latency import Latency, Speedup
from .measured import Resources, Scenario, Stages, Watch
from .rounds import Gathered, Orders, Schedule, run_start
from .scenarios import Rules, batch_of
from .watched import drifts, watch_of
from .watching import Seen
from .work_beside import measure_scenarios, measure_stages_of, memory_slope
from .workers import Launch, Worker, WorkerError, allowed_cores, launch, pick_cores

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Extras:
    """What is measured beside latency, in the last start of each process.

    Attributes:
        image: An image file whose way to labels is timed by stages; None leaves the stages out.
        scenarios: MLPerf's scenarios to run: `single-stream`, `multi-stream`, `offline`.
        rules: How long each runs; shorter than MLPerf's own it is marked as not valid.
    """

    image: Path | None = None
    scenarios: tuple[str, ...] = ()
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        """Refuse scenarios that MLPerf's edge suite does not have.

        Raises:
            ConfigError: A name is unknown; the choices are listed.
        """
        for name in self.scenarios:
            batch_of(name, 1)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one configuration.

    Attributes:
        configuration: What was asked for.
        latency: Time of one call with `configuration.batch` images.
        speedup: Against the first configuration of the same batch that could be measured.
        watch: What disturbed it.
        resources: What the process costs.
        provider: The provider that ran it; with `auto`, the one that was chosen.
        threads: Threads of one call.
        placement: Provider to number of nodes.
        stages: Where the time of one prediction goes; None when there was no image, or the file is no classifier.
        scenarios: MLPerf's.
        notes: What could not be measured, and why.
    """

    configuration: Configuration
    latency: Latency
    speedup: Speedup
    watch: Watch
    resources: Resources
    provider: str
    threads: int
    placement: Mapping[str, int]
    stages: Stages | None = None
    scenarios: tuple[Scenario, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def images_per_s(self) -> float:
        """Throughput, from the median."""
        return self.configuration.batch * 1e3 / self.latency.p50_ms


@dataclass(frozen=True, slots=True)
class Measurements:
    """What came out.

    Attributes:
        measured: Configurations with figures, in the order given.
        failures: The others.
        partial: Ctrl-C ended it; what is here holds for the rounds that were done.
    """

    measured: tuple[Measured, ...]
    failures: tuple[Failed, ...]
    partial: bool = False


@dataclass(slots=True)
class _Row:
    """One configuration on its way."""

    configuration: Configuration
    cores: list[int]
    gathered: Gathered = field(default_factory=Gathered)
    ready: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    cold_ms: list[float] = field(default_factory=list[float])
    status: dict[str, object] = field(default_factory=dict[str, object])
    slope: tuple[float, float, float] | None = None
    stages: Stages | None = None
    scenarios: tuple[Scenario, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Group:
    """Configurations that are interleaved, and what the machine did meanwhile."""

    rows: dict[int, _Row]
    seen: list[Seen] = field(default_factory=list[Seen])
    repeats: int = 0
    failed: dict[int, str] = field(default_factory=dict[int, str])


def measure_files(
    configurations: Sequence[Configuration],
    schedule: Schedule | None = None,
    extras: Extras | None = None,
    *,
    confidence: float = 0.95,
    progress: Progress = lambda _done, _all: None,
    command: Launch = launch,
) -> Measurements:
    """Measure configurations, interleaved, each in processes of its own.

    Configurations of one batch are measured together: all their processes are alive at once, and take turns in blocks (A B B A) on the same
    cores. Everything is repeated with new processes `schedule.starts` times. A run whose times drift is thrown away and repeated once.

    A configuration that fails, or whose process dies, is a `Failed` with its reason; the others go on. Ctrl-C ends the measurement, and what is
    done is returned, marked as partial. No process outlives the call.

    Args:
        configurations: What to measure; the first of each batch is the reference of the speed-ups.
        schedule: How long.
        extras: What is measured beside latency.
        confidence: Of the speed-ups' intervals.
        progress: Told after each start how many are done, and of how many.
        command: From a configuration and its cores to the process that measures it; tests give their own.

    Raises:
        ConfigError: There is nothing to measure.
    """
    if not configurations:
        raise ConfigError("there is nothing to measure", "no configuration", "give a file")
    schedule, extras = schedule or Schedule(), extras or Extras()
    batches = list(dict.fromkeys(one.batch for one in configurations))
    groups = [_group(batch, configurations) for batch in batches]
    steps, partial = len(groups) * schedule.starts, False
    try:
        for at, group in enumerate(groups):
            _measure_(group, schedule, extras, command, lambda done, at=at: progress(at * schedule.starts + done, steps))
    except KeyboardInterrupt:
        partial = True
    found = {number: one for group in groups for number, one in _results(group, confidence).items()}
    failed = {number: why for group in groups for number, why in group.failed.items()}
    return Measurements(
        tuple(found[number] for number in sorted(found)),
        tuple(_failed(configurations[number], failed[number]) for number in sorted(failed)),
        partial,
    )


def _group(batch: int, configurations: Sequence[Configuration]) -> _Group:
    allowed = allowed_cores()
    # Other providers bring threads of their own, which would inherit the core and share it with the caller.
    cores = [pick_cores(one.thread_count, allowed) if one.provider == "cpu" else [] for one in configurations]
    return _Group({at: _Row(one, cores[at]) for at, one in enumerate(configurations) if one.batch == batch})


def _measure_(group: _Group, schedule: Schedule, extras: Extras, command: Launch, done: Callable[[int], None]) -> None:
    """Run all starts; once more where times drift."""
    for last in (False, True):
        for start in range(schedule.starts):
            _start_(group, schedule, extras if start == schedule.starts - 1 else None, command)
            done(start + 1)
            if not group.rows.keys() - group.failed.keys():
                return
        if last or not any(drifts(row.gathered.blocks) for number, row in group.rows.items() if number not in group.failed):
            return
        group.repeats += len(group.seen)
        group.seen.clear()
        for row in group.rows.values():
            row.gathered = Gathered()


def _start_(group: _Group, schedule: Schedule, extras: Extras | None, command: Launch) -> None:
    """Start every process anew and run its rounds; in the last start also what is measured beside."""
    with ExitStack() as stack:
        workers: dict[int, Orders] = {}
        for number, row in group.rows.items():
            if number in group.failed:
                continue
            try:
                worker = stack.enter_context(Worker(row.configuration, row.cores, command=command))
            except WorkerError as error:
                group.failed[number] = str(error)
                continue
            workers[number] = worker
            row.ready.append(worker.ready)
            row.cold_ms.append(worker.cold_start_ms)
        cores = sorted({core for number in workers for core in group.rows[number].cores})
        gathered = {number: group.rows[number].gathered for number in workers}
        seen, repeats, failed = run_start(workers, schedule, gathered, cores)
        group.seen += seen
        group.repeats += repeats
        group.failed |= failed
        for number, worker in workers.items():
            try:
                _beside_(group.rows[number], worker, extras)
            except WorkerError as error:
                group.failed[number] = str(error)


def _beside_(row: _Row, worker: Orders, extras: Extras | None) -> None:
    """Ask for memory; in the last start also for its slope, the stages and the scenarios."""
    if extras is None:
        row.status = worker.order({"do": "status"})
        return
    row.slope = memory_slope(worker, row.gathered.warm_ups[-1].run_ms)
    row.status = worker.order({"do": "status"})
    row.stages, notes = measure_stages_of(worker, extras.image)
    row.scenarios, more = measure_scenarios(worker, extras.scenarios, extras.rules)
    row.notes = (*notes, *more)


def _results(group: _Group, confidence: float) -> dict[int, Measured]:
    """Return what the rows with at least one round came to."""
    rows = {
        number: row for number, row in group.rows.items() if number not in group.failed and any(len(start) for start in row.gathered.blocks)
    }
    if not rows:
        return {}
    first = next(iter(rows.values()))
    return {number: _measured(row, first, group, confidence) for number, row in rows.items()}


def _measured(row: _Row, first: _Row, group: _Group, confidence: float) -> Measured:
    gathered, ready = row.gathered, row.ready[-1]
    blocks = [start for start in gathered.blocks if start]
    latency = latency_of(blocks, sum(one.runs for one in gathered.warm_ups))
    return Measured(
        configuration=row.configuration,
        latency=latency,
        speedup=Speedup(1.0, 1.0, 1.0) if row is first else ratio_of(first.gathered.blocks, gathered.blocks, confidence),
        watch=watch_of(group.seen, group.repeats, gathered, row.cores),
        resources=_resources(row, latency.runs),
        provider=str(ready["provider"]),
        threads=cast("int", ready["threads"]),
        placement=cast("dict[str, int]", ready["placement"]),
        stages=row.stages,
        scenarios=row.scenarios,
        notes=row.notes,
    )


def _resources(row: _Row, runs: int) -> Resources:
    status = row.status or row.ready[-1]
    return Resources(
        cold_start_ms=statistics.median(row.cold_ms),
        load_ms=statistics.median(cast("float", one["load_ms"]) for one in row.ready),
        first_run_ms=statistics.median(cast("float", one["first_run_ms"]) for one in row.ready),
        peak_bytes=cast("int", status["peak_bytes"]),
        resident_bytes=cast("int", status["resident_bytes"]),
        slope_bytes_per_run=row.slope,
        cpu_ms=row.gathered.cpu_ns / 1e6 / runs,
        joules=None if row.gathered.joules is None else row.gathered.joules / runs,
    )


def _failed(configuration: Configuration, why: str) -> Failed:
    told = why.replace(str(configuration.file), configuration.file.name)  # documents name no folders
    return Failed(configuration.file.name, configuration.provider, configuration.thread_count, told)
