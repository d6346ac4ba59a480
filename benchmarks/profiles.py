"""What each session profile does: latency, images a second from several callers, processor time of a frame, memory.

    python -m edgerec.benchmarks.profiles [FILE]

Without a file, a ResNet-18 of 0.7 million parameters at 128 pixels. Times are interleaved in one process; memory is that of a process of
its own for each profile, after a batch of 32 and then single images. Takes a minute on an otherwise idle machine.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnx

from ..runtime.cores import usable_cores
from ..runtime.profiles import PROFILES
from ..runtime.random_feeds import random_feeds
from ..runtime.session import Session, open_session
from .duty_cycle import measure_duty_cycle
from .latency import Timing, measure_interleaved
from .plain_nets import residual_net

Feeds = dict[str, npt.NDArray[np.generic]]
COLUMNS = ("profile", "threads", "p50 ms", "images/s, all callers", "CPU ms a frame at 10/s", "MB after a batch of 32", "MB at the end")
MEMORY = """
import sys
from pathlib import Path
import numpy as np
from edgerec.runtime.random_feeds import random_feeds
from edgerec.runtime.session import open_session
session = open_session(Path(sys.argv[1]), profile=sys.argv[2])
one = random_feeds(session.inputs, session.spec.inputs if session.spec else ())
def resident():
    return int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0]) / 1e3
session.run({name: np.repeat(array, 32, axis=0) for name, array in one.items()})
many = resident()
for _ in range(20):
    session.run(one)
print(many, resident())
"""


def main(arguments: Sequence[str] | None = None, seconds: float = 2) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path)
    given = parser.parse_args(arguments)
    with TemporaryDirectory(prefix="edgerec-profiles-") as folder:
        file = given.file or Path(folder) / "net.onnx"
        if given.file is None:
            onnx.save(residual_net(128, 16, classes=10), file)
        for line in [COLUMNS, *measure_profiles(file, seconds)]:
            print("".join(f"{cell:<12}" if at == 0 else f"{cell:>24}" for at, cell in enumerate(line)))
    return 0


def measure_profiles(file: Path, seconds: float) -> list[tuple[str, ...]]:
    """Return one line of the table for each profile."""
    sessions = {name: open_session(file, profile=name) for name in PROFILES}
    first = next(iter(sessions.values()))
    feeds = random_feeds(first.inputs, first.spec.inputs if first.spec else ())
    calls = {name: partial(one.run, feeds) for name, one in sessions.items()}
    latency = measure_interleaved(calls, Timing(rounds=10, block_seconds=seconds / 20, warmup_seconds=0.1)).latency
    paced = measure_duty_cycle(calls, frames_per_s=10, seconds=seconds, rounds=2)
    rates = {name: [_images_per_second(one, feeds, seconds / 4) for _ in range(4)] for name, one in sessions.items()}
    return [
        (
            name,
            str(one.threads),
            f"{latency[name].p50_ms:.2f}",
            f"{max(rates[name]):.0f}",
            f"{paced[name].cpu_ms:.2f}",
            *(f"{mb:.0f}" for mb in _memory_mb(file, name)),
        )
        for name, one in sessions.items()
    ]


def _images_per_second(session: Session, feeds: Feeds, seconds: float) -> float:
    """Return the rate of as many callers as there are cores."""
    end = time.perf_counter() + seconds

    def call(_caller: int) -> int:
        done = 0
        while time.perf_counter() < end:
            session.run(feeds)
            done += 1
        return done

    start, callers = time.perf_counter(), usable_cores()
    with ThreadPoolExecutor(callers) as pool:
        return sum(pool.map(call, range(callers))) / (time.perf_counter() - start)


def _memory_mb(file: Path, profile: str) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-P", "-c", MEMORY, str(file), profile], capture_output=True, text=True, check=True)
    many, end = done.stdout.split()
    return float(many), float(end)


if __name__ == "__main__":
    sys.exit(main())
