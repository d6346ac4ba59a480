"""What a chart is: one specification for the page and for pictures, and its figures in words and as a table."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .naming import Named
from .theme import dash, series, shape

if TYPE_CHECKING:
    import altair as alt

    Drawing = alt.Chart | alt.LayerChart | alt.ConcatChart

Row = dict[str, Any]
TOLD = 12  # points that a chart's label names one by one; the table below it has all


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and rows; the first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        name: Of its file, and its place in the page.
        title: What it shows.
        finding: What it says, in a sentence with figures.
        reading: How to read it.
        draw: From the width in pixels to its specification.
        told: Each of its marks in words: what hovering shows and a screen reader says.
        table: Its figures.
    """

    name: str
    title: str
    finding: str
    reading: str
    draw: "Callable[[int], Drawing]"
    told: tuple[str, ...]
    table: Table

    @property
    def label(self) -> str:
        """What the chart says to who does not see it, figures included."""
        rest = len(self.told) - TOLD
        more = f"; and {rest} more in the table below" if rest > 0 else ""
        return f"{self.title}. {self.finding} {'; '.join(self.told[:TOLD])}{more}."


def drawable(rows: Iterable[Row]) -> list[Row]:
    """Return the rows whose numbers are all finite: a scale cannot hold others."""
    return [row for row in rows if all(math.isfinite(value) for value in row.values() if isinstance(value, float))]


def who(named: Named) -> Row:
    """Return the fields by which a row of data says which record it belongs to."""
    return {"key": named.key, "label": named.label}


def color(named: Sequence[Named], *, legend: "alt.Legend | None") -> "alt.Color":
    """Return the colour of each record, always the same in every chart."""
    import altair as alt

    scale = alt.Scale(domain=[one.label for one in named], range=[series(one.at) for one in named])
    return alt.Color("label:N", title=None, scale=scale, legend=legend)


def shapes(named: Sequence[Named], *, legend: "alt.Legend | None") -> "alt.Shape":
    """Return the shape of each record's points."""
    import altair as alt

    scale = alt.Scale(domain=[one.label for one in named], range=[shape(one.at) for one in named])
    return alt.Shape("label:N", title=None, scale=scale, legend=legend)


def dashes(named: Sequence[Named], *, legend: "alt.Legend | None") -> "alt.StrokeDash":
    """Return the dashes of each record's lines."""
    import altair as alt

    scale = alt.Scale(domain=[one.label for one in named], range=[dash(one.at) for one in named])
    return alt.StrokeDash("label:N", title=None, scale=scale, legend=legend)


def names_legend(width: int) -> "alt.Legend":
    """Return the legend of record names: below the chart, two columns where they fit."""
    import altair as alt

    columns = 2 if width >= 600 else 1
    return alt.Legend(columns=columns, columnPadding=50, labelLimit=width // columns - 80)


def names_axis(named: Sequence[Named], width: int) -> "alt.Y":
    """Return a vertical axis of record names, in the document's order."""
    return words_axis("label", [one.label for one in named], width)


def words_axis(field: str, words: Sequence[str], width: int) -> "alt.Y":
    """Return a vertical axis of words in their order.

    The page may find no other font than DejaVu Sans, which is a sixth wider than the Arial that the drawing is measured with.
    """
    import altair as alt

    limit = int(width * (0.3 if width >= 600 else 0.36))
    extent = min(7.4 * max(map(len, words)), 1.17 * limit) + 6  # 12 px DejaVu Sans: 7.4 px a letter
    axis = alt.Axis(labelLimit=limit, minExtent=extent, ticks=False, domain=False)
    return alt.Y(f"{field}:N", title=None, sort=list(words), axis=axis)


def time_axis(values: Sequence[float], field: str, title: str) -> "alt.X":
    """Return a horizontal axis of times: logarithmic where they differ by three times or more, and never down to zero."""
    import altair as alt

    low, high = min(values), max(values)
    wide = low > 0 and high / low >= 3
    margin = max((high - low) * 0.06, high * 0.02)
    domain = [low / 1.15, high * 1.15] if wide else [max(low - margin, 0), high + margin]
    scale = alt.Scale(type="log" if wide else "linear", domain=domain, nice=False)
    return alt.X(f"{field}:Q", title=f"{title}, logarithmic" if wide else title, scale=scale, axis=alt.Axis(tickCount=6, format="~g"))


def layers(width: int, height: int, *parts: "alt.Chart") -> "alt.LayerChart":
    """Put marks over each other in a picture of `width` pixels, axes and legend included."""
    import altair as alt

    fit = alt.AutoSizeParams(type="fit-x", contains="padding")
    return alt.LayerChart(layer=list(parts), width=width, height=height, autosize=fit)
