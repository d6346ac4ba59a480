"""Runs the reading process, and starts it again behind a case that kills or stops it."""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

Command = Callable[[int, int], Sequence[str]]

START_S = 120.0  # torch on a busy machine
CASE_S = 20.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one case came to.

    Attributes:
        case: Its number.
        found: `valid`, `refused`, `fault` (another exception), `crash` or `hang`.
        error: What was raised.
        seconds: How long it took.
    """

    case: int
    found: str
    error: str = ""
    seconds: float = 0.0


def run_kind(kind: str, first: int, count: int, *, case_s: float = CASE_S, command: Command | None = None) -> list[Outcome]:
    """Run cases of one kind and return what each came to, in order.

    Args:
        kind: A name of `TARGETS`.
        first: Number of the first case.
        count: How many.
        case_s: Seconds after which a case counts as a hang.
        command: From the first case and their count to the command that reads them.
    """
    program = [sys.executable, "-P", "-m", "edgerec.benchmarks.fuzz", "--work", "--kind", kind]
    command = command or (lambda start, left: [*program, "--first", str(start), "--cases", str(left)])
    outcomes: list[Outcome] = []
    while (done := len(outcomes)) < count:
        outcomes += _run_worker(command(first + done, count - done), first + done, count - done, case_s)
    return outcomes


def _run_worker(command: Sequence[str], first: int, count: int, case_s: float) -> list[Outcome]:
    """Run cases until all are done, or one kills or stops the process; that one is the last."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        lines = _lines_of(process)
        outcomes: list[Outcome] = []
        begun, limit_s = time.perf_counter(), START_S
        while len(outcomes) < count:
            try:
                line = lines.get(timeout=limit_s)
            except queue.Empty:
                process.kill()
                return [*outcomes, Outcome(first + len(outcomes), "hang", f"more than {limit_s:.0f} s", limit_s)]
            if line is None:
                return [*outcomes, Outcome(first + len(outcomes), "crash", f"exit code {process.wait()}")]
            told = json.loads(line)
            if "found" in told:
                outcomes.append(Outcome(told["case"], told["found"], told.get("error", ""), time.perf_counter() - begun))
            begun, limit_s = time.perf_counter(), case_s
        return outcomes


def _lines_of(process: "subprocess.Popen[str]") -> "queue.Queue[str | None]":
    """Read a process's lines in a thread, so that waiting for one can end; None ends them."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read(stream: IO[str]) -> None:
        for line in stream:
            lines.put(line)
        lines.put(None)

    assert process.stdout is not None
    threading.Thread(target=read, args=(process.stdout,), daemon=True).start()
    return lines
