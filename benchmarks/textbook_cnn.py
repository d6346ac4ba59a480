"""The textbook network on MNIST: five epochs, three seeds, the median against its bar.

    python -m edgerec.benchmarks.textbook_cnn

The bars: 98.5 % on MNIST's 10,000 test images, 96 % on mnist-8k's 2,000. Each training is one `edgerec train` in its own process.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BARS = {"mnist-8k": 0.96, "mnist": 0.985}
SEEDS = (0, 1, 2)


def top1(data: str, seed: int, folder: Path) -> float:
    """Train `cnn` by its recipe and return its accuracy on the test images, a fraction."""
    command = [sys.executable, "-m", "edgerec", "train", "--model", "cnn", "--data", data, "--seed", str(seed)]
    done = subprocess.run([*command, "-o", str(folder / "cnn.safetensors"), "--json", "-q"], check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout)["test"]["top1"])


def main() -> int:
    """Train, print, and return 1 when a bar is missed."""
    missed = 0
    for data, bar in BARS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = [top1(data, seed, Path(folder)) for seed in SEEDS]
        median = statistics.median(found)
        missed |= median < bar
        print(f"cnn on {data}: median {median:.2%} of {', '.join(f'{one:.2%}' for one in found)} (bar {bar:.1%})", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
