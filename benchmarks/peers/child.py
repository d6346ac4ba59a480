"""Run one command and write down what it took: stand-alone, standard library only, imports nothing of edgerec.

    python child.py RECORD.json SECONDS MEGABYTES COMMAND ...

A process starts with the largest resident set of the one that forked it. So what is measured is started from this small one, and not from
the benchmark, which may have been large. The command may use SECONDS and MEGABYTES (10^6 bytes) at most, and gives way to other work.
Linux and macOS.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Timer

_POLITENESS = 5


def measure(command: Sequence[str], seconds: float, megabytes: float) -> dict[str, float]:
    """Run a command; return its exit status, its wall time in seconds, its largest resident set in megabytes, and whether it ran too long."""
    limit = int(megabytes * 1e6)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # not of address space: allocators reserve far more than they use
    os.nice(_POLITENESS)
    start = time.perf_counter()
    process = subprocess.Popen(command)
    timer = Timer(seconds, process.kill)
    timer.start()
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - start
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return {"status": process.returncode, "seconds": took, "peak_mb": usage.ru_maxrss * unit / 1e6, "timed_out": took >= seconds}


def main(arguments: Sequence[str]) -> None:
    """Run the command and write the record."""
    record, seconds, megabytes, *command = arguments
    Path(record).write_text(json.dumps(measure(command, float(seconds), float(megabytes))), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
