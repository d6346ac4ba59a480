"""Measured peaks against large matrix products of other libraries on the same machine: `python -m edgerec.benchmarks.peak_bars`.

The others are numpy (OpenBLAS), torch's float product, and torch's three ways to multiply bytes: `torch._int_mm`, and its quantized linear
layer with oneDNN and with FBGEMM. They run in a process of their own, in turns with ours; of each side the fastest counts, since a peak is
what nothing disturbs. `OPENBLAS_CORETYPE` and `OPENBLAS_L2_SIZE` are left out of that process: they choose slower kernels.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..runtime.cores import usable_cores
from ..runtime.files import check_writable, write_text
from .peak import measure_peak
from .records import machine, versions

SIZES = (512, 1024, 2048)
LIMIT = 0.1  # how far our peak may lie from theirs
TURNS = 3
_SLOWER_KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@dataclass(frozen=True, slots=True)
class PeakBar:
    """One peak and the fastest product of another library.

    Attributes:
        number: `fp32` or `int8`.
        threads: Threads of both.
        gmacs: Ours, 10^9 multiply-accumulates a second.
        others: Name of library and product to theirs.
    """

    number: str
    threads: int
    gmacs: float
    others: dict[str, float]

    @property
    def ratio(self) -> float:
        """Ours as a multiple of the fastest other."""
        return self.gmacs / max(self.others.values())

    @property
    def met(self) -> bool:
        """Whether the two lie within the limit of each other."""
        return abs(self.ratio - 1) <= LIMIT

    def line(self) -> str:
        """Return the bar as one line of at most 80 columns."""
        name = max(self.others, key=lambda one: self.others[one])
        told = f"{self.number}, {self.threads} thread(s): {self.gmacs:.1f} GMAC/s"
        return f"{told:<36} {self.ratio:5.3f} of {name} ({self.others[name]:.1f})  {'met' if self.met else 'MISSED'}"


def other_peaks(threads: int, sizes: Sequence[int] = SIZES, seconds: float = 0.3) -> dict[str, dict[str, float]]:
    """Return the fastest products of numpy and, where it is installed, torch; in this process.

    Args:
        threads: Threads of torch; numpy takes what `OPENBLAS_NUM_THREADS` said when the process began.
        sizes: Sides of the square matrices.
        seconds: How long each product is repeated.

    Returns:
        `fp32` and `int8`, each from library and product to 10^9 multiply-accumulates a second.
    """
    found: dict[str, dict[str, float]] = {"fp32": {}, "int8": {}}
    for size in sizes:
        for (number, name), call in {**_numpy_calls(size), **_torch_calls(size, threads)}.items():
            gmacs = size**3 / (_fastest_s(call, seconds) * 1e9)
            found[number][name] = max(gmacs, found[number].get(name, 0.0))
    return found


def _numpy_calls(size: int) -> dict[tuple[str, str], Callable[[], object]]:
    draws = np.random.default_rng(0)
    left, right = (draws.random((size, size), np.float32) for _ in range(2))
    return {("fp32", "numpy"): partial(np.matmul, left, right, out=np.empty_like(left))}


def _torch_calls(size: int, threads: int) -> dict[tuple[str, str], Callable[[], object]]:
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(threads)
    draws = np.random.default_rng(0)
    left, right = (torch.from_numpy(draws.random((size, size), np.float32)) for _ in range(2))
    s8 = torch.from_numpy(draws.integers(-127, 127, (size, size), np.int8))
    calls: dict[tuple[str, str], Callable[[], object]] = {
        ("fp32", "torch.mm"): partial(torch.mm, left, right, out=torch.empty_like(left)),
        ("int8", "torch._int_mm"): partial(torch.ops.aten._int_mm, s8, s8),
    }
    for engine in {"onednn", "fbgemm"} & set(torch.backends.quantized.supported_engines):
        torch.backends.quantized.engine = engine
        packed = torch.ops.quantized.linear_prepack(torch.quantize_per_tensor(right, 0.01, 0, torch.qint8), None)
        source = torch.quantize_per_tensor(left, 0.01, 0, torch.quint8)
        calls["int8", f"torch {engine}"] = partial(torch.ops.quantized.linear, source, packed, 1.0, 0)
    return calls


def _fastest_s(call: Callable[[], object], seconds: float) -> float:
    call()
    fastest, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def _in_own_process(threads: int) -> dict[str, dict[str, float]]:
    environment = {name: value for name, value in os.environ.items() if name not in _SLOWER_KERNELS}
    environment |= {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    command = [
        sys.executable,
        "-P",
        "-W",
        "ignore",
        "-m",
        __spec__.name if __spec__ else "edgerec.benchmarks.peak_bars",
        "--others",
        str(threads),
    ]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def measure_bars(threads: int, turns: int = TURNS) -> list[PeakBar]:
    """Measure both sides in turns and keep the fastest of each."""
    ours = {"fp32": 0.0, "int8": 0.0}
    others: dict[str, dict[str, float]] = {"fp32": {}, "int8": {}}
    for _ in range(turns):
        peak = measure_peak(threads)
        for number, gmacs in (("fp32", peak.float_gmacs), ("int8", peak.int8_gmacs)):
            ours[number] = max(ours[number], gmacs)
        for number, found in _in_own_process(threads).items():
            others[number] |= {name: max(gmacs, others[number].get(name, 0.0)) for name, gmacs in found.items()}
    return [PeakBar(number, threads, gmacs, others[number]) for number, gmacs in ours.items() if others[number]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the record, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, usable_cores()}), help="numbers of threads to measure with")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "peak_bars.json")
    parser.add_argument("--others", type=int, metavar="THREADS", help="only print what the other libraries reach, as JSON")
    given = parser.parse_args(arguments)
    if given.others:
        print(json.dumps(other_peaks(given.others)))
        return 0
    check_writable(given.output)
    bars = [bar for threads in given.threads for bar in measure_bars(threads)]
    for bar in bars:
        print(bar.line())
    rows = [asdict(bar) | {"ratio": bar.ratio, "met": bar.met} for bar in bars]
    write_text(given.output, json.dumps({"machine": asdict(machine()), "versions": versions(), "bars": rows}, indent=1) + "\n")
    return int(not all(bar.met for bar in bars))


if __name__ == "__main__":
    sys.exit(main())
