"""The files that `edgerec bench` writes beside its table."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..benchmarks.document import Document
    from ..benchmarks.history import History


@dataclass(frozen=True, slots=True)
class Reports:
    """Where to write what; None leaves a form out.

    Attributes:
        html: The page.
        png: Folder of the charts.
        csv: The rows as CSV.
        markdown: The rows as Markdown.
    """

    html: Path | None = None
    png: Path | None = None
    csv: Path | None = None
    markdown: Path | None = None

    def check(self) -> None:
        """Refuse what cannot be written, before minutes of measuring.

        Raises:
            EdgerecError: A file cannot be written, or the tools for charts are not installed.
        """
        from ..runtime.files import check_writable

        for path in (self.html, self.csv, self.markdown):
            if path is not None:
                check_writable(path)
        if self.has_charts:
            from ..benchmarks.report.drawing import check_tools

            check_tools()

    @property
    def has_charts(self) -> bool:
        """Whether there is something to draw."""
        return self.html is not None or self.png is not None

    def finish(self, document: "Document", labels: Sequence[str]) -> "Document":
        """Return the document with what was typed, when, and what the classes are called."""
        return replace(document, command=_typed(), created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), labels=tuple(labels))

    def write(self, document: "Document", history: "History | None" = None) -> None:
        """Write every form that was asked for.

        Args:
            document: What was measured.
            history: Earlier runs, for the page and the charts.

        Raises:
            EdgerecError: A file cannot be written.
        """
        from ..benchmarks.report import to_csv, to_markdown, write_charts, write_html
        from ..runtime.files import write_text

        if self.html is not None:
            write_html(document, self.html, history)
        if self.png is not None:
            write_charts(document, self.png, history)
        if self.csv is not None:
            write_text(self.csv, to_csv(document))
        if self.markdown is not None:
            write_text(self.markdown, to_markdown(document))


def _typed() -> str:
    """Return the command without the folders of its paths: a report travels."""
    arguments = [_without_folders(one) for one in sys.argv[1:]]
    return shlex.join(["edgerec", *arguments])


def _without_folders(argument: str) -> str:
    name, sign, value = argument.partition("=")
    if sign and not name.startswith("/"):
        return f"{name}={Path(value).name if '/' in value else value}"
    return Path(argument).name if "/" in argument and "://" not in argument else argument
