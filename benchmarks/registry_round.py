"""Every model of the registry, trained by its default recipe and scored on the test images.

    python -m edgerec.benchmarks.registry_round --data fashion-mnist --folder round

Each model is one `edgerec train` in its own process; what is finished is kept, so an interrupted round goes on where it stopped.
Writes `benchmarks/results/registry-DATA.json` beside this file unless told otherwise, and prints the table.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import cast

from ..runtime.files import write_text
from .records import machine, versions

MODELS = (
    "cnn",
    "rnn",
    "rnn_gru",
    "attention",
    "vit_tiny",
    "resnet8",
    "resnet20",
    "resnet32",
    "resnet56",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_lite0",
    "efficientnet_lite0_silu",
)


def train(model: str, data: str, folder: Path) -> dict[str, object]:
    """Train one model, or return what an earlier round kept of it."""
    kept = folder / f"{model}.json"
    if kept.is_file() and (row := json.loads(kept.read_text(encoding="utf-8")))["data"] == data:
        return row
    start = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "edgerec",
        "train",
        "--model",
        model,
        "--data",
        data,
        "-o",
        str(folder / f"{model}.safetensors"),
        "--json",
        "-q",
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row: dict[str, object] = {**json.loads(done.stdout), "model": model, "data": data, "seconds": round(time.perf_counter() - start, 1)}
    write_text(kept, json.dumps(row, indent=1))
    return row


def main() -> None:
    """Run the round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--folder", type=Path, default=Path("round"), help="where checkpoints and finished rows go")
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--output", type=Path, help="registry-DATA.json beside the other results by default")
    given = parser.parse_args()
    output = given.output or Path(__file__).parent / "results" / f"registry-{Path(given.data).stem}.json"
    given.folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for model in cast("list[str]", given.models):
        rows.append(train(model, given.data, given.folder))
        print_row(rows[-1])
    record = {"data": given.data, "machine": asdict(machine()), "versions": versions(), "rows": rows}
    write_text(output, json.dumps(record, indent=1) + "\n")


def print_row(row: dict[str, object]) -> None:
    """Print one line of the table."""
    test = cast("dict[str, float]", row["test"])
    print(
        f"{row['model']:26} {row['epochs']:>3} epochs  top-1 {test['top1']:.2%} ({test['low']:.2%} to {test['high']:.2%})  {row['seconds']:>7} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
