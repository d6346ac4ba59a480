"""What a measuring process is asked for beside its latency: growth of memory, the stages of a prediction, MLPerf's scenarios."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from .drift import trend
from .json_form import read_as
from .measured import Scenario, Stages
from .rounds import Orders
from .scenarios import Rules, batch_of
from .steady import runs_for
from .workers import START_S, WorkerError

MEMORY_POINTS = 30
MEMORY_POINT_MS = 10.0  # 0.3 s in all: a leak of one page a call is 4 KiB a call after three calls
STAGE_RUNS = 50


def memory_slope(worker: Orders, run_ms: float) -> tuple[float, float, float] | None:
    """Return bytes of resident memory that a call adds, and the ends of the slope's 95 % interval; None where nothing is told.

    The first third is left out: an allocator's pools still fill.
    """
    runs = runs_for(run_ms, MEMORY_POINT_MS)
    limit_s = 60 + MEMORY_POINTS * runs * run_ms / 100
    found = cast("list[int]", worker.order({"do": "memory", "points": MEMORY_POINTS, "runs": runs}, limit_s)["resident_bytes"])
    late = found[len(found) // 3 :]
    if not any(late):
        return None
    line = trend([float(one) for one in late], [float(runs * at) for at in range(len(late))])
    return (line.slope, line.low, line.high) if math.isfinite(line.high - line.low) else None


def measure_stages_of(worker: Orders, image: Path | None) -> tuple[Stages | None, tuple[str, ...]]:
    """Return where the time of one prediction goes; where that cannot be measured, None and why."""
    if image is None:
        return None, ()
    try:
        answer = worker.order({"do": "stages", "image": str(image), "runs": STAGE_RUNS}, START_S)
    except WorkerError as error:
        return None, (f"stages: {error}",)
    return read_as(Stages, answer), ()


def measure_scenarios(worker: Orders, names: Sequence[str], rules: Rules) -> tuple[tuple[Scenario, ...], tuple[str, ...]]:
    """Return MLPerf's scenarios by name, and what could not be run, with the reason."""
    found: list[Scenario] = []
    notes: list[str] = []
    for name in names:
        order: dict[str, object] = {
            "do": "scenario",
            "name": name,
            "batch": batch_of(name, worker.configuration.batch),
            "rules": asdict(rules),
        }
        try:
            found.append(read_as(Scenario, worker.order(order, START_S + 3 * rules.seconds)))
        except WorkerError as error:
            notes.append(f"{name}: {error}")
    return tuple(found), tuple(notes)
