"""Whether the measurement itself can be trusted: equal files are called equal, a file slowed by 5 % is called slower, a call costs no more.

    python -m edgerec.benchmarks.latency_bars [--seconds 160] [--output FILE]

Three bars: of 200 comparisons of two copies of one file at most 6 may be called different at 1 %; of 100 comparisons with a file slowed by 5 % at
least 95 must be, each within 20 s; p50 is within 1 % of a bare loop's. The file is a small network of about 0.3 ms. Comparisons are added to the
output until there are enough: the command can be ended at any time, and run again. Takes 45 minutes in all on an idle machine of two cores.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from ..runtime.errors import ModelError
from ..runtime.files import check_writable, write_text
from . import measuring_worker
from .configurations import Configuration
from .measuring import measure_files
from .measuring_worker import Call
from .plain_nets import plain_network
from .records import machine, versions
from .rounds import Schedule
from .student import student_quantile
from .workers import allowed_cores, launch, pick_cores

SAME, SLOWED, BARE = 200, 100, 20
SAME_BAR, SLOWED_BAR, SECONDS_BAR, BARE_BAR = 6, 95, 20.0, 0.01
CONFIDENCE = 0.99
SLOWER = 0.05
SCHEDULE = Schedule(block_ms=20.0)  # the usual starts and rounds, shorter blocks: 8 s a comparison
SLOWED_FILE = "slowed.onnx"

# What somebody writes who wants to know how long a call takes.
BARE_LOOP = """
import os, statistics, sys, time
if hasattr(os, "sched_setaffinity") and sys.argv[2]: os.sched_setaffinity(0, {int(sys.argv[2])})
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
first = session.get_inputs()[0]
shape = [size if isinstance(size, int) else 1 for size in first.shape]
feeds = {first.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
for _ in range(500): session.run(None, feeds)
times = []
for _ in range(1500):
    start = time.perf_counter_ns()
    session.run(None, feeds)
    times.append(time.perf_counter_ns() - start)
print(statistics.median(times) / 1e6)
"""

Row = dict[str, object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Add comparisons for a while, print where each bar stands, and return 1 when one is missed or not complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end after so many seconds; run it again to go on")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "latency_bars.json")
    given = parser.parse_args(arguments)
    check_writable(given.output)
    found: dict[str, list[Row]] = {"same": [], "slowed": [], "bare": []}
    if given.output.exists():
        found |= json.loads(given.output.read_text(encoding="utf-8"))["comparisons"]
    with TemporaryDirectory(prefix="edgerec-bars-") as folder:
        _fill_(found, Path(folder), time.perf_counter() + given.seconds, given.output)
    lines, met = judge_bars(found)
    print("\n".join(lines))
    return int(not met)


def judge_bars(found: dict[str, list[Row]]) -> tuple[list[str], bool]:
    """Return what to print, and whether every bar is complete and met."""
    different = [sum(bool(one["different"]) for one in found[kind]) for kind in ("same", "slowed")]
    slowest = max((float(str(one["seconds"])) for one in found["slowed"]), default=0.0)
    logs = [math.log(float(str(one["edgerec_ms"])) / float(str(one["bare_ms"]))) for one in found["bare"]]
    middle = statistics.fmean(logs) if logs else 0.0
    half = student_quantile(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
    complete = (len(found["same"]), len(found["slowed"]), len(found["bare"])) >= (SAME, SLOWED, BARE)
    met = different[0] <= SAME_BAR and different[1] >= SLOWED_BAR and slowest <= SECONDS_BAR and abs(middle) <= BARE_BAR
    return [
        f"two copies of one file: {different[0]} of {len(found['same'])} called different at 1 % (bar: at most {SAME_BAR} of {SAME})",
        f"slowed by {SLOWER:.0%}: {different[1]} of {len(found['slowed'])} called different (bar: at least {SLOWED_BAR} of {SLOWED})",
        f"longest of these runs: {slowest:.1f} s (bar: {SECONDS_BAR:.0f} s)",
        f"p50 against a bare loop: {middle:+.2%} +/- {half:.2%} over {len(logs)} pairs (bar: within {BARE_BAR:.0%})",
    ], complete and met


def compare_once(first: Path, second: Path) -> Row:
    """Measure two files once and say whether they are called different."""
    begun = time.perf_counter()
    rows = [Configuration(file, threads=1) for file in (first, second)]
    found = measure_files(rows, SCHEDULE, confidence=CONFIDENCE, command=_command)
    if found.partial:
        raise KeyboardInterrupt
    if found.failures:
        raise ModelError("a file could not be measured", found.failures[0].error, "see why, and run it again")
    second_one = found.measured[1]
    ratio, low, high = asdict(second_one.speedup).values()
    return {
        "ratio": ratio,
        "low": low,
        "high": high,
        "different": not low <= 1 <= high,
        "seconds": time.perf_counter() - begun,
        "p50_ms": found.measured[0].latency.p50_ms,
        "repeats": second_one.watch.repeats,
        "disturbances": second_one.watch.disturbances,
    }


def against_bare(file: Path, turn: int) -> Row:
    """Return the median of a bare loop and of edgerec, in alternating order."""
    core = next(iter(pick_cores(1, allowed_cores())), "")

    def bare() -> float:
        command = [sys.executable, "-P", "-c", BARE_LOOP, str(file), str(core)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def ours() -> float:
        return measure_files([Configuration(file, threads=1)], Schedule(starts=1, rounds=10)).measured[0].latency.p50_ms

    calls: list[Callable[[], float]] = [bare, ours] if turn % 2 else [ours, bare]
    took = {call: call() for call in calls}
    return {"bare_ms": took[bare], "edgerec_ms": took[ours]}


def slowed(call: Call) -> Call:
    """Return a call that takes 5 % longer: it waits, busily, for a twentieth of what the call took."""
    clock = time.perf_counter_ns

    def longer() -> None:
        start = clock()
        call()
        now = clock()
        until = now + int((now - start) * SLOWER)
        while clock() < until:
            pass

    return longer


def work_slowed(arguments: list[str]) -> int:
    """Be the measuring process of a file that takes 5 % longer."""
    return measuring_worker.main(arguments, slowed)


def _fill_(found: dict[str, list[Row]], folder: Path, end: float, output: Path) -> None:
    """Add comparisons of all kinds in turns, and write the file after each."""
    file = folder / "net.onnx"
    file.write_bytes(plain_network(32, 8, 64))
    for name in ("copy.onnx", SLOWED_FILE):
        (folder / name).write_bytes(file.read_bytes())
    work_of: dict[str, tuple[int, Callable[[int], Row]]] = {
        "bare": (BARE, lambda turn: against_bare(file, turn)),
        "same": (SAME, lambda _turn: compare_once(file, folder / "copy.onnx")),
        "slowed": (SLOWED, lambda _turn: compare_once(file, folder / SLOWED_FILE)),
    }
    about = {"machine": asdict(machine()), "versions": versions(), "schedule": asdict(SCHEDULE)}
    while time.perf_counter() < end - SECONDS_BAR / 2:
        kind = min(work_of, key=lambda name: len(found[name]) / work_of[name][0])
        if len(found[kind]) >= work_of[kind][0]:
            return
        try:
            found[kind].append(work_of[kind][1](len(found[kind])))
        except KeyboardInterrupt:
            return
        write_text(output, json.dumps({**about, "comparisons": found}, indent=1) + "\n")


def _command(configuration: Configuration, cores: Sequence[int]) -> list[str]:
    """Return the usual process, or the slowed one for the slowed file."""
    usual = launch(configuration, cores)
    if configuration.file.name != SLOWED_FILE:
        return usual
    code = "import sys; from edgerec.benchmarks.latency_bars import work_slowed; sys.exit(work_slowed(sys.argv[1:]))"
    return [*usual[:2], "-c", code, *usual[4:]]


if __name__ == "__main__":
    sys.exit(main())
