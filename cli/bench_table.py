"""What `edgerec bench` prints: one table, and below it what is not a column."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .console import print_table, say

if TYPE_CHECKING:
    from ..benchmarks.document import Document
    from ..benchmarks.records import Record

DISTURBED = " !"  # behind the name of a model whose run was disturbed; said in words below the table


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table.

    Attributes:
        name: Its heading.
        cell: From a record to its text; empty where there is nothing to say.
        when_differs: It stands there only where the rows differ in it.
    """

    name: str
    cell: Callable[["Record"], str]
    when_differs: bool = False


def _name(one: "Record") -> str:
    return one.file + (DISTURBED if one.watch and one.watch.disturbances else "")


def _accuracy(one: "Record") -> str:
    return f"{one.accuracy.top1:.2%}" if one.accuracy else ""


def _interval(one: "Record") -> str:
    return f"{100 * one.accuracy.low:.2f} to {100 * one.accuracy.high:.2f}" if one.accuracy else ""


def _lost(one: "Record") -> str:
    found = one.agreement
    if found is None or found.drop_points is None:
        return ""
    ends = f" ({found.drop_interval[0]:.2f} to {found.drop_interval[1]:.2f})" if found.drop_interval else ""
    return f"{found.drop_points:.2f}{ends}"


def _agreement(one: "Record") -> str:
    """Return what is known of a file without labels."""
    found = one.agreement
    if found is None or one.accuracy is not None:
        return ""
    return f"{found.agreement:.2%}" + (f", {found.sqnr_db:.1f} dB" if found.sqnr_db is not None else "")


def _p50(one: "Record") -> str:
    ends = one.latency.p50_interval_ms
    return f"{one.latency.p50_ms:.3f}" + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else "")


def _speedup(one: "Record") -> str:
    return f"{one.speedup.ratio:.2f}x ({one.speedup.low:.2f} to {one.speedup.high:.2f})" if one.speedup else ""


COLUMNS: tuple[Column, ...] = (
    Column("model", _name),
    Column("machine", lambda one: one.target, when_differs=True),
    Column("on", lambda one: one.provider),
    Column("threads", lambda one: str(one.threads), when_differs=True),
    Column("batch", lambda one: str(one.batch), when_differs=True),
    Column("kB", lambda one: f"{one.size_bytes / 1e3:.1f}"),
    Column("top-1", _accuracy),
    Column("95 % interval", _interval),
    Column("points lost", _lost),
    Column("agreement", _agreement),
    Column("p50 ms (interval)", _p50),
    Column("p90 ms", lambda one: f"{one.latency.p90_ms:.3f}"),
    Column("p99 ms", lambda one: f"{one.latency.p99_ms:.3f}"),
    Column("images/s", lambda one: f"{one.throughput_images_per_s:,.0f}" if one.throughput_images_per_s else ""),
    Column("speed-up (interval)", _speedup),
    Column("peak MB", lambda one: f"{one.resources.peak_bytes / 1e6:.0f}" if one.resources else ""),
)


def table_of(records: "Sequence[Record]") -> tuple[list[str], list[list[str]]]:
    """Return the headings of the columns that say something, and one row of cells a record."""
    cells = [[column.cell(one) for one in records] for column in COLUMNS]
    kept = [at for at, column in enumerate(COLUMNS) if any(cells[at]) and not (column.when_differs and len(set(cells[at])) == 1)]
    return [COLUMNS[at].name for at in kept], [[cells[at][row] for at in kept] for row in range(len(records))]


def show_document(document: "Document", *, quiet: bool = False) -> None:
    """Print the table on stdout; on which machine it was measured, what disturbed it and what failed on stderr."""
    if document.records:
        print_table("", *table_of(document.records), quiet=quiet)
        _show_duty_cycles(document.records, quiet=quiet)
        _show_scenarios(document.records, quiet=quiet)
        for line in remarks(document.records):
            say(line, quiet=quiet)
    for one in document.failures:
        on = f"{one.provider} on {one.target}" if one.target else one.provider
        say(f"failed: {one.file}, {on}: {one.error}")  # the reason for the exit code is said in any case
    if document.partial:
        say("interrupted: what stands here is complete, the rest was not measured")


def remarks(records: "Sequence[Record]") -> list[str]:
    """Return what holds for the whole table, and what disturbed single rows."""
    first = records[0]
    told = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    wide = ", ".join(first.machine.instructions)
    scored = f"scored on {first.accuracy.images:,} {first.split} images; " if first.accuracy else ""
    threads, batches = {one.threads for one in records}, {one.batch for one in records}
    timed = f"{first.threads} thread(s), " if len(threads) == 1 else ""
    timed += (
        "one image a call" if batches == {1} else f"{first.batch} images a call" if len(batches) == 1 else "speed-up within a batch size"
    )
    disturbed = [(one.file, one.watch.disturbances) for one in records if one.watch and one.watch.disturbances]
    return [
        f"{scored}{timed}; {first.machine.cpu}, {first.machine.cores} cores ({wide}); {told}",
        *(f"{name}{DISTURBED} was disturbed: {'; '.join(words)}" for name, words in disturbed),
    ]


def _show_duty_cycles(records: "Sequence[Record]", *, quiet: bool) -> None:
    """Print what a frame costs at a fixed pace, where that was measured."""
    paced = [(record, record.duty_cycle) for record in records if record.duty_cycle]
    if not paced or quiet:
        return
    print()
    columns = ["model", "on", "profile", "CPU ms a frame", "p50 ms", "late frames"]
    rows = [
        [one.file, one.provider, one.profile, f"{duty.cpu_ms:.3f}", f"{duty.p50_ms:.3f}", f"{duty.late} of {duty.frames}"]
        for one, duty in paced
    ]
    print_table(f"at {paced[0][1].frames_per_s:g} frames/s", columns, rows)


def _show_scenarios(records: "Sequence[Record]", *, quiet: bool) -> None:
    """Print MLPerf's scenarios, where they were run."""
    found = [(record, one) for record in records for one in record.scenarios]
    if not found or quiet:
        return
    print()
    rows = [
        [one.file, one.provider, run.name, f"{run.value:,.3f} {run.metric}", f"{run.queries:,}", f"{run.seconds:.0f}", _valid(run.valid)]
        for one, run in found
    ]
    print_table("MLPerf's scenarios", ["model", "on", "scenario", "result", "queries", "seconds", "rules"], rows)


def _valid(kept: bool) -> str:
    return "kept" if kept else "shorter than MLPerf's"
