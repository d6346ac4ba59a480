"""Accuracy against latency as a picture."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..runtime.errors import DataError
from ..runtime.files import replacing
from .records import Record

DRAWN_POINTS = 10.0  # of top-1 below the best


@dataclass(frozen=True, slots=True)
class _Point:
    model: str
    p50_ms: float
    top1: float
    low: float
    high: float


def plot_tradeoff(records: Sequence[Record], path: Path, title: str) -> None:
    """Draw one point a record, with the interval of its accuracy, and write it as PNG.

    A record far below the best would press all others into one line: it is named under the title instead of drawn.

    Raises:
        DataError: A record has no accuracy.
        OutputError: The picture cannot be written.
    """
    import altair as alt

    rows = [_row(record) for record in records]
    best = max(row.top1 for row in rows)
    drawn, below = ([row for row in rows if (best - row.top1 <= DRAWN_POINTS) is near] for near in (True, False))
    named = ", ".join(f"{row.model} {row.top1:.2f} % in {row.p50_ms:.3f} ms" for row in below)
    heading = alt.TitleParams(title, subtitle=f"below the plot: {named}" if below else "")
    latency = alt.X("p50_ms:Q", title="median latency of one image, ms (logarithmic)", scale=alt.Scale(type="log", padding=24, nice=False))
    # Names in a legend, in the order of the records: beside the points they would cover each other.
    legend = alt.Legend(symbolSize=120, labelLimit=400)
    model = alt.Color("model:N", sort=None, title=None, legend=legend)
    shape = alt.Shape("model:N", sort=None, title=None, legend=legend)
    scale = alt.Scale(domain=[math.floor(min(row.low for row in drawn)), 100], nice=False)
    base = alt.Chart(alt.Data(values=[asdict(row) for row in drawn])).encode(x=latency)
    bars = base.mark_rule(strokeWidth=2, color="#9aa5b1").encode(
        y=alt.Y("low:Q", title="top-1, % (with its 95 % interval)", scale=scale), y2="high:Q"
    )
    points = base.mark_point(size=110, filled=True, opacity=1).encode(y=alt.Y("top1:Q", scale=scale), color=model, shape=shape)
    chart = (bars + points).properties(title=heading, width=560, height=340).configure_view(stroke=None).configure_axis(gridOpacity=0.5)
    with replacing(path) as temporary:
        chart.save(str(temporary), format="png", scale_factor=2)


def _row(record: Record) -> _Point:
    if record.accuracy is None:
        raise DataError("a plot of accuracy needs labelled images", record.file, "give a data set with labels")
    accuracy = record.accuracy
    name = f"{Path(record.file).stem} ({record.provider})"
    return _Point(name, record.latency.p50_ms, 100 * accuracy.top1, 100 * accuracy.low, 100 * accuracy.high)
