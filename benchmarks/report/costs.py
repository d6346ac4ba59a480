"""Where time and memory go: the stages of a prediction, the start of a process, its memory."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .chart import Chart, Row, Table, color, drawable, layers, names_axis, who
from .naming import Named
from .theme import var
from .wording import between, megabytes, ms, significant

if TYPE_CHECKING:
    import altair as alt

BAR = 30  # pixels a record


def stages(named: Sequence[Named]) -> Chart | None:
    """Return the chart of the parts of one prediction; None where they were not split."""
    rows = drawable(row for one in named for row in _parts(one, _stages_of(one)))
    return _stacked(named, rows, "stages", "From an image file to labels", "time of one prediction, ms")


def start(named: Sequence[Named]) -> Chart | None:
    """Return the chart of the time from the start of a process to its first result; None where it was not measured."""
    rows = drawable(row for one in named for row in _parts(one, _start_of(one)))
    return _stacked(named, rows, "start", "From the start of the process to its first result", "time, ms")


def memory(named: Sequence[Named]) -> Chart | None:
    """Return the chart of resident memory; None where it was not measured."""
    kept = [one for one in named if one.record.resources]
    rows = [_memory_row(one) for one in kept]
    if not rows:
        return None
    least = min(rows, key=lambda row: row["peak"])
    return Chart(
        "memory",
        "Memory of the process",
        f"{least['key']} needs the least: {least['peak']:.1f} MB at its peak.",
        "The solid bar is what was resident after the last run, the pale one reaches to the peak. MB are 10^6 bytes.",
        lambda width: _draw_memory(kept, rows, width),
        tuple(row["told"] for row in rows),
        _memory_table(kept),
    )


def _stages_of(one: Named) -> dict[str, float]:
    split = one.record.stages
    if split is None:
        return {}
    return {
        "decode": split.decode_ms,
        "preprocess": split.preprocess_ms,
        "copy": split.copy_ms,
        "run": split.run_ms,
        "post-process": split.postprocess_ms,
    }


def _start_of(one: Named) -> dict[str, float]:
    cost = one.record.resources
    if cost is None:
        return {}
    before = cost.cold_start_ms - cost.load_ms - cost.first_run_ms
    return {"process and imports": max(before, 0.0), "loading the model": cost.load_ms, "first run": cost.first_run_ms}


def _parts(one: Named, parts: dict[str, float]) -> list[Row]:
    total = sum(parts.values())
    return [
        who(one) | {"part": part, "order": order, "ms": value, "total": total, "told": f"{one.label}: {part} {ms(value)} of {ms(total)} ms"}
        for order, (part, value) in enumerate(parts.items())
    ]


def _stacked(named: Sequence[Named], rows: list[Row], name: str, title: str, axis: str) -> Chart | None:
    if not rows:
        return None
    kept = [one for one in named if one.label in {row["label"] for row in rows}]
    parts = list(dict.fromkeys(row["part"] for row in rows))
    shortest = min(rows, key=lambda row: row["total"])
    largest = max((row for row in rows if row["label"] == shortest["label"]), key=lambda row: row["ms"])
    finding = f"{shortest['key']} is the quickest, {ms(shortest['total'])} ms; of it, {ms(largest['ms'])} ms are {largest['part']}."
    return Chart(
        name,
        title,
        finding,
        f"The parts stand from left to right as in the legend: {', '.join(parts)}. The number is their sum.",
        lambda width: _draw_stacked(kept, rows, parts, axis, width),
        tuple(row["told"] for row in rows),
        _parts_table(kept, rows, parts, title),
    )


def _draw_stacked(named: Sequence[Named], rows: list[Row], parts: list[str], axis: str, width: int) -> "alt.LayerChart":
    import altair as alt

    longest = max(row["total"] for row in rows)
    scale = alt.Scale(domain=[0, longest * (1.14 if width >= 600 else 1.3) or 1], nice=False)
    x = alt.X("sum(ms):Q", title=axis, scale=scale, axis=alt.Axis(tickCount=5))
    ends = alt.X("total:Q", title=axis, scale=scale)
    y = names_axis(named, width)
    legend = alt.Legend(columns=len(parts) if width >= 600 else 1, symbolType="square")
    palette = alt.Scale(domain=parts, range=[var(f"s{at}") for at in range(len(parts))])
    tint = alt.Color("part:N", title=None, scale=palette, legend=legend)
    bars = alt.Chart(alt.Data(values=rows)).mark_bar(height=16, stroke=var("ground"), strokeWidth=1)
    sums = alt.Chart(alt.Data(values=[row | {"sum": ms(row["total"])} for row in rows if row["order"] == 0]))
    return layers(
        width,
        BAR * len(named) + 6,
        bars.encode(x=x, y=y, color=tint, order="order:O", description="told:N"),
        sums.mark_text(align="left", dx=6, aria=False).encode(x=ends, y=y, text="sum:N"),
    )


def _parts_table(named: Sequence[Named], rows: list[Row], parts: list[str], title: str) -> Table:
    cells = {(row["label"], row["part"]): ms(row["ms"]) for row in rows}
    totals = {row["label"]: ms(row["total"]) for row in rows}
    columns = ("file", *(f"{part}, ms" for part in parts), "sum, ms")
    return Table(
        title, columns, tuple((one.label, *(cells.get((one.label, part), "") for part in parts), totals[one.label]) for one in named)
    )


def _memory_row(one: Named) -> Row:
    cost = one.record.resources
    assert cost is not None, "chosen by the caller"
    peak, resident = cost.peak_bytes / 1e6, cost.resident_bytes / 1e6
    return who(one) | {
        "peak": peak,
        "resident": resident,
        "shown": f"{peak:.1f}",
        "told": f"{one.label}: {peak:.1f} MB at the peak, {resident:.1f} MB after the last run",
    }


def _draw_memory(named: Sequence[Named], rows: list[Row], width: int) -> "alt.LayerChart":
    import altair as alt

    highest = max(max(row["peak"], row["resident"]) for row in rows)
    scale = alt.Scale(domain=[0, highest * (1.12 if width >= 600 else 1.25)], nice=False)
    x, after = (alt.X(f"{field}:Q", title="resident memory, MB", scale=scale, axis=alt.Axis(tickCount=5)) for field in ("peak", "resident"))
    y, tint = names_axis(named, width), color(named, legend=None)
    base = alt.Chart(alt.Data(values=rows))
    return layers(
        width,
        BAR * len(named) + 6,
        base.mark_bar(height=16, opacity=0.4).encode(x=x, y=y, color=tint, description="told:N"),
        base.mark_bar(height=16, aria=False).encode(x=after, y=y, color=tint),
        base.mark_text(align="left", dx=6, aria=False).encode(x=x, y=y, text="shown:N"),
    )


def _memory_table(named: Sequence[Named]) -> Table:
    columns = ("file", "peak, MB", "after the last run, MB", "growth, bytes a run (95 % interval)", "CPU, ms a call", "mJ a call")
    return Table("What the process costs", columns, tuple(_cost_cells(one) for one in named))


def _cost_cells(one: Named) -> tuple[str, ...]:
    cost = one.record.resources
    assert cost is not None, "chosen by the caller"
    slope = cost.slope_bytes_per_run
    return (
        one.label,
        megabytes(cost.peak_bytes),
        megabytes(cost.resident_bytes),
        f"{slope[0]:,.1f} ({between(f'{slope[1]:,.1f}', f'{slope[2]:,.1f}')})" if slope else "",
        "" if cost.cpu_ms is None else ms(cost.cpu_ms),
        "" if cost.joules is None else significant(1e3 * cost.joules),
    )
