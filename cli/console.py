"""What the command prints: tables and bars for people on stderr, one JSON document for machines on stdout."""

import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING

from ..runtime.errors import EdgerecError

if TYPE_CHECKING:
    from rich.console import Console


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


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, quiet: bool = False) -> None:
    """Print a table for people, on stderr; the first column is text, the others are figures."""
    if quiet:
        return
    from rich.table import Table

    if title:
        say(title)
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    _console().print(table, soft_wrap=False)


class Bar:
    """A progress bar that may be invisible: `advance` moves it on, `show` puts it somewhere."""

    def __init__(self, update: Callable[[float | None, float | None, float | None, str | None], None]) -> None:
        self._update = update

    def advance(self, amount: float = 1) -> None:
        """Move on by `amount`."""
        self._update(amount, None, None, None)

    def show(self, completed: float, total: float, note: str = "") -> None:
        """Put the bar at `completed` of `total`, with a note behind it."""
        self._update(None, completed, total, note)


@contextmanager
def progress_bar(description: str, total: int | None, *, quiet: bool = False) -> Generator[Bar]:
    """Show a bar on stderr while the block runs; nothing when stderr is not a terminal."""
    if quiet or not sys.stderr.isatty():
        yield Bar(lambda _advance, _completed, _total, _note: None)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}")
    with Progress(*columns, console=_console(), transient=True) as progress:
        task = progress.add_task(description, total=total, note="")

        def update(advance: float | None, completed: float | None, whole: float | None, note: str | None) -> None:
            progress.update(task, advance=advance, completed=completed, total=whole)
            if note is not None:
                progress.update(task, note=note)

        yield Bar(update)


def _console() -> "Console":
    from rich.console import Console

    # 60 columns are the narrowest table we lay out; NO_COLOR and FORCE_COLOR are rich's own.
    width = None if sys.stderr.isatty() or "COLUMNS" in os.environ else 140
    return Console(stderr=True, highlight=False, width=width)


def _plain(value: object) -> object:
    item = getattr(value, "item", None)  # numpy scalars
    return item() if callable(item) else str(value)
