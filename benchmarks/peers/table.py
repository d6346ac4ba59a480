"""The table that people read: the same text for a terminal and for a page of Markdown."""

import math
from collections.abc import Sequence

from .bars import Bar
from .measuring import Row, Share

COLUMNS = ("model", "file by", "top-1 %", "drop, points", "SQNR dB", "ms", "speed-up", "kB", "int8 MACs", "made in", "peak MB")
NOTE = (
    "Top-1 with Wilson's interval; drop against the float file with Newcombe's interval of paired data; SQNR of the first output; median time "
    "of one image on one thread, and speed-up over the float file in the same rounds; time and peak memory of the whole command. Edgerec "
    "opens the data set itself (CIFAR-10 takes 184 MB); the peers are given ready images one by one."
)
_NONE = "-"
_LONGEST_ERROR = 160


def rows_table(rows: Sequence[Row]) -> str:
    """Return the files as a Markdown table; what went wrong stands below it."""
    errors = [f"- {row.case}, {row.tool}: {_short(row.error)}" for row in rows if row.error]
    return "\n".join([markdown(COLUMNS, [_cells(row) for row in rows]), *([""] if errors else []), *errors])


def bars_table(bars: Sequence[Bar]) -> str:
    """Return the bars as a Markdown table."""
    verdicts = {True: "met", False: "MISSED", None: "not measured"}
    return markdown(("bar", "measured", "limit", ""), [(bar.text, bar.measured, bar.limit, verdicts[bar.met]) for bar in bars])


def markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns also stand below each other as plain text; the first two are text, the others figures."""
    every = [columns, *([cell.replace("|", "\\|") for cell in line] for line in lines)]
    widths = [max(3, *(len(line[at]) for line in every)) for at in range(len(columns))]
    is_text = [at < 2 for at in range(len(columns))]
    rule = ["-" * width if text else "-" * (width - 1) + ":" for width, text in zip(widths, is_text, strict=True)]
    padded = [
        [cell.ljust(width) if text else cell.rjust(width) for cell, width, text in zip(line, widths, is_text, strict=True)]
        for line in every
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (padded[0], rule, *padded[1:]))


def _cells(row: Row) -> tuple[str, ...]:
    failed = "failed" if row.error else _NONE
    return (
        row.case,
        row.tool,
        _top1(row.top1) if row.latency else failed,
        _drop(row.drop_points),
        _figure(row.sqnr_db, 1),
        _figure(row.latency.p50_ms if row.latency else None, 3),
        f"{row.speedup.ratio:.2f} ({row.speedup.low:.2f} to {row.speedup.high:.2f})" if row.speedup else _NONE,
        f"{row.size_bytes / 1e3:.0f}" if row.size_bytes else _NONE,
        f"{row.int8_macs_share:.0%}" if row.int8_macs_share is not None else _NONE,
        f"{row.seconds:.1f} s" if row.seconds is not None else _NONE,
        _figure(row.peak_mb, 0),
    )


def _top1(share: Share | None) -> str:
    return f"{100 * share.value:.2f} ({100 * share.low:.2f} to {100 * share.high:.2f})" if share else _NONE


def _drop(points: Share | None) -> str:
    return f"{points.value:+.2f} ({points.low:+.2f} to {points.high:+.2f})" if points else _NONE


def _figure(value: float | None, digits: int) -> str:
    if value is None:
        return _NONE
    return f"{value:.{digits}f}" if math.isfinite(value) else {math.inf: "exact"}.get(value, "none")


def _short(error: str) -> str:
    return error if len(error) <= _LONGEST_ERROR else f"{error[: _LONGEST_ERROR - 3]}..."
