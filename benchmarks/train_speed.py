"""What training costs: `cnn` five epochs on full MNIST, `resnet8` one epoch on Fashion-MNIST.

    python -m edgerec.benchmarks.train_speed

Each job is one `edgerec train` in its own process, timed whole (start, data, training, validation, test) and by its own metrics
(training steps alone). Writes `benchmarks/results/train_speed.json` beside this file unless told otherwise, and prints the table.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..runtime.files import write_text
from .records import machine, versions


@dataclass(frozen=True, slots=True)
class Job:
    """One training to time."""

    model: str
    data: str
    epochs: int


@dataclass(frozen=True, slots=True)
class Timed:
    """What a job took.

    Attributes:
        model: A model of the registry.
        data: A named data set, or whatever `--data` takes.
        epochs: Passes over the training images.
        command_s: Wall time of the whole command.
        training_s: Wall time of the training steps.
        images_per_s: Training images a second, one figure an epoch.
        test_top1: Accuracy on the test images, a fraction.
    """

    model: str
    data: str
    epochs: int
    command_s: float
    training_s: float
    images_per_s: tuple[float, ...]
    test_top1: float


JOBS = (Job("cnn", "mnist", 5), Job("resnet8", "fashion-mnist", 1))


def run(job: Job, folder: Path) -> Timed:
    """Train once in a fresh process; checkpoints go to `folder`.

    Raises:
        subprocess.CalledProcessError: The command failed; it has said why.
    """
    output = folder / f"{job.model}.safetensors"
    options = ["--model", job.model, "--data", job.data, "--epochs", str(job.epochs), "-o", str(output), "--json", "-q"]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-P", "-m", "edgerec", "train", *options], check=True, stdout=subprocess.PIPE, text=True)
    command_s = time.perf_counter() - start
    epochs = [json.loads(line) for line in output.with_suffix(".metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return Timed(
        model=job.model,
        data=job.data,
        epochs=job.epochs,
        command_s=round(command_s, 2),
        training_s=round(sum(epoch["seconds"] for epoch in epochs), 2),
        images_per_s=tuple(round(epoch["images_per_s"]) for epoch in epochs),
        test_top1=json.loads(done.stdout)["test"]["top1"],
    )


def main(arguments: Sequence[str] | None = None, jobs: Sequence[Job] = JOBS) -> int:
    """Time every job, print, and write the record; return the exit code of a command that failed, and write nothing then."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "train_speed.json")
    given = parser.parse_args(arguments)
    rows: list[Timed] = []
    with tempfile.TemporaryDirectory() as folder:
        for job in jobs:
            try:
                rows.append(run(job, Path(folder)))
            except subprocess.CalledProcessError as error:
                return error.returncode
            print(_line(rows[-1]), flush=True)
    record = {"machine": asdict(machine()), "versions": versions(), "rows": [asdict(row) for row in rows]}
    write_text(given.output, json.dumps(record, indent=1) + "\n")
    return 0


def _line(row: Timed) -> str:
    speed = " ".join(f"{value:,.0f}" for value in row.images_per_s)
    return (
        f"{row.model:10} {row.data:14} {row.epochs} epochs  command {row.command_s:7.1f} s  training {row.training_s:7.1f} s  "
        f"images/s {speed}  top-1 {row.test_top1:.2%}"
    )


if __name__ == "__main__":
    sys.exit(main())
