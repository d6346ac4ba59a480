"""What this process has used so far: memory, processor time, and time it had to wait for a core."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """Zero where the system does not tell.

    Attributes:
        resident_bytes: Memory that is in RAM now.
        peak_bytes: The most there was.
        cpu_ns: Processor time of all threads, user and system.
        waited_ns: Time in which the main thread was ready to run and another one had its core; Linux only.
        preempted: How often the system took the core away.
    """

    resident_bytes: int = 0
    peak_bytes: int = 0
    cpu_ns: int = 0
    waited_ns: int = 0
    preempted: int = 0


def usage(proc: Path = Path("/proc/self")) -> Usage:
    """Return what this process has used.

    Args:
        proc: Where Linux tells about this process.
    """
    peak, preempted = _from_system()
    resident, peak_linux = _memory(proc)
    return Usage(resident or peak, peak_linux or peak, time.process_time_ns(), _waited_ns(proc), preempted)


def _memory(proc: Path) -> tuple[int, int]:
    """Return resident and peak memory; `ru_maxrss` alone would hold the parent's peak, which a fork inherits."""
    try:
        lines = (proc / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0, 0
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return _kilobytes(fields.get("VmRSS", "")), _kilobytes(fields.get("VmHWM", ""))


def _kilobytes(text: str) -> int:
    number = text.split()[:1]
    return int(number[0]) * 1024 if number and number[0].isdigit() else 0


def _waited_ns(proc: Path) -> int:
    """Return the second number of `schedstat`: nanoseconds on a run queue (docs.kernel.org/scheduler/sched-stats.html)."""
    try:
        return int((proc / "schedstat").read_text(encoding="utf-8").split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _from_system() -> tuple[int, int]:
    """Return peak memory and involuntary switches from `getrusage`; zeros on Windows."""
    if sys.platform == "win32":
        return 0, 0
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return used.ru_maxrss * unit, used.ru_nivcsw
