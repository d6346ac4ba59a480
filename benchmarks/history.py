"""A folder of earlier runs: each file's results over time, each run against the one before."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..runtime.errors import DataError, OutputError
from ..runtime.files import write_text
from .change import Change, Pair, Place, pair_up, places_of, same_machine
from .document import Document, read_document
from .gate_rules import METRICS
from .records import Machine, Record

_FIX = "give a folder of what `edgerec bench --json` wrote, or measure into a new one: edgerec bench FILE --data ... --history FOLDER"


@dataclass(frozen=True, slots=True)
class Run:
    """One document of the folder.

    Attributes:
        name: Of its file.
        document: What it holds.
    """

    name: str
    document: Document

    @property
    def when(self) -> datetime | None:
        """When it was made, in UTC; None where it does not say."""
        try:
            made = datetime.fromisoformat(self.document.created)
        except ValueError:
            return None
        return made.replace(tzinfo=UTC) if made.tzinfo is None else made.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class History:
    """What a folder holds.

    Attributes:
        runs: By date; those without one come first, by name.
        unreadable: One line for each file that is no benchmark: why, and its name.
    """

    runs: tuple[Run, ...]
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """What one run found of one file.

    Attributes:
        run: The run.
        record: What it found.
        p50: Change of the median against the run before on the same machine, a fraction; None for the first.
        top1: Change of top-1, points; None also where one of the two was not scored, or on other images.
        elsewhere: It was measured on another machine than the last run.
        remarks: What else a reader must know: another runtime than before, disturbed, interrupted.
    """

    run: Run
    record: Record
    p50: Change | None
    top1: Change | None
    elsewhere: bool
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One file, run in one way, over time; the oldest first."""

    place: Place
    points: tuple[Point, ...]


def read_history(folder: Path) -> History:
    """Read every `*.json` of a folder, whatever its name; other files and folders are left alone.

    Raises:
        DataError: The folder is missing, is a file or may not be read, or nothing in it is a benchmark.
    """
    try:
        paths = sorted(one for one in folder.iterdir() if one.suffix == ".json" and not one.name.startswith(".") and one.is_file())
    except OSError as error:
        raise DataError("the history cannot be read", f"{folder} ({error.strerror})", _FIX) from error
    runs: list[Run] = []
    unreadable: list[str] = []
    for path in paths:
        try:
            runs.append(Run(path.name, read_document(path)))
        except DataError as error:
            unreadable.append(f"{error.problem}: {error.given.replace(str(path), path.name)}")
    if not runs:
        given = f"none of {len(unreadable)} files in {folder} is a benchmark" if unreadable else f"{folder} has no file *.json"
        raise DataError("there is no history", given, _FIX)
    return History(tuple(sorted(runs, key=_order)), tuple(unreadable))


def check_history(folder: Path) -> None:
    """Find out before minutes of measuring that a run cannot be added; a missing folder is made.

    Raises:
        DataError: There are files in it, and none of them is a benchmark.
        OutputError: It is a file, cannot be made, or cannot be written.
    """
    import os

    try:
        folder.mkdir(exist_ok=True)
        empty = not any(one.suffix == ".json" for one in folder.iterdir())
    except FileExistsError as error:
        raise OutputError("the folder of the history is a file", folder, "give the name of a folder") from error
    except OSError as error:
        raise OutputError("the folder of the history cannot be used", f"{folder} ({error.strerror})", "choose another folder") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError("the folder of the history is read-only", folder, "choose another folder or change its permissions")
    if not empty:
        read_history(folder)


def append(document: Document, folder: Path) -> Path:
    """Write a run into the folder, under its time and a part of its hash; a killed process leaves nothing.

    Raises:
        OutputError: It cannot be written.
    """
    text = document.to_json()
    when = Run("", document).when or datetime.now(UTC)
    path = folder / f"{when:%Y%m%dT%H%M%SZ}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
    write_text(path, text + "\n")
    return path


def series_of(history: History) -> tuple[Series, ...]:
    """Return the results of each file and way to run it, in the order of the newest run; what that run has not, at the end."""
    places: dict[Place, list[tuple[Run, Record]]] = {}
    for run in reversed(history.runs):
        for place, record in places_of(run.document):
            places.setdefault(place, []).insert(0, (run, record))
    return tuple(Series(place, _points(found)) for place, found in places.items())


def _order(run: Run) -> tuple[bool, float, str]:
    when = run.when
    return when is not None, when.timestamp() if when else 0.0, run.name


def _points(found: Sequence[tuple[Run, Record]]) -> tuple[Point, ...]:
    last = found[-1][1].machine
    return tuple(_point(at, found, last) for at in range(len(found)))


def _point(at: int, found: Sequence[tuple[Run, Record]], last: Machine) -> Point:
    run, record = found[at]
    elsewhere = not same_machine(record.machine, last)
    before = next((one for one in reversed(found[:at]) if same_machine(one[1].machine, record.machine)), None)
    partial = ("interrupted",) if run.document.partial else ()
    if before is None:
        disturbed = ("disturbed",) if record.watch and record.watch.disturbances else ()
        return Point(run, record, None, None, elsewhere, (*disturbed, *partial))
    pair = _pair(record, run.document, before[0].document)
    p50, top1 = (METRICS[name].change(pair, name == "p50") for name in ("p50", "top1"))
    remarks = [one for one in pair.remarks if one != "disturbed" or (record.watch and record.watch.disturbances)]
    return Point(run, record, p50, top1, elsewhere, (*remarks, *partial))


def _pair(record: Record, document: Document, before: Document) -> Pair:
    return next(one for one in pair_up(document, before) if one.now is record)
