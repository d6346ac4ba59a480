"""Accuracy against latency, and which files no other beats."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .chart import Chart, Row, Table, color, drawable, layers, names_legend, shapes, time_axis, who
from .naming import Named
from .theme import var
from .wording import between, ms, percent

if TYPE_CHECKING:
    import altair as alt

DRAWN_POINTS = 10.0  # of top-1 below the best: one file further down would press all others into one line


def tradeoff(named: Sequence[Named]) -> Chart | None:
    """Return the chart of top-1 against median latency; None where nothing was scored."""
    rows = drawable(row for one in named if (row := _row(one)))
    if not rows:
        return None
    best = max(row["top1"] for row in rows)
    drawn, below = ([row for row in rows if (best - row["top1"] <= DRAWN_POINTS) is near] for near in (True, False))
    front = front_of(rows)
    beaten = [row["key"] for row in rows if row not in front]
    finding = f"On the front, from fast to slow: {', '.join(row['key'] for row in front)}."
    finding += f" Slower or less accurate than another: {', '.join(beaten)}." if beaten else ""
    finding += "".join(f" {row['key']} lies below the picture, at {row['top1']:.2f} %." for row in below)
    return Chart(
        "tradeoff",
        "Accuracy against latency",
        finding,
        "Up and to the left is better. Bars are 95 % intervals. The dashed line joins the files that no other beats in both.",
        lambda width: _draw([one for one in named if one.label in {row["label"] for row in drawn}], drawn, front, width),
        tuple(row["told"] for row in rows),
        _table(rows),
    )


def front_of(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that no other beats in latency and accuracy, the fastest first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (row["p50_ms"], -row["top1"])):
        if not front or row["top1"] > front[-1]["top1"]:
            front.append(row)
    return front


def _row(one: Named) -> Row | None:
    accuracy, latency = one.record.accuracy, one.record.latency
    if accuracy is None or latency.p50_ms <= 0:
        return None
    fast, slow = latency.p50_interval_ms or (latency.p50_ms, latency.p50_ms)
    interval = between(f"{100 * accuracy.low:.2f}", percent(accuracy.high))
    return who(one) | {
        "p50_ms": latency.p50_ms,
        "fast_ms": fast,
        "slow_ms": slow,
        "top1": 100 * accuracy.top1,
        "low": 100 * accuracy.low,
        "high": 100 * accuracy.high,
        "told": f"{one.label}: {percent(accuracy.top1)} top-1 ({interval}) in {ms(latency.p50_ms)} ms",
    }


def _draw(named: Sequence[Named], rows: list[Row], front: list[Row], width: int) -> "alt.LayerChart":
    import altair as alt

    ends = [row[name] for row in rows for name in ("fast_ms", "slow_ms")]
    x, fast = (time_axis(ends, field, "median latency of one image, ms") for field in ("p50_ms", "fast_ms"))
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    scale = alt.Scale(domain=[max(low - 0.15, 0), min(high + 0.15, 100)], nice=False, zero=False)
    y, bottom = (alt.Y(f"{field}:Q", title="top-1, %", scale=scale, axis=alt.Axis(tickCount=6)) for field in ("top1", "low"))
    base = alt.Chart(alt.Data(values=rows))
    legend = names_legend(width)
    kept = [row for row in front if row in rows]
    line = alt.Chart(alt.Data(values=kept)).mark_line(interpolate="step-after", strokeDash=[5, 4], color=var("muted"), aria=False)
    bars = base.mark_rule(strokeWidth=2, opacity=0.6, aria=False)
    tint = color(named, legend=legend)
    points = base.mark_point(size=130, filled=True, opacity=1)
    return layers(
        width,
        340 if width >= 600 else 300,
        line.encode(x=x, y=y),
        bars.encode(x=x, y=bottom, y2="high:Q", color=tint),
        bars.encode(x=fast, x2="slow_ms:Q", y=y, color=tint),
        points.encode(x=x, y=y, color=tint, shape=shapes(named, legend=legend), description="told:N"),
        base.mark_text(dx=11, dy=-11, fontWeight="bold", aria=False).encode(x=x, y=y, text="key:N"),
    )


def _table(rows: Sequence[Row]) -> Table:
    columns = ("file", "top-1, %", "95 % interval", "p50, ms", "95 % interval, ms")
    cells = tuple(
        (
            row["label"],
            f"{row['top1']:.2f}",
            between(f"{row['low']:.2f}", f"{row['high']:.2f}"),
            ms(row["p50_ms"]),
            between(ms(row["fast_ms"]), ms(row["slow_ms"])) if row["fast_ms"] < row["slow_ms"] else "not measured",
        )
        for row in rows
    )
    return Table("Accuracy and median latency", columns, cells)
