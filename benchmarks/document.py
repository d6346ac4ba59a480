"""Everything that one `edgerec bench` found, in one JSON document: what `--json` prints, `--baseline` reads and every report shows."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from ..runtime.errors import DataError
from .json_form import read_as
from .records import Record

DOCUMENT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Failed:
    """A configuration that gave no figures.

    Attributes:
        file: The file's name, without its folder.
        provider: Execution provider.
        threads: Threads of one call; None where they were not chosen.
        error: Why, in one line.
        target: The machine, as `Record.target`.
    """

    file: str
    provider: str
    threads: int | None
    error: str
    target: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A whole run.

    Attributes:
        records: One for each configuration that was measured; the first is the reference.
        failures: The others.
        command: What was typed, to do it again; folders are left out of its paths.
        created: Date and time in UTC, ISO 8601, to the second.
        partial: It was interrupted; what is here is complete.
        labels: Class names of the data.
    """

    records: tuple[Record, ...]
    failures: tuple[Failed, ...] = ()
    command: str = ""
    created: str = ""
    partial: bool = False
    labels: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the one JSON form, with sorted keys."""
        return json.dumps({"document_version": DOCUMENT_VERSION, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Document":
        """Read a document back.

        Raises:
            DataError: The text is none, or one of a newer edgerec.
        """
        try:
            raw = cast("dict[str, object]", json.loads(text))
            version = raw.pop("document_version")
            if version != DOCUMENT_VERSION:
                raise DataError("the benchmark has a form that this version cannot read", f"version {version}", "update edgerec")
            return read_as(cls, raw)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DataError("this is no benchmark", f"{text[:80]!r} ({error})", "give what `edgerec bench --json` wrote") from error


def read_document(path: Path) -> Document:
    """Read what an earlier `edgerec bench --json` wrote into a file.

    Raises:
        DataError: The file is missing, unreadable, no benchmark, or one of a newer edgerec.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise DataError("the benchmark cannot be read", f"{path} ({why})", "give what `edgerec bench --json` wrote") from error
    try:
        return Document.from_json(text)
    except DataError as error:
        raise DataError(error.problem, f"{path}: {error.given}", error.fix) from error
