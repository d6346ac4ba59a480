"""What calibration costs beside the bare forward passes of the same images: time and memory.

    python -m edgerec.benchmarks.peers.calibration
    python -m edgerec.benchmarks.peers.calibration model.onnx --images 512 --threads 1

Without a file it takes `efficientnet_lite0` and its SiLU variant at 224 pixels with random weights, which needs edgerec[toolkit]. Bare and
observed passes alternate, each in a process of its own: the median ratio of their times counts, and the largest resident sets. Choosing
ranges by percentile, MSE and entropy afterwards is part of calibration's time. Takes two and a half minutes on an otherwise idle machine.
Writes `benchmarks/results/calibration.json` unless told otherwise, prints the figures, and ends with 1 when a bar is missed.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from ...graph.cleanup import normalise
from ...graph.execution import open_model
from ...graph.file import load_onnx, read_spec
from ...runtime.cache import cache_folder
from ...runtime.cores import usable_cores
from ...runtime.errors import EdgerecError, ModelError
from ...runtime.files import check_writable, write_text
from ...runtime.random_feeds import random_feeds
from ...runtime.session import Session
from ..records import machine, versions
from .bars import Bar, at_most
from .commands import Limits, last_object, run_command
from .models import CASES, float_file
from .table import bars_table

Feeds = dict[str, npt.NDArray[np.generic]]
Calibrate = Callable[[ModelProto, Iterator[Feeds], int, int], Mapping[str, float]]

RATIO = 2.0
EXTRA_MB = 250.0
FEW, MANY = 128, 1024
GROWTH_MB = 20.0  # of peak memory from 128 to 1,024 images that counts as none: allocators are not that repeatable
_CASES = ("efficientnet_lite0-224", "efficientnet_lite0_silu-224")
_DISTINCT = 16  # images, repeated: they should cost no memory to speak of

# Benchmarks stand below compression in the library, so what is measured comes in from outside.
_OBSERVED = """
import sys, time
from edgerec.benchmarks.peers.calibration import report
from edgerec.compress.quantization.calibration import observe
from edgerec.compress.quantization.grids import tensors_to_observe
from edgerec.compress.quantization.placement import find_units, needed
from edgerec.compress.quantization.ranges import choose_range

def calibrate(model, images, count, threads):
    found = observe(model, tensors_to_observe(model, needed(find_units(model))), images, count, threads=threads).tensors.values()
    took = {}
    for method in ("percentile", "mse", "entropy"):
        start = time.perf_counter()
        for one in found:
            choose_range(one, method)
        took[method] = time.perf_counter() - start
    return took

report(calibrate, *sys.argv[1:])
"""
_BARE = "import sys; from edgerec.benchmarks.peers.calibration import bare, report; report(bare, *sys.argv[1:])"


@dataclass(frozen=True, slots=True)
class Pass:
    """All images once.

    Attributes:
        seconds: Of the passes, without loading and clean-up; of an observed one without choosing ranges.
        choosing: By range method, seconds for all tensors; empty for a bare pass.
        peak_mb: Largest resident set of the process, 10^6 bytes.
    """

    seconds: float
    choosing: Mapping[str, float]
    peak_mb: float


def report(calibrate: Calibrate, path: str, images: str, threads: str) -> None:
    """Run one kind of pass in this process and print what it took; what a measured process does.

    Args:
        calibrate: From a prepared model, its images, their number and the threads to the seconds of what is timed apart.
        path: Of the float model.
        images: How many.
        threads: Of ONNX Runtime.
    """
    model = normalise(load_onnx(Path(path))).model
    spec = read_spec(model)
    inputs = open_model(model, threads=1).inputs
    distinct = [random_feeds(inputs, spec.inputs if spec else (), seed=seed) for seed in range(_DISTINCT)]
    start = time.perf_counter()
    choosing = calibrate(model, islice(cycle(distinct), int(images)), int(images), int(threads))
    seconds = time.perf_counter() - start - sum(choosing.values())
    print(json.dumps({"seconds": seconds, **choosing}))


def bare(model: ModelProto, images: Iterable[Feeds], _count: int, threads: int) -> dict[str, float]:
    """Run a model on its images, one by one, and throw the answers away."""
    session: Session = open_model(model, threads=threads)
    for feeds in images:
        session.run(feeds)
    return {}


def run_pass(program: str, path: Path, images: int, threads: int) -> Pass:
    """Run one kind of pass in a process of its own.

    Raises:
        ModelError: It fails.
    """
    run = run_command([sys.executable, "-P", "-c", program, str(path), str(images), str(threads)], Limits(threads=None))
    found = last_object(run.printed)
    if run.error or "seconds" not in found:
        raise ModelError("the passes cannot be measured", f"{path.name}: {run.error or 'nothing was printed'}", "give a float ONNX file")
    return Pass(found.pop("seconds"), found, run.peak_mb)


def measure(path: Path, images: int, threads: int, rounds: int) -> list[Bar]:
    """Return the bars of one model.

    Args:
        path: The float file.
        images: How many are passed.
        threads: Of both kinds of pass.
        rounds: How often both are timed.

    Raises:
        ModelError: The file cannot be run or calibrated.
    """
    pairs = [tuple(run_pass(program, path, images, threads) for program in (_BARE, _OBSERVED)) for _ in range(rounds)]
    methods = list(pairs[0][1].choosing)
    bars: list[Bar] = []
    for method in methods:
        ratio = statistics.median((observed.seconds + observed.choosing[method]) / plain.seconds for plain, observed in pairs)
        bars.append(at_most(f"{path.name}: {method}, {images} images, {threads} threads", ratio, RATIO, "x the bare passes"))
    extra = max(observed.peak_mb for _, observed in pairs) - min(plain.peak_mb for plain, _ in pairs)
    few, many = (run_pass(_OBSERVED, path, count, threads).peak_mb for count in (FEW, MANY))
    return [
        *bars,
        at_most(f"{path.name}: peak memory above the bare passes'", extra, EXTRA_MB, " MB"),
        at_most(f"{path.name}: peak memory of {MANY} images above that of {FEW}", many - few, GROWTH_MB, " MB"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the record, and return 1 when a bar is missed, 2 when it cannot be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder where ready files may lie")
    parser.add_argument("--work", type=Path, default=cache_folder() / "peers" / "work", help="folder of what is made")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parents[1] / "results" / "calibration.json")
    given = parser.parse_args(arguments)
    try:
        check_writable(given.output)
        given.work.mkdir(parents=True, exist_ok=True)
        make = partial(float_file, models=given.models, work=given.work.resolve())
        files = given.files or [make(name, CASES[name]) for name in _CASES]
        bars = [bar for path in files for bar in measure(path, given.images, given.threads, given.rounds)]
    except EdgerecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(bars_table(bars))
    record = {"machine": asdict(machine()), "versions": versions(), "images": given.images, "bars": [asdict(bar) for bar in bars]}
    write_text(given.output, json.dumps(record, indent=1) + "\n")
    return int(any(bar.met is False for bar in bars))


if __name__ == "__main__":
    sys.exit(main())
