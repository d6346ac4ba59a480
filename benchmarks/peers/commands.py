"""Tools run as commands: what they print, how long they take, and how much memory."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

EDGEREC = (sys.executable, "-P", "-m", "edgerec")

_FRAME = re.compile(r'^File ".*?([^/\\"]+)", line (\d+)')


@dataclass(frozen=True, slots=True)
class Limits:
    """What a command may use.

    Attributes:
        seconds: Wall time, after which it is killed.
        megabytes: Its data, 10^6 bytes; more is refused by the system.
        threads: Given as OMP_NUM_THREADS; None leaves every tool its default.
    """

    seconds: float = 1800.0
    megabytes: float = 16_000.0
    threads: int | None = 1


@dataclass(frozen=True, slots=True)
class Run:
    """A command that has ended.

    Attributes:
        seconds: From the start of the process to its end.
        peak_mb: Its largest resident set, 10^6 bytes, interpreter and libraries included.
        printed: What it wrote on stdout.
        error: Why it failed, in its own last words; empty where it did not.
    """

    seconds: float
    peak_mb: float
    printed: str
    error: str


def run_command(command: Sequence[str], limits: Limits | None = None, variables: Mapping[str, str] | None = None) -> Run:
    """Run a command in a process of its own and wait for it.

    Args:
        command: The program and its arguments.
        limits: What it may use.
        variables: Environment variables beside the present ones.
    """
    limits = limits or Limits()
    environment = {**os.environ, **(variables or {})}
    environment.pop("OMP_NUM_THREADS", None)
    if limits.threads:
        environment["OMP_NUM_THREADS"] = str(limits.threads)
    with tempfile.TemporaryDirectory(prefix="edgerec-") as folder:
        record, stdout, stderr = (Path(folder) / name for name in ("record.json", "stdout", "stderr"))
        launcher = [
            sys.executable,
            "-I",
            str(Path(__file__).with_name("child.py")),
            str(record),
            str(limits.seconds),
            str(limits.megabytes),
        ]
        with stdout.open("wb") as out, stderr.open("wb") as err:
            subprocess.run([*launcher, *command], stdout=out, stderr=err, env=environment, check=False)
        printed, complaint = (one.read_text(encoding="utf-8", errors="replace") for one in (stdout, stderr))
        found = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    return Run(found.get("seconds", 0.0), found.get("peak_mb", 0.0), printed, _why(found, complaint, limits))


def last_object(printed: str) -> dict[str, float]:
    """Return the JSON object in the last line that is one; empty where there is none."""
    for line in reversed(printed.splitlines()):
        if line.startswith("{"):
            try:
                return json.loads(line)
            except ValueError:
                continue
    return {}


def _why(found: Mapping[str, float], complaint: str, limits: Limits) -> str:
    if found and found["status"] == 0:
        return ""
    if found.get("timed_out"):
        return f"stopped after {limits.seconds:.0f} s"
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    return _last_words(lines) or f"ended with {found.get('status', 'no record')}"


def _last_words(lines: Sequence[str]) -> str:
    """Return what a program said last: our own commands' three lines, or an exception and where it was raised."""
    start = next((at for at in reversed(range(len(lines))) if lines[at].startswith("error: ")), None)
    if start is not None:
        return "; ".join(lines[start:]).removeprefix("error: ")
    frames = [found for line in lines if (found := _FRAME.match(line))]
    where = f" ({frames[-1][1]}, line {frames[-1][2]})" if frames else ""
    return f"{lines[-1]}{where}" if lines else ""
