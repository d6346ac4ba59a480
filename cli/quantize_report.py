"""What `edgerec quantize` prints and keeps about a run."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from .console import print_json, print_table, say

if TYPE_CHECKING:
    from ..compress.quantization import LayerReport, QuantizationReport, Quantized
    from ..compress.quantization.budget import Trial

_COLUMNS = ("layer", "operator", "precision", "alone dB", "float us", "int8 us")
_WHY = {"no int8 kernel": "no kernel", "kept by the user": "kept", "accuracy budget": "budget"}
_NAME = 20  # characters of a name, so that a line fits a terminal of 80
_ROWS = 40  # layers that are listed; more are counted by operator, and the record has them all


def write_record(result: "Quantized", output: Path) -> Path:
    """Write everything that is known about the run beside the file."""
    import json

    from ..benchmarks.records import machine, versions
    from ..runtime.files import sha256, write_text

    path = output.with_suffix(".quantize.json")
    about = {"file": output.name, "sha256": sha256(output), "machine": asdict(machine()), "versions": versions()}
    write_text(path, json.dumps(_as_json({**asdict(result.report), **about}), indent=1, sort_keys=True, allow_nan=False) + "\n")
    return path


def show(report: "QuantizationReport", output: Path, record: Path, *, json: bool, quiet: bool, skipped: int) -> None:
    """Print the layers, what the budget tried, and the sum of it."""
    quiet_table = quiet or json
    if len(report.layers) <= _ROWS:
        columns, rows = _filled(_COLUMNS, [_row(one) for one in report.layers])
        print_table("", columns, rows, quiet=quiet_table)
    else:
        print_table("", ["operator", "int8", "float", "why float"], _kinds(report.layers), quiet=quiet_table)
    show_trials(report.tried, quiet=quiet_table)
    for note in report.notes:
        say(f"note: {note}", quiet=quiet)
    for name, reason in report.undone:
        say(f"note: the clean-up {name} was taken back: {reason}", quiet=quiet)
    say(_summary(report, output), quiet=quiet)
    say(f"record: {record}", quiet=quiet)
    if json:
        print_json(_as_json({**asdict(report), "skipped": skipped, "output": str(output), "record": str(record)}))


def show_trials(tried: "Sequence[Trial]", *, quiet: bool) -> None:
    """Print the files that an accuracy budget tested."""
    rows = [
        [
            f"{len(one.proposal.nodes)} layer{'s' * (len(one.proposal.nodes) != 1)} int8",
            f"{one.proposal.milliseconds:.3f}",
            f"{one.verdict.drop_points:+.2f}",
            f"{one.verdict.low:.2f} to {one.verdict.high:.2f}",
            f"{one.verdict.images:,}",
            one.verdict.decision,
        ]
        for one in tried
    ]
    if rows:
        print_table("", ["tried", "predicted ms", "drop", "interval", "images", "verdict"], rows, quiet=quiet)


def _filled(columns: Sequence[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Leave out columns that say nothing in any row."""
    kept = [at for at in range(len(columns)) if at == 0 or any(row[at] for row in rows)]
    return [columns[at] for at in kept], [[row[at] for at in kept] for row in rows]


def _row(one: "LayerReport") -> list[str]:
    figures = ["" if value is None else f"{value:.1f}" for value in (one.error_db, one.float_us, one.int8_us)]
    name = one.name if len(one.name) <= _NAME else f"{one.name[: _NAME // 2 - 2]}...{one.name[1 - _NAME // 2 :]}"
    precision = f"float: {_WHY.get(one.reason, one.reason)}" if one.reason else one.precision
    return [name, one.op_type, precision, *figures]


def _kinds(layers: "Sequence[LayerReport]") -> list[list[str]]:
    counts = Counter((one.op_type, one.precision) for one in layers)
    reasons = {(one.op_type, one.reason): None for one in layers if one.reason}
    kinds = sorted({one.op_type for one in layers})
    why = {kind: ", ".join(reason for other, reason in reasons if other == kind) for kind in kinds}
    return [[kind, str(counts[kind, "int8"]), str(counts[kind, "float"]), why[kind]] for kind in kinds]


def _as_json(value: object) -> object:
    """Return what JSON can hold: sets become sorted lists, infinity and NaN become null."""
    if isinstance(value, dict):
        return {key: _as_json(one) for key, one in cast("dict[str, object]", value).items()}
    if isinstance(value, frozenset):
        return sorted(cast("frozenset[str]", value))
    if isinstance(value, list | tuple):
        return [_as_json(one) for one in cast("Sequence[object]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _summary(report: "QuantizationReport", output: Path) -> str:
    parts = [f"{report.size_bytes_before / 1e3:.1f} -> {report.size_bytes_after / 1e3:.1f} kB"]
    if report.speedup is not None and not report.is_float:
        parts.append(f"{report.speedup.ratio:.2f}x as fast as float here ({report.speedup.low:.2f} to {report.speedup.high:.2f})")
    if report.sqnr_db is not None and not report.is_float:
        parts.append(f"{report.sqnr_db:.1f} dB on calibration images")
    if report.tried:
        last = report.tried[-1].verdict
        parts.append(f"drop {last.drop_points:.2f} points ({last.low:.2f} to {last.high:.2f}, {last.images:,} images)")
    return f"{', '.join(parts)}; ranges {report.method} from {report.images} images: {output}"
