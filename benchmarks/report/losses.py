"""Where accuracy was lost: by class, and on images that were disturbed on purpose."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..measured import Agreement, ClassChange, Corrupted
from .chart import Chart, Row, Table, color, dashes, drawable, layers, names_legend, shapes, who, words_axis
from .naming import Named, printable
from .theme import var
from .wording import between, percent, points

if TYPE_CHECKING:
    import altair as alt


def classes(named: Sequence[Named], labels: Sequence[str]) -> Chart | None:
    """Return the chart of the classes that lost most; None where no file was compared by class."""
    kept = [(one, one.record.agreement) for one in named if one.record.agreement and one.record.agreement.worst]
    rows = drawable(_class_row(one, change, at, labels) for one, found in kept for at, change in enumerate(found.worst))
    if not rows:
        return None
    worst = max(rows, key=lambda row: row["drop"])
    return Chart(
        "classes",
        "Recall lost by class",
        f"The class that lost most is {worst['class']} in {worst['key']}: {points(worst['drop'])} points.",
        f"Against {named[0].label}; the line is the 95 % interval. To the right of zero recall was lost, to the left it was won.",
        lambda width: _draw_classes([one for one, _found in kept], rows, width),
        tuple(row["told"] for row in rows),
        _class_table(kept, labels),
    )


def corruptions(named: Sequence[Named]) -> Chart | None:
    """Return the chart of top-1 on disturbed images; None where it was not measured."""
    rows = drawable(_corrupted_row(one, found) for one in named for found in one.record.corrupted)
    if not rows:
        return None
    kept = [one for one in named if one.record.corrupted]
    lowest = min(rows, key=lambda row: row["top1"])
    return Chart(
        "corruptions",
        "Accuracy on disturbed images",
        f"The lowest: {lowest['key']} with {lowest['kind']} at severity {lowest['severity']}, {lowest['top1']:.2f} %.",
        "Severity 1 is mild, 5 is heavy. Bars are 95 % intervals.",
        lambda width: _draw_corruptions(kept, rows, width),
        tuple(row["told"] for row in rows),
        _corrupted_table(kept),
    )


def class_name(label: int | None, labels: Sequence[str]) -> str:
    """Return a class in words: its name, or its number where the data set has no names."""
    if label is None:
        return "unknown"
    return printable(labels[label]) if 0 <= label < len(labels) else f"class {label}"


def _class_row(one: Named, change: ClassChange, at: int, labels: Sequence[str]) -> Row:
    name = class_name(change.label, labels)
    ends = between(*map(points, change.interval))
    return who(one) | {
        "row": f"{one.key} {name}",
        "at": at,
        "class": name,
        "drop": change.drop_points,
        "low": change.interval[0],
        "high": change.interval[1],
        "told": f"{one.label}: {name} {percent(change.before)} to {percent(change.after)}, {points(change.drop_points)} points lost ({ends})",
    }


def _draw_classes(named: Sequence[Named], rows: list[Row], width: int) -> "alt.LayerChart":
    import altair as alt

    x, low = (alt.X(f"{field}:Q", title="recall lost, points", axis=alt.Axis(tickCount=6)) for field in ("drop", "low"))
    y = words_axis("row", list(dict.fromkeys(row["row"] for row in rows)), width)
    legend = names_legend(width)
    base, tint = alt.Chart(alt.Data(values=rows)), color(named, legend=legend)
    zero = alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(color=var("ink"), strokeWidth=1, aria=False)
    return layers(
        width,
        20 * len({row["row"] for row in rows}) + 6,
        zero.encode(x=alt.X("zero:Q", title="recall lost, points")),
        base.mark_rule(strokeWidth=2, opacity=0.6, aria=False).encode(x=low, x2="high:Q", y=y, color=tint),
        base.mark_point(size=70, filled=True, opacity=1).encode(
            x=x, y=y, color=tint, shape=shapes(named, legend=legend), description="told:N"
        ),
    )


def _class_table(kept: Sequence[tuple[Named, Agreement]], labels: Sequence[str]) -> Table:
    columns = ("file", "class", "images", "recall before", "recall after", "lost, points", "95 % interval")
    rows = tuple(
        (
            one.label,
            class_name(change.label, labels),
            f"{change.images:,}",
            percent(change.before),
            percent(change.after),
            points(change.drop_points),
            between(*map(points, change.interval)),
        )
        for one, found in kept
        for change in found.worst
    )
    return Table("Recall of the classes that lost most", columns, rows)


def _corrupted_row(one: Named, found: Corrupted) -> Row:
    ends = between(f"{100 * found.interval[0]:.2f}", percent(found.interval[1]))
    return who(one) | {
        "kind": printable(found.corruption),
        "severity": found.severity,
        "top1": 100 * found.top1,
        "low": 100 * found.interval[0],
        "high": 100 * found.interval[1],
        "told": f"{one.label}: {printable(found.corruption)} {found.severity}, {percent(found.top1)} top-1 ({ends})",
    }


def _draw_corruptions(named: Sequence[Named], rows: list[Row], width: int) -> "alt.ConcatChart":
    import altair as alt

    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    y_scale = alt.Scale(domain=[max(low - 1, 0), min(high + 1, 100)], nice=False, zero=False)
    columns = 2 if width >= 600 else 1
    inner = width // columns - 62  # labels and title of the vertical axis take the rest
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    panels = [_panel(named, [row for row in rows if row["kind"] == kind], kind, y_scale, inner, width) for kind in kinds]
    return alt.concat(*panels, columns=columns, spacing=18)


def _panel(named: Sequence[Named], rows: list[Row], title: str, scale: "alt.Scale", inner: int, width: int) -> "alt.LayerChart":
    import altair as alt

    x_scale = alt.Scale(domain=[0.8, 5.5], nice=False)
    x = alt.X("severity:Q", title="severity", scale=x_scale, axis=alt.Axis(values=[1, 2, 3, 4, 5], format="d", grid=False))
    axis = alt.Axis(tickCount=5, minExtent=30, maxExtent=30)
    y, bottom = (alt.Y(f"{field}:Q", title="top-1, %", scale=scale, axis=axis) for field in ("top1", "low"))
    legend = names_legend(width)
    base, tint = alt.Chart(alt.Data(values=rows)), color(named, legend=legend)
    last = alt.Chart(alt.Data(values=[row for row in rows if row["severity"] == max(one["severity"] for one in rows)]))
    parts = [
        base.mark_line(strokeWidth=2, aria=False).encode(x=x, y=y, color=tint, strokeDash=dashes(named, legend=None), order="severity:Q"),
        base.mark_rule(strokeWidth=2, opacity=0.5, aria=False).encode(x=x, y=bottom, y2="high:Q", color=tint),
        base.mark_point(size=60, filled=True, opacity=1).encode(
            x=x, y=y, color=tint, shape=shapes(named, legend=legend), description="told:N"
        ),
        last.mark_text(dx=12, fontWeight="bold", aria=False).encode(x=x, y=y, text="key:N"),
    ]
    return alt.LayerChart(layer=parts, title=title, width=inner, height=190)


def _corrupted_table(named: Sequence[Named]) -> Table:
    columns = ("file", "corruption", "severity", "images", "top-1", "95 % interval", "lost, points", "95 % interval")
    rows = tuple(
        (
            one.label,
            found.corruption,
            str(found.severity),
            f"{found.images:,}",
            percent(found.top1),
            between(percent(found.interval[0]), percent(found.interval[1])),
            "" if found.drop_points is None else points(found.drop_points),
            between(*map(points, found.drop_interval)) if found.drop_interval else "",
        )
        for one in named
        for found in one.record.corrupted
    )
    return Table("Top-1 on disturbed images", columns, rows)
