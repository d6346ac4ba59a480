"""Accuracy against latency as a picture."""

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
    latency = alt.X("p50_ms:Q", title="median latency at batch 1, ms (logarithmic)", scale=alt.Scale(type="log", padding=40, nice=False))
    base = alt.Chart(alt.Data(values=rows)).encode(x=latency)
    accuracy = alt.Scale(zero=False, padding=12)
    bars = base.mark_rule(color="#9aa5b1").encode(y=alt.Y("low:Q", title="top-1, % (95 % interval)", scale=accuracy), y2="high:Q")
    points = base.mark_point(size=90, filled=True, opacity=1).encode(
        y=alt.Y("top1:Q", scale=accuracy), color=alt.Color("model:N", sort=None, legend=None)
    )
    names = base.mark_text(align="left", dx=9, dy=-9, fontSize=12).encode(y=alt.Y("top1:Q", scale=accuracy), text="model:N")
    chart = (
        (bars + points + names).properties(title=title, width=640, height=360).configure_view(stroke=None).configure_axis(gridOpacity=0.5)
    )
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
