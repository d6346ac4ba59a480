"""How long calls took: percentiles with their intervals, and the whole distribution."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .chart import Chart, Row, Table, color, dashes, drawable, layers, names_axis, names_legend, shapes, time_axis, who
from .naming import Named
from .theme import var
from .wording import Interval, between, ms

if TYPE_CHECKING:
    import altair as alt

MARKED = (1, 10, 25, 50, 75, 90, 99)  # percentiles with a point of their own on the curve
PERCENTILES = ("p50", "p90", "p99")


def percentiles(named: Sequence[Named]) -> Chart | None:
    """Return the chart of p50, p90 and p99; None where no call was timed."""
    rows = drawable(row for one in named for row in _percentile_rows(one))
    if not rows:
        return None
    fastest = min((row for row in rows if row["percentile"] == "p50"), key=lambda row: row["ms"])
    return Chart(
        "percentiles",
        "Latency of one call",
        f"{fastest['key']} has the lowest median, {ms(fastest['ms'])} ms.",
        "The line runs from the shortest call to the 99th percentile; a thick part is a percentile's 95 % interval.",
        lambda width: _draw_percentiles(named, rows, width),
        tuple(row["told"] for row in rows),
        _percentile_table(named),
    )


def distribution(named: Sequence[Named]) -> Chart | None:
    """Return the chart of how many calls had ended by when; None where no distribution was kept."""
    kept = [one for one in named if len(one.record.latency.quantiles_ms) == 101]
    curve = drawable(row for one in kept for row in _curve(one))
    if not curve:
        return None
    marked = [row for row in curve if row["percent"] in MARKED]
    spreads = [(one, one.record.latency.quantiles_ms[90] / max(one.record.latency.quantiles_ms[50], 1e-9)) for one in kept]
    steadiest = min(spreads, key=lambda pair: pair[1])
    return Chart(
        "distribution",
        "Distribution of the latency",
        f"{steadiest[0].key} is the steadiest: its 90th percentile is {steadiest[1]:.2f} times its median.",
        "Each curve says which share of the calls had ended after that time; a steep one is steady. Drawn to the 99th percentile.",
        lambda width: _draw_distribution(kept, curve, marked, width),
        tuple(row["told"] for row in marked),
        _curve_table(kept),
    )


def _percentile_rows(one: Named) -> list[Row]:
    latency = one.record.latency
    values: tuple[tuple[str, float, Interval | None], ...] = (
        ("p50", latency.p50_ms, latency.p50_interval_ms),
        ("p90", latency.p90_ms, latency.p90_interval_ms),
        ("p99", latency.p99_ms, latency.p99_interval_ms),
    )
    return [
        who(one)
        | {"percentile": name, "ms": value, "low": (ends or (value, value))[0], "high": (ends or (value, value))[1], "min": latency.min_ms}
        | {"told": f"{one.label}: {name} {ms(value)} ms" + (f" ({between(*map(ms, ends))})" if ends else "")}
        for name, value, ends in values
    ]


def _draw_percentiles(named: Sequence[Named], rows: list[Row], width: int) -> "alt.LayerChart":
    import altair as alt

    values = [row[name] for row in rows for name in ("min", "low", "high")]
    x, shortest, low = (time_axis(values, field, "latency of one call, ms") for field in ("ms", "min", "low"))
    y = names_axis(named, width)
    base = alt.Chart(alt.Data(values=rows))
    spans = alt.Chart(alt.Data(values=[row for row in rows if row["percentile"] == "p99"]))
    legend = alt.Legend(direction="horizontal", symbolFillColor=var("muted"), symbolStrokeColor=var("muted"))
    marks = alt.Shape(
        "percentile:N", title=None, scale=alt.Scale(domain=PERCENTILES, range=["circle", "square", "triangle-up"]), legend=legend
    )
    tint = color(named, legend=None)
    return layers(
        width,
        34 * len(named) + 10,
        spans.mark_rule(opacity=0.7, aria=False).encode(x=shortest, x2="ms:Q", y=y, color=tint),
        base.mark_rule(strokeWidth=7, opacity=0.35, aria=False).encode(x=low, x2="high:Q", y=y, color=tint),
        base.mark_point(size=80, filled=True, opacity=1).encode(x=x, y=y, color=tint, shape=marks, description="told:N"),
    )


def _percentile_table(named: Sequence[Named]) -> Table:
    columns = ("file", "p50, ms", "p90, ms", "p99, ms", "shortest, ms", "longest, ms", "calls", "warm-up calls")
    rows = tuple(
        (
            one.label,
            *(f"{ms(value)} ({between(*map(ms, ends))})" if ends else ms(value) for value, ends in _values(one)),
            ms(one.record.latency.min_ms),
            ms(one.record.latency.max_ms) if one.record.latency.max_ms else "",
            f"{one.record.latency.runs:,}",
            f"{one.record.latency.warmup_runs:,}" if one.record.latency.warmup_runs else "",
        )
        for one in named
    )
    return Table("Latency of one call, with 95 % intervals", columns, rows)


def _values(one: Named) -> tuple[tuple[float, Interval | None], ...]:
    latency = one.record.latency
    return (
        (latency.p50_ms, latency.p50_interval_ms),
        (latency.p90_ms, latency.p90_interval_ms),
        (latency.p99_ms, latency.p99_interval_ms),
    )


def _curve(one: Named) -> list[Row]:
    return [
        who(one) | {"percent": percent, "ms": value, "told": f"{one.label}: {percent} % of the calls ended within {ms(value)} ms"}
        for percent, value in enumerate(one.record.latency.quantiles_ms[:100])
    ]


def _draw_distribution(named: Sequence[Named], curve: list[Row], marked: list[Row], width: int) -> "alt.LayerChart":
    import altair as alt

    x = time_axis([row["ms"] for row in curve], "ms", "latency of one call, ms")
    y = alt.Y("percent:Q", title="share of the calls, %", scale=alt.Scale(domain=[0, 100]), axis=alt.Axis(tickCount=5))
    legend = names_legend(width)
    lines, points = (alt.Chart(alt.Data(values=rows)) for rows in (curve, marked))
    middles = alt.Chart(alt.Data(values=[row for row in marked if row["percent"] == 50]))
    return layers(
        width,
        300,
        lines.mark_line(strokeWidth=2, aria=False).encode(
            x=x, y=y, color=color(named, legend=legend), strokeDash=dashes(named, legend=None), order="percent:Q"
        ),
        points.mark_point(size=50, filled=True, opacity=1).encode(
            x=x, y=y, color=color(named, legend=legend), shape=shapes(named, legend=legend), description="told:N"
        ),
        middles.mark_text(dx=-12, dy=-6, fontWeight="bold", aria=False).encode(x=x, y=y, text="key:N"),
    )


def _curve_table(named: Sequence[Named]) -> Table:
    columns = ("file", *(f"{percent} %, ms" for percent in (*MARKED, 100)))
    rows = tuple((one.label, *(ms(one.record.latency.quantiles_ms[percent]) for percent in (*MARKED, 100))) for one in named)
    return Table("Time within which this share of the calls had ended", columns, rows)
