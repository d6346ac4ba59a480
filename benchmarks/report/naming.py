"""What each configuration is called in a report: a letter that every chart and table repeats, and what tells it from the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..records import Record

if TYPE_CHECKING:
    from ..history import Series


@dataclass(frozen=True, slots=True)
class Named:
    """A record and its name.

    Attributes:
        key: A letter: it stands beside every mark, so that colour never tells alone.
        name: File, and of provider, threads, batch, profile and machine what differs within the document.
        at: Place in the document; chooses colour, shape and dash.
        record: The record.
    """

    key: str
    name: str
    at: int
    record: Record

    @property
    def label(self) -> str:
        """Key and name."""
        return f"{self.key} {self.name}"


_PARTS: tuple[Callable[[Record], str], ...] = (
    lambda one: one.provider,
    lambda one: f"{one.threads} thread" + ("s" if one.threads != 1 else ""),
    lambda one: f"batch {one.batch}",
    lambda one: one.profile,
    lambda one: one.target,
)


def name_records(records: Sequence[Record]) -> tuple[Named, ...]:
    """Name every record of a document."""
    told = [part for part in _PARTS if len({part(record) for record in records}) > 1]
    named: list[Named] = []
    for at, record in enumerate(records):
        parts = [record.file, *(text for part in told if (text := part(record)))]
        disturbed = " (disturbed)" if record.watch and record.watch.disturbances else ""
        named.append(Named(key_of(at), printable(" \N{MIDDLE DOT} ".join(parts)) + disturbed, at, record))
    return tuple(named)


def name_series(series: "Sequence[Series]") -> tuple[Named, ...]:
    """Name files over time, by their newest records."""
    return name_records([replace(one.points[-1].record, watch=None) for one in series])


def key_of(at: int) -> str:
    """Return A to Z, then AA, AB ..."""
    letter = chr(ord("A") + at % 26)
    return letter if at < 26 else key_of(at // 26 - 1) + letter


def printable(text: str) -> str:
    """Return one line without control characters and without those that turn the direction of writing."""
    return "".join(one for one in " ".join(text.split()) if one.isprintable())
