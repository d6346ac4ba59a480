"""Accuracy against latency as a picture."""

import math
from collections.abc import Sequence
from pathlib import Path

from ..runtime.errors import DataError
from ..runtime.files import replacing
from .records import Record


def plot_tradeoff(records: Sequence[Record], path: Path, title: str) -> None:
    """Draw one point a record, with the interval of its accuracy, and write it as PNG.

    Raises:
        DataError: A record has no accuracy.
        OutputError: The picture cannot be written.
    """
    import altair as alt

    rows = [_row(record) for record in records]
    latency = alt.X("p50_ms:Q", title="median latency of one image, ms (logarithmic)", scale=alt.Scale(type="log", padding=24, nice=False))
    # Names in a legend, in the order of the records: beside the points they would cover each other.
    legend = alt.Legend(symbolSize=120, labelLimit=400)
    model = alt.Color("model:N", sort=None, title=None, legend=legend)
    shape = alt.Shape("model:N", sort=None, title=None, legend=legend)
    lowest = min(record.accuracy.low for record in records if record.accuracy)
    scale = alt.Scale(domain=[math.floor(100 * lowest), 100], nice=False)
    base = alt.Chart(alt.Data(values=rows)).encode(x=latency)
    bars = base.mark_rule(strokeWidth=2, color="#9aa5b1").encode(
        y=alt.Y("low:Q", title="top-1, % (with its 95 % interval)", scale=scale), y2="high:Q"
    )
    points = base.mark_point(size=110, filled=True, opacity=1).encode(y=alt.Y("top1:Q", scale=scale), color=model, shape=shape)
    chart = (bars + points).properties(title=title, width=560, height=340).configure_view(stroke=None).configure_axis(gridOpacity=0.5)
    with replacing(path) as temporary:
        chart.save(str(temporary), format="png", scale_factor=2)


def _row(record: Record) -> dict[str, object]:
    if record.accuracy is None:
        raise DataError("a plot of accuracy needs labelled images", record.file, "give a data set with labels")
    name = f"{Path(record.file).stem} ({record.provider})"
    accuracy = record.accuracy
    return {
        "model": name,
        "p50_ms": record.latency.p50_ms,
        "top1": 100 * accuracy.top1,
        "low": 100 * accuracy.low,
        "high": 100 * accuracy.high,
    }
