"""The page: one HTML file that opens anywhere, with nothing to fetch.

Charts are drawn when the page is made, as SVG whose colours follow the reader's light or dark setting; a small script shows a mark's figures
when it is pointed at or reached by the arrow keys. Without the script all figures still stand in the tables.
"""

import base64
import hashlib
from importlib import resources
from pathlib import Path

from ...runtime.files import check_writable, write_text
from ..document import Document
from ..history import History
from . import tables
from .charts import charts_of
from .drawing import check_tools
from .findings import headline, headline_of_history, sentences
from .gallery import gallery
from .naming import Named, name_records
from .over_time import over_time
from .parts import Section, figure, links, section, text
from .theme import DARK, LIGHT

# What stands together, in the order of the page: the section and the charts in it.
_CHARTS = {
    "tradeoff": ("tradeoff",),
    "latency": ("percentiles", "distribution"),
    "time": ("stages", "operators", "start"),
    "roof": ("roofline",),
    "memory": ("memory",),
    "accuracy": ("classes", "corruptions"),
}


def write_html(document: Document, path: Path, history: History | None = None) -> None:
    """Write the page.

    Args:
        document: What was measured; one without records makes a page of the history alone.
        path: Where to.
        history: Earlier runs, shown over time.

    Raises:
        ConfigError: altair or vl-convert is not installed.
        OutputError: The file cannot be written.
    """
    check_writable(path)
    write_text(path, to_html(document, history))


def to_html(document: Document, history: History | None = None) -> str:
    """Return the page. The same document and history give the same text.

    Raises:
        ConfigError: altair or vl-convert is not installed.
    """
    check_tools()
    sections = [one for one in _sections(document, history) if one.body]
    told = headline(document) if document.records or not history else headline_of_history(history)
    main = "".join(section(one) for one in sections)
    return (
        f"<!DOCTYPE html>\n{_head()}<body>\n"
        f'<a class="skip" href="#main">Skip to the results</a>\n<header><h1>Benchmark</h1><p>{text(told)}</p>\n'
        f'{_warnings(document)}</header>\n{links(sections)}<main id="main">\n{main}</main>\n{_foot()}</body></html>\n'
    )


def _sections(document: Document, history: History | None) -> list[Section]:
    named = name_records(document.records)
    charts = charts_of(named, document.labels)
    drawn = {name: "".join(figure(charts[one]) for one in group if one in charts) for name, group in _CHARTS.items()}
    flips = gallery(named, document.labels)
    return [
        Section("results", "Results", _summary(named)),
        Section("front", "The choice", drawn["tradeoff"]),
        Section("latency", "Latency", drawn["latency"] + tables.scenarios(named)),
        Section("time", "Where the time goes", drawn["time"]),
        Section("roof", "Roofline", drawn["roof"]),
        Section("space", "Memory", drawn["memory"]),
        Section("losses", "Accuracy", (tables.comparison(named) + drawn["accuracy"]) if named else ""),
        Section("flipped", "Images that flipped", flips),
        Section("history", "Over time", "".join(figure(chart) for chart in over_time(history).values()) if history else ""),
        Section("failures", "Failures", tables.failures(document.failures)),
        Section("conditions", "Conditions", tables.conditions(named)),
        Section("machine", "Machine", tables.machines(named)),
        Section("again", "To do it again", _again(document, named)),
    ]


def _summary(named: tuple[Named, ...]) -> str:
    if not named:
        return ""
    items = "".join(f"<li>{text(one)}</li>" for one in sentences(named))
    return f"<ul>{items}</ul>\n{tables.results(named)}"


def _warnings(document: Document) -> str:
    """Return what a reader must know first; each begins with a word, so that it does not depend on its colour."""
    told: list[str] = []
    if document.partial:
        told.append("Interrupted: what stands here is complete, the rest was not measured.")
    told += [
        f"Disturbed: while {one.key} was measured, {'; '.join(one.record.watch.disturbances)}. Its figures are marked."
        for one in name_records(document.records)
        if one.record.watch and one.record.watch.disturbances
    ]
    if document.failures:
        told.append(f"Failed: {', '.join(f'{one.file} on {one.provider}' for one in document.failures)}.")
    return f'<ul class="warnings">{"".join(f"<li>{text(one)}</li>" for one in told)}</ul>\n' if told else ""


def _again(document: Document, named: tuple[Named, ...]) -> str:
    command = f'<pre tabindex="0" aria-label="The command"><code>{text(document.command)}</code></pre>\n' if document.command else ""
    return command + (tables.files(named) if named else "")


def _head() -> str:
    script = hashlib.sha256(_part("page.js").encode()).digest()
    # No source but the page itself: were some name in it taken for markup, it could neither run nor load anything.
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{base64.b64encode(script).decode()}'; base-uri 'none'; form-action 'none'"
    )
    return (
        f'<html lang="en"><head><meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        f'<link rel="icon" href="data:,">\n<title>edgerec benchmark</title>\n<style>\n{_style()}</style></head>\n'
    )


def _style() -> str:
    light, dark = ("".join(f"--{name}:{value};" for name, value in one.items()) for one in (LIGHT, DARK))
    colors = f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    return colors + _part("page.css")


def _foot() -> str:
    return (
        "<footer><p>Intervals are 95 %. MB are 10^6 bytes. Made by edgerec.</p></footer>\n"
        '<p id="walk" hidden>The left and right arrow keys walk through the marks; Escape ends.</p>\n'
        '<div id="tip" hidden></div><div id="said" role="status" class="unseen"></div>\n'
        f"<script>{_part('page.js')}</script>\n"
    )


def _part(name: str) -> str:
    return resources.files("edgerec.benchmarks.report").joinpath(name).read_text(encoding="utf-8")
