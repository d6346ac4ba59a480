"""A benchmark as CSV and as markdown. Both come from the standard library alone."""

import csv
import io
import re
from collections.abc import Sequence

from ..document import Document, Failed
from ..records import Record
from .columns import EXACT, FAILURE_COLUMNS, failure_rows, readable_rows
from .wording import count

# A spreadsheet runs a cell that begins like this as a formula (OWASP, "CSV injection"); a file's name may.
_FORMULA = re.compile(r"^[=+\-@\t\r]")
_MARKUP = re.compile(r"([\\`*\[\]|~#$])|(?<!\w)(_)|(_)(?!\w)")


def to_csv(document: Document) -> str:
    """Return one row a record, then one a failure; the headings hold the units, the figures are exact.

    The headings are the same for every document. A failure has its `error` and no figures.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column.name for column in EXACT)
    writer.writerows([_cell(value) for value in _values(record)] for record in document.records)
    writer.writerows([_cell(value) for value in _failed(failure)] for failure in document.failures)
    return text.getvalue()


def to_markdown(document: Document) -> str:
    """Return a table with one row a record; failures, the machines and the command stand below it."""
    parts: list[str] = []
    if document.partial:
        parts.append("**Interrupted:** what stands here is complete, the rest was not measured.")
    if document.records:
        columns, rows = readable_rows(document.records)
        parts.append(_table(columns, rows, "---:"))
    if document.failures:
        parts.append("Without figures:")
        parts.append(_table(FAILURE_COLUMNS, failure_rows(document.failures), "---"))
    parts += [f"Measured on {_escaped(line)}." for line in machine_lines(document.records)]
    if document.command or document.created:
        parts.append("  \n".join(filter(None, (_code(document.command), _escaped(document.created)))))
    return "\n\n".join(parts) + "\n"


def machine_lines(records: Sequence[Record]) -> tuple[str, ...]:
    """Return one line for each machine and set of versions, in the order of the records."""
    return tuple(dict.fromkeys(_machine_line(record) for record in records))


def _machine_line(record: Record) -> str:
    machine = record.machine
    told = [f"{record.target}: {machine.cpu}" if record.target else machine.cpu, count(machine.cores, "core")]
    told += [" ".join(machine.instructions)] if machine.instructions else []
    told += [machine.os, f"Python {machine.python}", *(f"{name} {version}" for name, version in sorted(record.versions.items()))]
    return ", ".join(told)


def _values(record: Record) -> list[object]:
    return [column.value(record) for column in EXACT]


def _failed(failure: Failed) -> list[object]:
    known = {
        "file": failure.file,
        "provider": failure.provider,
        "threads": failure.threads,
        "target": failure.target,
        "error": failure.error,
    }
    return [known.get(column.name) for column in EXACT]


def _cell(value: object) -> object:
    if isinstance(value, str) and _FORMULA.match(value):
        return "'" + value
    return "" if value is None else repr(value) if isinstance(value, float) else value


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], rule: str) -> str:
    """Return a table; `rule` aligns every column but the first."""
    lines = [columns, ["---"] + [rule] * (len(columns) - 1), *([_escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(text: str) -> str:
    """Return text that markdown shows as it is; an underscore inside a word needs nothing."""
    entities = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(lambda found: "\\" + found[0], entities)


def _code(text: str) -> str:
    """Return a code span that may hold backticks."""
    if not text:
        return ""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence, pad = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{pad}{' '.join(text.split())}{pad}{fence}"
