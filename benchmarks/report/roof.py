"""What the operators of a file cost, and where it stands under the machine's roof."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..measured import OperatorCost, Peaks, Roofline
from .chart import Chart, Row, Table, color, drawable, layers, names_legend, shapes, who, words_axis
from .naming import Named, printable
from .theme import var
from .wording import count, ms, significant, whole_percent

if TYPE_CHECKING:
    import altair as alt

SHOWN = 6  # operators of each file with a bar of their own: they take nine tenths of the time and more


def operators(named: Sequence[Named]) -> Chart | None:
    """Return the chart of time by operator; None where no file was profiled."""
    kept = [(one, one.record.roofline) for one in named if one.record.roofline and one.record.roofline.operators]
    rows = drawable(row for one, roof in kept for row in _operator_rows(one, roof.operators))
    if not rows:
        return None
    top = max(rows, key=lambda row: row["ms"])
    names = [one for one, _roof in kept]
    return Chart(
        "operators",
        "Time by operator",
        f"The most expensive: {top['operator']} in {top['key']}, {ms(top['ms'])} ms.",
        f"The {SHOWN} most expensive operator types of each file, and all others together. The letter is the file's.",
        lambda width: _draw_operators(names, rows, width),
        tuple(row["told"] for row in rows),
        _operator_table(kept),
    )


def roofline(named: Sequence[Named]) -> Chart | None:
    """Return the chart of achieved rate against arithmetic intensity under the machines' roofs; None where it was not measured.

    Williams, Waterman, Patterson 2009, "Roofline", doi 10.1145/1498765.1498785.
    """
    kept = [(one, one.record.roofline) for one in named if one.record.roofline]
    rows = drawable(_point(one, roof) for one, roof in kept if roof.macs > 0 and roof.bytes > 0 and roof.achieved_gmacs > 0)
    if not rows:
        return None
    best = max(rows, key=lambda row: row["share"])
    return Chart(
        "roofline",
        "Under the machine's roof",
        f"{best['key']} comes closest: {whole_percent(best['share'])} of the roof that limits it ({best['bound']}).",
        "The slope is memory bandwidth, the flat parts are the most that this machine does with each kind of number. Both axes are logarithmic.",
        lambda width: _draw_roofline([one for one, _roof in kept], rows, [roof.peaks for _one, roof in kept], width),
        tuple(row["told"] for row in rows),
        _roof_table(kept),
    )


def _operator_rows(one: Named, costs: Sequence[OperatorCost]) -> list[Row]:
    ordered = sorted(costs, key=lambda cost: -cost.ms)
    total = sum(cost.ms for cost in ordered)
    shown = [(printable(cost.operator), printable(cost.kind), cost.nodes, cost.ms) for cost in ordered[:SHOWN]]
    if rest := ordered[SHOWN:]:
        shown.append(("all others", "", sum(cost.nodes for cost in rest), sum(cost.ms for cost in rest)))
    # One type may have nodes of two kinds, each with a bar of its own.
    twice = {name for name, times in Counter(operator for operator, *_rest in shown).items() if times > 1}
    return [
        who(one)
        | {"bar": f"{one.key} {operator}" + (f" ({kind})" if operator in twice else ""), "ms": value, "operator": operator}
        | {
            "shown": f"{ms(value)} {kind}",
            "told": f"{one.label}: {count(nodes, 'node')} of {operator} {ms(value)} of {ms(total)} ms{', ' + kind if kind else ''}",
        }
        for operator, kind, nodes, value in shown
    ]


def _draw_operators(named: Sequence[Named], rows: list[Row], width: int) -> "alt.LayerChart":
    import altair as alt

    longest = max(row["ms"] for row in rows)
    scale = alt.Scale(domain=[0, longest * (1.2 if width >= 600 else 1.6) or 1], nice=False)
    x = alt.X("ms:Q", title="time in one run, ms", scale=scale, axis=alt.Axis(tickCount=5))
    y = words_axis("bar", [row["bar"] for row in rows], width)
    base = alt.Chart(alt.Data(values=rows))
    tint = color(named, legend=names_legend(width))
    return layers(
        width,
        22 * len(rows) + 6,
        base.mark_bar(height=13).encode(x=x, y=y, color=tint, description="told:N"),
        base.mark_text(align="left", dx=6, aria=False).encode(x=x, y=y, text="shown:N"),
    )


def _operator_table(kept: Sequence[tuple[Named, Roofline]]) -> Table:
    columns = ("file", "operator", "kind", "nodes", "ms", "MACs", "kB moved")
    rows = tuple(
        (one.label, cost.operator, cost.kind, str(cost.nodes), ms(cost.ms), f"{cost.macs:,}", f"{cost.bytes / 1e3:,.1f}")
        for one, roof in kept
        for cost in roof.operators
    )
    return Table("Time, work and traffic by operator, of one run", columns, rows)


def _point(one: Named, roof: Roofline) -> Row:
    intensity = roof.macs / roof.bytes
    return who(one) | {
        "intensity": intensity,
        "rate": roof.achieved_gmacs,
        "share": roof.share,
        "bound": roof.bound,
        "told": f"{one.label}: {significant(roof.achieved_gmacs)} GMAC/s at {significant(intensity)} MACs a byte, "
        f"{whole_percent(roof.share)} of its roof ({roof.bound})",
    }


def _draw_roofline(named: Sequence[Named], rows: list[Row], peaks: Sequence[Peaks], width: int) -> "alt.LayerChart":
    import altair as alt

    roofs = _roofs(rows, peaks)
    flat = [row for row in roofs if row["shown"]]
    low, high = roofs[0]["intensity"], max(row["intensity"] for row in roofs)
    rates = [row["rate"] for row in (*rows, *flat)]
    log = alt.Scale(type="log", domain=[low, high], nice=False)
    tall = alt.Scale(type="log", domain=[min(rates) / 3, max(rates) * 1.5], nice=False)
    x = alt.X("intensity:Q", title="multiply-accumulates (MACs) a byte", scale=log, axis=alt.Axis(tickCount=5, format="~g"))
    y = alt.Y("rate:Q", title="achieved, GMAC/s", scale=tall, axis=alt.Axis(tickCount=5, format="~g"))
    legend = names_legend(width)
    lines, points = alt.Chart(alt.Data(values=roofs)), alt.Chart(alt.Data(values=rows))
    ends = alt.Chart(alt.Data(values=flat))
    tint = color(named, legend=legend)
    return layers(
        width,
        320,
        lines.mark_line(color=var("muted"), strokeWidth=1.5, clip=True, aria=False).encode(x=x, y=y, detail="roof:N", order="intensity:Q"),
        ends.mark_text(align="right", dx=-4, dy=-8, color=var("muted"), aria=False).encode(x=x, y=y, text="shown:N"),
        points.mark_point(size=130, filled=True, opacity=1).encode(
            x=x, y=y, color=tint, shape=shapes(named, legend=legend), description="told:N"
        ),
        points.mark_text(dx=12, dy=-10, fontWeight="bold", aria=False).encode(x=x, y=y, text="key:N"),
    )


def _roofs(rows: list[Row], peaks: Sequence[Peaks]) -> list[Row]:
    """Return the corners of every roof: up the slope of the bandwidth, then flat; the last corner carries the words."""
    distinct = {
        (kind, gmacs, one.gbytes_per_s, one.threads): f"{kind}, {significant(gmacs)} GMAC/s"
        for one in peaks
        for kind, gmacs in sorted(one.gmacs.items())
        if gmacs > 0 and one.gbytes_per_s > 0
    }
    knees = [gmacs / bandwidth for _kind, gmacs, bandwidth, _threads in distinct]
    inner = [*(row["intensity"] for row in rows), *knees]
    low, high = min(inner) / 3, max(inner) * 6
    corners: list[Row] = []
    for roof, ((_kind, gmacs, bandwidth, _threads), words) in enumerate(distinct.items()):
        corners.append({"roof": roof, "intensity": low, "rate": bandwidth * low, "shown": ""})
        corners.append({"roof": roof, "intensity": gmacs / bandwidth, "rate": gmacs, "shown": ""})
        corners.append({"roof": roof, "intensity": high, "rate": gmacs, "shown": words})
    return corners


def _roof_table(kept: Sequence[tuple[Named, Roofline]]) -> Table:
    columns = ("file", "MACs", "MB moved", "GMAC/s", "limited by", "share of that roof", "peaks, GMAC/s", "bandwidth, GB/s", "threads")
    rows = tuple(
        (
            one.label,
            f"{roof.macs:,}",
            f"{roof.bytes / 1e6:,.2f}",
            significant(roof.achieved_gmacs),
            roof.bound,
            whole_percent(roof.share),
            ", ".join(f"{kind} {significant(peak)}" for kind, peak in sorted(roof.peaks.gmacs.items())),
            significant(roof.peaks.gbytes_per_s),
            str(roof.peaks.threads),
        )
        for one, roof in kept
    )
    return Table("Work, traffic and roofs", columns, rows)
