"""The pieces of the page: text that stays text, tables, charts, sections."""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .chart import Chart, Table
from .drawing import NARROW, WIDE, to_svg
from .naming import printable

_INTERVAL = re.compile(r"(\S.*?) (\(\S+ to \S+\))")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a heading; one without a body is left out."""

    id: str
    title: str
    body: str


def text(value: str) -> str:
    """Return text for the page: one printable line, nothing in it is markup, in quotes neither."""
    return html.escape(printable(value))


def table(one: Table, *, figures: bool = True) -> str:
    """Return a table that scrolls in its own frame, so that the page never does; the frame can be reached by keyboard.

    A column that no row fills is left out.

    Args:
        one: Its content.
        figures: Its cells are figures, to be set to the right.
    """
    kept = [at for at in range(len(one.columns)) if at == 0 or any(row[at] for row in one.rows)]
    head = "".join(f'<th scope="col">{text(one.columns[at])}</th>' for at in kept)
    rows = "".join(f"<tr>{_row(tuple(row[at] for at in kept))}</tr>" for row in one.rows)
    kind = "figures" if figures else "words"
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(one.caption)}"><table class="{kind}">'
        f"<caption>{text(one.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>\n"
    )


def figure(chart: Chart) -> str:
    """Return a chart, drawn for a desk and for a phone, with what it says and its figures as a table."""
    drawn = "".join(
        f'<div class="chart {size}" role="img" tabindex="0" aria-label="{text(chart.label)}" aria-describedby="walk">{to_svg(chart, width)}</div>\n'
        for size, width in (("wide", WIDE), ("narrow", NARROW))
    )
    return (
        f'<figure id="{chart.name}"><h3>{text(chart.title)}</h3>\n<p class="finding">{text(chart.finding)}</p>\n{drawn}'
        f"<figcaption>{text(chart.reading)}</figcaption>\n"
        f"<details><summary>{text(chart.title)}: the figures</summary>{table(chart.table)}</details></figure>\n"
    )


def section(one: Section) -> str:
    """Return a section as a landmark of its own."""
    return f'<section id="{one.id}" aria-labelledby="{one.id}-title"><h2 id="{one.id}-title">{text(one.title)}</h2>\n{one.body}</section>\n'


def links(sections: Iterable[Section]) -> str:
    """Return the page's table of contents."""
    items = "".join(f'<li><a href="#{one.id}">{text(one.title)}</a></li>' for one in sections)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>\n'


def card(title: str, facts: Iterable[tuple[str, str]]) -> str:
    """Return a card of facts."""
    items = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts if value)
    return f'<div class="card"><h3>{text(title)}</h3><dl>{items}</dl></div>\n'


def _row(cells: tuple[str, ...]) -> str:
    return f'<th scope="row">{text(cells[0])}</th>' + "".join(f"<td>{_cell(cell)}</td>" for cell in cells[1:])


def _cell(words: str) -> str:
    """Return a cell; an interval behind a figure gets a line of its own."""
    found = _INTERVAL.fullmatch(words)
    return f'{text(found[1])} <span class="ends">{text(found[2])}</span>' if found else text(words)
