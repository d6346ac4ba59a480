"""Does a process that predicts for days grow? A million predictions of a small model, and the memory meanwhile.

    python -m edgerec.benchmarks.memory_slope

Images and ready tensors in turns, on one thread; takes two minutes, on Linux. Writes `benchmarks/results/memory_slope.json` beside this file
unless told otherwise, prints the slope, and ends with 1 when the memory grows.
"""

import argparse
import json
import math
import mmap
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from ..runtime.errors import ConfigError
from ..runtime.files import check_writable, write_text
from ..runtime.recognizer import Recognizer
from ..runtime.session import open_session
from .plain_nets import plain_network
from .records import machine, versions

MILLION = 1_000_000
# Counted page by page: what /proc/self/status says is not exact (man 5 proc_pid_status, VmRSS).
SMAPS = Path("/proc/self/smaps_rollup")
_Z95 = 1.96


@dataclass(frozen=True, slots=True)
class Slope:
    """How memory grows, in bytes for each million calls.

    Attributes:
        bytes: The slope, by Theil and Sen.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    bytes: float
    low: float
    high: float

    @property
    def met(self) -> bool:
        """Whether memory stays as it is: no growth that the samples prove, or less than a page in 100,000 calls."""
        return self.low <= 0 or self.bytes < 10 * mmap.PAGESIZE

    def line(self) -> str:
        """Return the slope as one line of at most 80 columns."""
        verdict = "met" if self.met else "MISSED"
        return f"slope {self.bytes:,.0f} bytes per 1,000,000 predictions ({self.low:,.0f} to {self.high:,.0f})  {verdict}"


def memory_bytes() -> int:
    """Return the memory that this process has written to and not given back.

    Pages of files are left out: the system drops and reads them again as it likes. Pages that it has swapped out are counted.

    Raises:
        ConfigError: The system has no `/proc`.
    """
    if not SMAPS.is_file():
        raise ConfigError("the memory of a process is read from /proc", sys.platform, "run this on Linux")
    lines = SMAPS.read_text(encoding="ascii").splitlines()[1:]  # the first names the addresses
    fields = dict(line.split(":", 1) for line in lines)
    return sum(int(fields[name].split()[0]) for name in ("Anonymous", "Swap")) * 1024


def sample_memory(call: Callable[[], object], calls: int, samples: int, warmup: int) -> list[int]:
    """Return the memory after each of `samples` equal portions of the calls, in bytes; `warmup` calls come before."""
    for _ in range(warmup):
        call()
    found = [0] * samples  # all of it before the first sample, so that the list does not grow
    for at in range(samples):
        for _ in range(calls // samples):
            call()
        found[at] = memory_bytes()
    return found


def fit_slope(memory: Sequence[int], calls: int) -> Slope:
    """Fit a line through memory that was sampled in equal steps over `calls` calls.

    The median of the slopes between all pairs of samples: one step, as when an allocator takes another page, does not make a slope.
    The interval is Sen's (Journal of the American Statistical Association 63, 1968, section 4), with ties counted as Kendall does.
    """
    values = np.asarray(memory, np.float64)
    count = len(values)
    first, second = np.triu_indices(count, 1)
    slopes = np.sort((values[second] - values[first]) / (second - first)) * (count / calls * MILLION)
    _, ties = np.unique(values, return_counts=True)
    variance = (_kendall(count) - float(sum(_kendall(int(one)) for one in ties))) / 18
    half = _Z95 * math.sqrt(variance)
    low, high = (int(np.clip(round((len(slopes) + side * half) / 2), 0, len(slopes) - 1)) for side in (-1, 1))
    return Slope(float(np.median(slopes)), float(slopes[low]), float(slopes[high]))


def measure(calls: int = MILLION, samples: int = 250) -> tuple[Slope, list[int]]:
    """Predict `calls` times, and a tenth of that before; return the slope and the samples, in bytes."""
    recognizer = Recognizer(open_session(plain_network(24, 4, 32), threads=1))
    spec, draws = recognizer.spec.input, np.random.default_rng(0)
    image = draws.integers(0, 256, (spec.height, spec.width, 3), np.uint8)
    turns = cycle([image, draws.normal(size=spec.shape).astype(np.float32)])
    memory = sample_memory(lambda: recognizer.predict(next(turns)), calls, samples, calls // 10)
    return fit_slope(memory, calls), memory


def main(arguments: Sequence[str] | None = None, calls: int = MILLION) -> int:
    """Measure, print, write the record, and return 1 when the memory grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "memory_slope.json")
    given = parser.parse_args(arguments)
    check_writable(given.output)
    slope, memory = measure(calls)
    print(slope.line())
    print(f"memory {memory[0]:,} bytes at first, {memory[-1]:,} at last, {min(memory):,} to {max(memory):,} in {len(memory)} samples")
    record = {"machine": asdict(machine()), "versions": versions(), "calls": calls, "slope": asdict(slope) | {"met": slope.met}}
    write_text(given.output, json.dumps(record | {"memory_bytes": memory}) + "\n")
    return int(not slope.met)


def _kendall(count: int) -> float:
    """Return 18 times the variance of Kendall's statistic over so many samples, or what so many equal ones take from it."""
    return count * (count - 1) * (2 * count + 5)


if __name__ == "__main__":
    sys.exit(main())
