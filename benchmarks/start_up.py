"""What starting costs: the runtime's import against numpy and onnxruntime alone, and `edgerec --help`.

    python -m edgerec.benchmarks.start_up

Every command is a fresh process; the two imports alternate, so that drift hits both alike. Takes a minute on an otherwise idle machine.
Writes `benchmarks/results/start_up.json` beside this file unless told otherwise, prints the figures, and ends with 1 when a bar is missed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..runtime.files import check_writable, write_text
from .records import machine, versions

# `import edgerec.runtime` alone loads nothing, so the whole runtime is named: what a product pays.
RUNTIME = "import edgerec.runtime; from edgerec.runtime import Recognizer; import onnxruntime"
BARE = "import numpy, onnxruntime"
RATIO_BAR = 1.15
HELP_BAR_S = 0.4


def installed(folder: Path) -> dict[str, str]:
    """Return this process's environment, but with every module's bytecode kept in `folder`, from the first start on.

    As after an installation: pip compiles what it installs. Where PYTHONDONTWRITEBYTECODE is set, a checkout would be compiled at every start
    (19 ms) beside libraries that need none.
    """
    left = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return left | {"PYTHONPYCACHEPREFIX": str(folder)}


def seconds(command: list[str], environment: Mapping[str, str]) -> float:
    """Return the wall time of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some measurements, and the quartiles around it."""

    median: float
    low: float
    high: float


def measure(rounds: int) -> tuple[Spread, Spread]:
    """Return the import's time as a ratio to the bare import's, and the seconds of `edgerec --help`.

    Args:
        rounds: How often each is timed; one more comes first and fills the disk cache and the bytecode's folder.
    """
    ratios: list[float] = []
    helps: list[float] = []
    with TemporaryDirectory(prefix="edgerec-bytecode-") as name:
        environment = installed(Path(name))
        for turn in range(rounds + 1):
            order = [BARE, RUNTIME] if turn % 2 else [RUNTIME, BARE]
            took = {code: seconds([sys.executable, "-P", "-c", code], environment) for code in order}
            ratios.append(took[RUNTIME] / took[BARE])
            helps.append(seconds([sys.executable, "-P", "-m", "edgerec", "--help"], environment))
    return _spread(ratios[1:]), _spread(helps[1:])


def main(arguments: Sequence[str] | None = None, rounds: int = 20) -> int:
    """Measure, print, write the record, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "start_up.json")
    given = parser.parse_args(arguments)
    check_writable(given.output)
    ratio, help_s = measure(rounds)
    print(f"import of the runtime / import of numpy and onnxruntime: {_line(ratio)} (bar {RATIO_BAR})")
    print(f"edgerec --help, seconds: {_line(help_s)} (bar {HELP_BAR_S})")
    record = {
        "machine": asdict(machine()),
        "versions": versions(),
        "rounds": rounds,
        "import_ratio": asdict(ratio),
        "help_s": asdict(help_s),
        "bars": {"import_ratio": RATIO_BAR, "help_s": HELP_BAR_S},
    }
    write_text(given.output, json.dumps(record, indent=1) + "\n")
    return int(ratio.median > RATIO_BAR or help_s.median > HELP_BAR_S)


def _spread(values: list[float]) -> Spread:
    return Spread(statistics.median(values), *statistics.quantiles(values, n=4)[::2])


def _line(spread: Spread) -> str:
    return f"{spread.median:.3f}, quartiles {spread.low:.3f} to {spread.high:.3f}"


if __name__ == "__main__":
    sys.exit(main())
