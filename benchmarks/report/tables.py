"""The tables of the page that have no chart: results, comparison, scenarios, conditions, files, failures; and the machine cards."""

from collections.abc import Sequence

from ..document import Failed
from ..records import Record
from .chart import Table
from .columns import FAILURE_COLUMNS, failure_rows, readable_rows, scenario_text
from .naming import Named
from .parts import card, table
from .wording import between, count, megabytes, percent, points, significant, whole_percent

_HOW = ("on", "threads", "machine")


def results(named: Sequence[Named]) -> str:
    """Return the main table, a row a record under its letter; what all rows share stands above it."""
    columns, rows = readable_rows([one.record for one in named])
    shared = {at: f"{name} {rows[0][at]}" for at, name in enumerate(columns) if name in _HOW and len({row[at] for row in rows}) == 1}
    kept = [at for at, name in enumerate(columns) if at not in shared and name != "file"]
    caption = f"Results: {', '.join(shared.values())}" if shared else "Results"
    cells = tuple((one.label, *(row[at] for at in kept)) for one, row in zip(named, rows, strict=True))
    return table(Table(caption, ("file", *(columns[at] for at in kept)), cells))


def comparison(named: Sequence[Named]) -> str:
    """Return each file against the first on the same images."""
    kept = [(one, one.record.agreement) for one in named if one.record.agreement]
    columns = (
        "file",
        "images",
        "same class",
        "95 % interval",
        "lost",
        "won",
        "top-1 lost, points",
        "95 % interval",
        "McNemar p",
        "SQNR, dB",
    )
    rows = tuple(
        (
            one.label,
            f"{found.images:,}",
            percent(found.agreement),
            between(*map(percent, found.agreement_interval)),
            "" if found.lost is None else f"{found.lost:,}",
            "" if found.won is None else f"{found.won:,}",
            "" if found.drop_points is None else points(found.drop_points),
            between(*map(points, found.drop_interval)) if found.drop_interval else "",
            "" if found.mcnemar_p is None else significant(found.mcnemar_p, 2),
            "" if found.sqnr_db is None else f"{found.sqnr_db:.1f}",
        )
        for one, found in kept
    )
    return table(Table(f"Against {named[0].label}, on the same images", columns, rows)) if rows else ""


def scenarios(named: Sequence[Named]) -> str:
    """Return MLPerf's scenarios, with whether its rules on time and count were kept."""
    columns = ("file", "scenario", "result", "queries", "seconds", "MLPerf's rules")
    rows = tuple(
        (one.label, run.name, scenario_text(run), f"{run.queries:,}", f"{run.seconds:.1f}", "kept" if run.valid else "not kept: too short")
        for one in named
        for run in one.record.scenarios
    )
    return table(Table("MLPerf's scenarios", columns, rows)) if rows else ""


def conditions(named: Sequence[Named]) -> str:
    """Return what went on while each file was measured."""
    columns = (
        "file",
        "disturbed by",
        "repeats",
        "other load",
        "stolen",
        "drift",
        "MHz",
        "governor",
        "swapped, MB",
        "held back by quota",
    )
    rows = tuple(
        (
            one.label,
            "; ".join(watch.disturbances) or "nothing seen",
            str(watch.repeats),
            "" if watch.load is None else whole_percent(watch.load),
            "" if watch.steal is None else whole_percent(watch.steal),
            f"{100 * watch.drift:+.1f} %",
            between(*(f"{value:,.0f}" for value in watch.frequency_mhz)) if watch.frequency_mhz else "",
            watch.governor,
            megabytes(watch.swapped_bytes) if watch.swapped_bytes else "0",
            whole_percent(watch.throttled),
        )
        for one in named
        if (watch := one.record.watch)
    )
    return table(Table("What went on meanwhile", columns, rows), figures=False) if rows else ""


def files(named: Sequence[Named]) -> str:
    """Return which files were measured, how, and on which data."""
    columns = ("file", "size, MB", "provider", "threads", "profile", "nodes on", "data", "SHA-256")
    rows = tuple((one.label, *_file_cells(one.record)) for one in named)
    return table(Table("Files and how they ran", columns, rows), figures=False)


def _file_cells(record: Record) -> tuple[str, ...]:
    fallback = ", fallback allowed" if record.fallback_allowed else ""
    return (
        megabytes(record.size_bytes),
        record.provider + fallback,
        str(record.threads),
        record.profile,
        ", ".join(f"{name} {nodes}" for name, nodes in sorted(record.placement.items())),
        f"{record.split}, {record.data_fingerprint[:12]}" if record.data_fingerprint else record.split,
        record.sha256,
    )


def failures(failed: Sequence[Failed]) -> str:
    """Return the configurations without figures, and why."""
    return table(Table("Configurations without figures", FAILURE_COLUMNS, failure_rows(failed)), figures=False) if failed else ""


def machines(named: Sequence[Named]) -> str:
    """Return a card for each machine with its versions, and who ran there."""
    groups: dict[tuple[object, ...], list[Named]] = {}
    for one in named:
        record = one.record
        groups.setdefault((record.target, record.machine, tuple(sorted(record.versions.items()))), []).append(one)
    everyone = len(groups) == 1
    return "".join(_card(group[0].record, "" if everyone else ", ".join(one.key for one in group)) for group in groups.values())


def _card(record: Record, keys: str) -> str:
    machine = record.machine
    return card(
        record.target or machine.cpu,
        (
            ("Ran", keys),
            ("Processor", machine.cpu),
            ("Architecture", machine.architecture),
            ("Cores this process may use", count(machine.cores, "core")),
            ("Instructions", ", ".join(machine.instructions)),
            ("System", machine.os),
            ("Python", machine.python),
            ("Packages", ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))),
        ),
    )
