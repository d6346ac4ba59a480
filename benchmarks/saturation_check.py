"""Which int8 kernels saturate on which processor, and whether a file gives the same outputs on all of them.

    python -m edgerec.benchmarks.saturation_check
    python -m edgerec.benchmarks.saturation_check model.int8.onnx --data cifar10 --arm-root DIR

Runs this environment's onnxruntime on this processor and, emulated by QEMU (Debian: qemu-user), on a Haswell, which has AVX2 without VNNI.
With `--arm-root`, also on an ARM64 processor with dot products; `benchmarks.emulation.arm64` says what that folder holds.
Writes `benchmarks/results/saturation_check.json` beside this file unless told otherwise, and prints the figures.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..data import open_data
from ..graph.file import load_onnx, read_spec
from ..runtime.errors import ConfigError, DataError
from ..runtime.files import check_writable, write_text
from ..runtime.preprocess import prepare_feeds
from .emulation import Job, Machine, arm64, avx2, run, this_machine
from .int8_products import additions, products, quantized, reference
from .records import machine, versions


def kernels(machines: Sequence[Machine]) -> dict[str, dict[str, str]]:
    """Return, for each kind of product and each machine, `exact` or the share of outputs that are wrong."""
    kinds = products()
    exact = [one["y"] for one in run(this_machine(), [reference(one) for one in kinds])]
    found: dict[str, dict[str, str]] = {one.name: {} for one in kinds}
    for where in machines:
        for kind, right, answer in zip(kinds, exact, run(where, [quantized(one) for one in kinds]), strict=True):
            wrong = float(np.mean(answer["y"] != right))
            found[kind.name][where.name] = f"{wrong:.0%} wrong" if wrong else "exact"
    return found


def sums(machines: Sequence[Machine], count: int = 64) -> dict[str, dict[str, float]]:
    """Return, for each machine after the first, which share of quantized additions differs from the first one's, and by how many steps."""
    jobs = additions(count)
    answers = {where.name: np.stack([one["y"] for one in run(where, jobs)]).astype(np.int16) for where in machines}
    first = answers[machines[0].name]
    apart = {name: np.abs(other - first) for name, other in answers.items() if name != machines[0].name}
    return {name: {"share": float(np.mean(one > 0)), "largest_steps": int(one.max())} for name, one in apart.items()}


def agreement(file: Path, data: str, images: int, machines: Sequence[Machine]) -> dict[str, dict[str, float]]:
    """Return, for each machine after the first, how its outputs differ from the first one's.

    Args:
        file: An ONNX file with a spec of its input.
        data: A data set, as `--data` names it.
        images: How many of its validation images are run, one by one.
        machines: Where; the first is what the others are compared with.

    Raises:
        DataError: The file does not say how its input is prepared.
    """
    spec = read_spec(load_onnx(file))
    if spec is None:
        raise DataError("the file does not say how its input is prepared", file, "give a file that edgerec wrote")
    batches = open_data(data).validation.take(images).batches(1, spec.inputs)
    jobs = [Job(file.read_bytes(), prepare_feeds(batch.feeds, spec)) for batch in batches]
    outputs = {where.name: np.concatenate([next(iter(one.values())) for one in run(where, jobs)]) for where in machines}
    first = outputs[machines[0].name].astype(np.float64)
    return {name: _difference(first, other.astype(np.float64)) for name, other in outputs.items() if name != machines[0].name}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--data", default="mnist-8k")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--arm-root", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "saturation_check.json")
    given = parser.parse_args(arguments)
    check_writable(given.output)
    emulated = [avx2(), arm64(given.arm_root) if given.arm_root else None]
    machines = [this_machine(), *(one for one in emulated if one is not None)]
    if len(machines) == 1:
        raise ConfigError("there is no emulator", "qemu-x86_64", "install qemu-user on an x86 Linux")
    verdicts = kernels(machines)
    _print(verdicts)
    added = sums(machines)
    _print({"QLinearAdd against this machine": added})
    files = {one.name: agreement(one, given.data, given.images, machines) for one in given.files}
    _print(files)
    measured = {"kernels": verdicts, "additions": added, "data": given.data, "images": given.images, "files": files}
    record = {"machine": asdict(machine()), "versions": versions(), **measured}
    write_text(given.output, json.dumps(record, indent=1) + "\n")
    return 0


def _difference(first: np.ndarray, other: np.ndarray) -> dict[str, float]:
    noise = float(np.square(other - first).sum())
    return {
        "largest_difference": float(np.abs(other - first).max()),
        "same_class": float(np.mean(first.argmax(-1) == other.argmax(-1))),
        "sqnr_db": float(10 * np.log10(np.square(first).sum() / noise)) if noise else float("inf"),
    }


def _print(rows: Mapping[str, Mapping[str, object]]) -> None:
    for name, cells in rows.items():
        print(f"{name:48}", "; ".join(f"{where}: {cell}" for where, cell in cells.items()))


if __name__ == "__main__":
    sys.exit(main())
