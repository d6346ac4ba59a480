"""A file's results over time: one chart of its median latency, one of its top-1."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ..history import History, Point, Series, series_of
from .chart import Chart, Row, Table, drawable, layers
from .naming import Named, name_series
from .theme import series as tint_of
from .theme import var
from .wording import between, count, ms, percent

if TYPE_CHECKING:
    import altair as alt

    from ..change import Change

DRAWN = 60  # runs of one file: more would stand less than a finger apart on a phone

Figure = tuple[float, float, float]  # value, and the ends of its interval


def over_time(history: History) -> dict[str, Chart]:
    """Return by name the charts of every file; one without two dated runs has none."""
    series = series_of(history)
    drawn = [chart for named, one in zip(name_series(series), series, strict=True) for chart in (_latency(named, one), _top1(named, one))]
    return {chart.name: chart for chart in drawn if chart}


def _latency(named: Named, one: Series) -> Chart | None:
    def figure(point: Point) -> Figure:
        latency = point.record.latency
        return (latency.p50_ms, *(latency.p50_interval_ms or (latency.p50_ms, latency.p50_ms)))

    def told(point: Point) -> str:
        value, low, high = figure(point)
        return f"{ms(value)} ms" + (f" ({between(ms(low), ms(high))})" if low < high else "") + _against(point.p50, 0.01, " %", 1)

    day = " Those of latency are ratios to the first file where both runs began with the same one."
    return _chart(named, one, "p50", "median latency", "median latency of one call, ms", figure, told, day)


def _top1(named: Named, one: Series) -> Chart | None:
    def figure(point: Point) -> Figure | None:
        found = point.record.accuracy
        return (100 * found.top1, 100 * found.low, 100 * found.high) if found else None

    def told(point: Point) -> str:
        found = point.record.accuracy
        assert found is not None, "only points with a figure are told"
        return f"{percent(found.top1)} ({between(f'{100 * found.low:.2f}', percent(found.high))})" + _against(point.top1, 1.0, " points", 2)

    return _chart(named, one, "top1", "top-1", "top-1, %", figure, told)


def _against(change: "Change | None", unit: float, sign: str, digits: int) -> str:
    """Return a change in words; its interval where it has one."""
    if change is None:
        return ""
    ends = between(*(f"{end / unit:+.{digits}f}" for end in (change.low, change.high)))
    return f", {change.value / unit:+.{digits}f}{sign} against the run before" + (f" ({ends})" if change.low == change.low else "")


def _chart(
    named: Named,
    one: Series,
    name: str,
    what: str,
    axis: str,
    figure: Callable[[Point], Figure | None],
    told: Callable[[Point], str],
    note: str = "",
) -> Chart | None:
    dated = [(point, point.run.when, found) for point in one.points if point.run.when and (found := figure(point))]
    rows = drawable(_row(named, point, when, found, told(point)) for point, when, found in dated[-DRAWN:])
    if len(rows) < 2:
        return None
    shown = f", the last {DRAWN} drawn" if len(dated) > DRAWN else ""
    return Chart(
        f"history-{named.key.lower()}-{name}",
        f"{named.label}: {what} over time",
        f"{count(len(dated), 'run')} since {dated[0][1]:%Y-%m-%d}{shown}; the last: {told(dated[-1][0])}.",
        "Bars are 95 % intervals. Changes are against the run before on the same machine; hollow points were measured on another." + note,
        lambda width: _draw(rows, axis, tint_of(named.at), width),
        tuple(row["told"] for row in rows),
        _table(one, f"{named.label}: {what} over time", figure, told),
    )


def _row(named: Named, point: Point, when: datetime, figure: Figure, told: str) -> Row:
    notes = [f"another machine: {point.record.machine.cpu}"] if point.elsewhere else []
    return {
        "when": f"{when:%Y-%m-%dT%H:%M:%SZ}",
        "value": figure[0],
        "low": figure[1],
        "high": figure[2],
        "elsewhere": point.elsewhere,
        "told": "; ".join((f"{named.key}, {when:%Y-%m-%d %H:%M} UTC: {told}", *notes, *point.remarks)),
    }


def _draw(rows: list[Row], axis: str, tint: str, width: int) -> "alt.LayerChart":
    import altair as alt

    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    margin = max((high - low) * 0.06, high * 0.002)
    scale = alt.Scale(domain=[max(low - margin, 0), high + margin], nice=False, zero=False)
    y, bottom = (alt.Y(f"{field}:Q", title=axis, scale=scale, axis=alt.Axis(tickCount=5)) for field in ("value", "low"))
    axis_of_time = alt.Axis(tickCount=8 if width >= 600 else 4, labelOverlap=True, format=_clock(rows) or alt.Undefined)
    x = alt.X("when:T", title=None, scale=alt.Scale(type="utc", padding=10), axis=axis_of_time)
    here, there = ([row for row in rows if row["elsewhere"] is other] for other in (False, True))
    base, own, others = (alt.Chart(alt.Data(values=values)) for values in (rows, here, there))
    parts = [
        own.mark_line(strokeWidth=2, color=tint, aria=False).encode(x=x, y=y),
        base.mark_rule(strokeWidth=2, opacity=0.5, color=tint, aria=False).encode(x=x, y=bottom, y2="high:Q"),
        own.mark_point(size=60, filled=True, opacity=1, color=tint).encode(x=x, y=y, description="told:N"),
    ]
    if there:
        parts.append(others.mark_point(size=60, fill=var("ground"), stroke=tint, opacity=1).encode(x=x, y=y, description="told:N"))
    return layers(width, 200, *parts)


def _clock(rows: Sequence[Row]) -> str:
    """Return how times are written within a day, where vega's own form says `:10` for a second; empty leaves it to vega."""
    first, last = (datetime.fromisoformat(row["when"]) for row in (rows[0], rows[-1]))
    hours = (last - first).total_seconds() / 3600
    return "%H:%M:%S" if hours < 1 else "%H:%M" if hours < 24 else ""


def _table(one: Series, caption: str, figure: Callable[[Point], Figure | None], told: Callable[[Point], str]) -> Table:
    columns = ("UTC", "result (95 % interval) and change", "SHA-256", "edgerec", "onnxruntime", "remarks")
    return Table(caption, columns, tuple(_cells(point, told(point)) for point in one.points if figure(point)))


def _cells(point: Point, told: str) -> tuple[str, ...]:
    record = point.record
    runtime: Sequence[str] = [version for name, version in sorted(record.versions.items()) if name.startswith("onnxruntime")]
    elsewhere = [f"another machine: {record.machine.cpu}"] if point.elsewhere else []
    return (
        f"{point.run.when:%Y-%m-%d %H:%M}" if point.run.when else "no date",
        told,
        record.sha256[:12],
        record.versions.get("edgerec", ""),
        ", ".join(runtime),
        "; ".join((*elsewhere, *point.remarks)),
    )
