"""What starting costs: the runtime's import against numpy and onnxruntime alone, and `edgerec --help`.

    python -m edgerec.benchmarks.start_up

Every command is a fresh process; the two imports alternate, so that drift hits both alike.
"""

import statistics
import subprocess
import sys
import time

# `import edgerec.runtime` alone loads nothing, so the whole runtime is named: what a product pays.
RUNTIME = "import edgerec.runtime; from edgerec.runtime import Recognizer; import onnxruntime"
BARE = "import numpy, onnxruntime"
RATIO_BAR = 1.15
HELP_BAR_S = 0.4


def seconds(command: list[str]) -> float:
    """Return the wall time of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(rounds: int = 21) -> int:
    """Measure, print, and return 1 when a bar is missed."""
    ratios: list[float] = []
    helps: list[float] = []
    for turn in range(rounds):
        order = [BARE, RUNTIME] if turn % 2 else [RUNTIME, BARE]
        took = {code: seconds([sys.executable, "-P", "-c", code]) for code in order}
        ratios.append(took[RUNTIME] / took[BARE])
        helps.append(seconds([sys.executable, "-P", "-m", "edgerec", "--help"]))
    ratio, help_s = statistics.median(ratios[1:]), statistics.median(helps[1:])  # the first round fills the disk cache
    print(f"import of the runtime / import of numpy and onnxruntime: {ratio:.3f} (bar {RATIO_BAR}, quartiles {_quartiles(ratios)})")
    print(f"edgerec --help: {help_s:.3f} s (bar {HELP_BAR_S}, quartiles {_quartiles(helps)})")
    return int(ratio > RATIO_BAR or help_s > HELP_BAR_S)


def _quartiles(values: list[float]) -> str:
    low, _, high = statistics.quantiles(values[1:], n=4)
    return f"{low:.3f} to {high:.3f}"


if __name__ == "__main__":
    sys.exit(main())
