"""`edgerec bench --history DIR`: every file's results over time, and this run added to them."""

import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from ..runtime.errors import ConfigError
from .console import fits, print_json, print_table, say

if TYPE_CHECKING:
    from ..benchmarks.change import Change
    from ..benchmarks.document import Document
    from ..benchmarks.history import History, Point, Series
    from .report import Reports

HistoryFolder = Annotated[
    Path | None,
    typer.Option(
        "--history",
        help="Folder of earlier runs (what --json wrote, any names): shows each file's results over time. With files, this run is measured "
        "and added first; without, nothing is measured.",
    ),
]

COLUMNS = ["UTC", "SHA-256", "p50, ms", "change", "top-1, %", "change", "kB"]
NARROW = (0, 2, 3, 4, 5)  # of the columns
READING = (
    "behind {} the larger half of the 95 % interval; changes against the run before on the same machine, in parentheses where they could be "
    "chance; those of p50 are ratios to the first file where both runs began with the same one"
)

_WHEN = re.compile(r"^(\d{4}-)(\d\d-\d\d)( \d\d:\d\d)")


def show_folder(folder: Path | None, reports: "Reports", measuring: str, *, json: bool = False, quiet: bool = False) -> None:
    """Show earlier runs; nothing is measured.

    Args:
        folder: Of the runs; None where the option was not given.
        reports: The page and the charts are of the history alone.
        measuring: An option that was given and means nothing without files to measure; may be empty.
        json: Print one JSON document on stdout instead of tables.
        quiet: Print nothing but the JSON document.

    Raises:
        ConfigError: No folder was given, or an option that only a measurement needs.
        DataError: The folder is missing, may not be read, or nothing in it is a benchmark.
        OutputError: A report cannot be written.
    """
    from ..benchmarks.document import Document
    from ..benchmarks.history import read_history

    if folder is None:
        raise ConfigError("there is nothing to measure", "no file", "give at least one; --history FOLDER alone shows earlier runs")
    if measuring:
        raise ConfigError("without files nothing is measured", measuring, "give the files to measure, too, or leave it out")
    history = read_history(folder)
    show_history(history, json=json, quiet=quiet)
    reports.write(reports.finish(Document(()), ()), history)


def add_run(document: "Document", folder: Path, *, quiet: bool = False) -> "History":
    """Add a run to the folder, and return what it holds now.

    Raises:
        OutputError: It cannot be written.
    """
    from ..benchmarks.history import append, read_history

    say(f"added to the history: {append(document, folder).name}", quiet=quiet)
    return read_history(folder)


def show_history(history: "History", *, json: bool = False, quiet: bool = False, stream: TextIO | None = None) -> None:
    """Print a table for each file and way to run it.

    Args:
        history: What the folder holds.
        json: Print it as one JSON document on stdout instead.
        quiet: Print nothing but the JSON document.
        stream: Where the tables go; stdout by default, stderr beside another JSON document.
    """
    from ..benchmarks.history import series_of

    series = series_of(history)
    for one in history.unreadable:
        say(f"left out: {one}", quiet=quiet)
    if json:
        print_json({"history": [_as_json(one) for one in series], "unreadable": history.unreadable})
        return
    if quiet:
        return
    out = stream or sys.stdout
    for one in series:
        _show(one, _title(one, series), out)
    last = series[0].points[-1].record.machine
    say(f"the last run was on {last.cpu}, {last.cores} cores")
    say(READING.format(_either_way(out)))


def _show(series: "Series", title: str, stream: TextIO) -> None:
    marks: dict[str, str] = {}
    rows = [_row(point, marks, _either_way(stream)) for point in series.points]
    columns = COLUMNS
    if not fits(columns, rows, stream):
        columns = [columns[at] for at in NARROW]
        short = _short([row[0] for row in rows])
        rows = [[when, *(row[at] for at in NARROW[1:])] for when, row in zip(short, rows, strict=True)]
    print_table(title, columns, rows, stream=stream)
    for text, mark in marks.items():
        print(f"  {mark}  {text}", file=stream)
    print(file=stream)


def _short(dates: Sequence[str]) -> list[str]:
    """Return the days without their time, or with it and without the year where a day stands there twice."""
    days = [one.group(1, 2) for text in dates if (one := _WHEN.match(text))]
    return [_WHEN.sub(r"\1\2" if len(set(days)) == len(days) else r"\2\3", text) for text in dates]


def _title(one: "Series", series: "Sequence[Series]") -> str:
    """Return the file and how it was run; batch and profile only where several were."""
    from ..benchmarks.report.wording import count

    place = one.place
    parts = [
        f"{place.file} on {place.target or place.provider}",
        *([place.provider] if place.target else []),
        count(place.threads, "thread"),
    ]
    parts += [f"batch {place.batch}"] if len({other.place.batch for other in series}) > 1 else []
    parts += [place.profile] if len({other.place.profile for other in series}) > 1 else []
    return ", ".join(filter(None, parts))


def _either_way(stream: TextIO) -> str:
    """Return the plus-minus sign, as far as the stream has one."""
    try:
        "\N{PLUS-MINUS SIGN}".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "+/-"
    return "\N{PLUS-MINUS SIGN}"


def _row(point: "Point", marks: dict[str, str], sign: str) -> list[str]:
    from ..benchmarks.report.wording import half_width, ms

    record, accuracy = point.record, point.record.accuracy
    when = f"{point.run.when:%Y-%m-%d %H:%M}" if point.run.when else "no date"
    own = [marks.setdefault(text, _letter(len(marks))) for text in _told(point)]
    p50 = record.latency.p50_interval_ms
    return [
        " ".join([when, "".join(own)]).rstrip(),
        record.sha256[:7],
        ms(record.latency.p50_ms) + (f" {sign}{ms(half_width(record.latency.p50_ms, p50))}" if p50 else ""),
        _change(point.p50, 0.01, "%", 1),
        f"{100 * accuracy.top1:.2f} {sign}{100 * half_width(accuracy.top1, (accuracy.low, accuracy.high)):.2f}" if accuracy else "",
        _change(point.top1, 1.0, "", 2),
        f"{record.size_bytes / 1e3:,.0f}",
    ]


def _told(point: "Point") -> list[str]:
    """Return what a reader must know about a run; the same words get the same letter."""
    where = point.record.machine
    other = [f"another machine: {where.cpu}, {where.cores} cores"] if point.elsewhere else []
    return [*other, *point.remarks, *([] if point.run.when else [f"no date in {point.run.name}"])]


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"[{number}]"


def _change(change: "Change | None", unit: float, sign: str, digits: int) -> str:
    """Return a change, in parentheses where its interval holds no change or is not known."""
    if change is None:
        return ""
    text = f"{change.value / unit:+.{digits}f}{sign}"
    return text if change.low > 0 or change.high < 0 else f"({text})"


def _as_json(series: "Series") -> dict[str, object]:
    return {**asdict(series.place), "runs": [_point_json(one) for one in series.points]}


def _point_json(point: "Point") -> dict[str, object]:
    record, accuracy = point.record, point.record.accuracy
    return {
        "run": point.run.name,
        "created": point.run.document.created,
        "versions": dict(record.versions),
        "sha256": record.sha256,
        "size_bytes": record.size_bytes,
        "p50_ms": record.latency.p50_ms,
        "p50_interval_ms": record.latency.p50_interval_ms,
        "p50_change": _change_json(point.p50),
        "top1": accuracy.top1 if accuracy else None,
        "top1_interval": (accuracy.low, accuracy.high) if accuracy else None,
        "top1_change_points": _change_json(point.top1),
        "another_machine": point.elsewhere,
        "remarks": point.remarks,
    }


def _change_json(change: "Change | None") -> dict[str, object] | None:
    """Return a change; an interval that is not known becomes null, because JSON has no NaN."""
    return None if change is None else {name: value if value == value else None for name, value in asdict(change).items()}
