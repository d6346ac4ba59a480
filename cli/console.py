"""What the command prints: results on stdout, as tables or one JSON document; remarks, bars and errors on stderr."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, TextIO

from ..runtime.errors import EdgerecError

if TYPE_CHECKING:
    from ..runtime.session import Session


def print_error(error: EdgerecError) -> None:
    """Print what is wrong, what was given, what to do."""
    print(f"error: {error.problem}", file=sys.stderr)
    if error.given:
        print(f"  given: {error.given}", file=sys.stderr)
    if error.fix:
        print(f"  what to do: {error.fix}", file=sys.stderr)


def print_json(result: object) -> None:
    """Print one JSON document on stdout; frozen records become objects."""
    print(json.dumps(asdict(result) if is_dataclass(result) and not isinstance(result, type) else result, default=_plain))


def say(text: str, *, quiet: bool = False) -> None:
    """Print a line for people, on stderr."""
    if not quiet:
        print(text, file=sys.stderr)


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, quiet: bool = False, stream: TextIO | None = None
) -> None:
    """Print a result: a table, its first column text and the others figures, or a block a row where the terminal is too narrow.

    Args:
        title: Stands above it; may be empty.
        columns: Headings.
        rows: Cells.
        quiet: Print nothing.
        stream: Where to; stdout by default. A command that prints JSON there gives stderr.
    """
    if quiet:
        return
    out = stream or sys.stdout
    lines = list(rows)
    if title:
        print(title, file=out)
    widths = _widths(columns, lines)
    if not fits(columns, lines, out):
        label = max(len(column) for column in columns)
        blocks = ["\n".join(f"{column:<{label}}  {cell}" for column, cell in zip(columns, line, strict=True) if cell) for line in lines]
        print("\n\n".join(blocks), file=out)
        return
    for line in (columns, *lines):
        print(
            "  ".join(
                f"{cell:<{width}}" if at == 0 else f"{cell:>{width}}" for at, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip(),
            file=out,
        )


def fits(columns: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO) -> bool:
    """Return whether a table is no wider than where it is printed."""
    widths = _widths(columns, rows)
    return sum(widths) + 2 * (len(widths) - 1) <= _width(stream)


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(line[at]) for line in (columns, *rows)) for at in range(len(columns))]


def _width(stream: TextIO) -> int:
    """Return the terminal's columns; a pipe or a file takes lines of any length."""
    return shutil.get_terminal_size().columns if stream.isatty() or "COLUMNS" in os.environ else 10_000


def tell_placement(session: "Session", *, quiet: bool = False) -> None:
    """Say, on stderr, what `auto` chose and why, and which nodes fell back to the CPU."""
    if choice := session.choice:
        measured = ", ".join(f"{name} {ms:.3f} ms" for name, ms in choice.p50_ms.items()) or "the only one here"
        say(f"auto chose {choice.provider}: {measured}", quiet=quiet)
        for name, reason in choice.skipped.items():
            say(f"auto skipped {name}: {reason}", quiet=quiet)
    nodes = session.placement.nodes
    if session.provider != "cpu" and (fallen := nodes.get("CPUExecutionProvider")):
        say(f"{fallen} of {sum(nodes.values())} nodes run on the CPU instead of {session.provider}", quiet=quiet)


class Bar:
    """A progress bar that may be invisible: `advance` moves it on, `show` puts it somewhere."""

    def __init__(self, update: Callable[[float | None, float | None, float | None, str | None], None]) -> None:
        self._update = update

    def advance(self, amount: float = 1) -> None:
        """Move on by `amount`."""
        self._update(amount, None, None, None)

    def label(self, note: str) -> None:
        """Put a note behind the bar."""
        self._update(None, None, None, note)

    def show(self, completed: float, total: float, note: str = "") -> None:
        """Put the bar at `completed` of `total`, with a note behind it."""
        self._update(None, completed, total, note)


@contextmanager
def progress_bar(description: str, total: int | None, *, quiet: bool = False) -> Generator[Bar]:
    """Show a bar on stderr while the block runs; nothing when stderr is not a terminal."""
    if quiet or not sys.stderr.isatty():
        yield Bar(lambda _advance, _completed, _total, _note: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}")
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total, note="")

        def update(advance: float | None, completed: float | None, whole: float | None, note: str | None) -> None:
            progress.update(task, advance=advance, completed=completed, total=whole)
            if note is not None:
                progress.update(task, note=note)

        yield Bar(update)


def _plain(value: object) -> object:
    item = getattr(value, "item", None)  # numpy scalars
    return item() if callable(item) else str(value)
