"""Damage files of every kind and read them: each case gives an `EdgerecError` or a valid result.

    python -m edgerec.benchmarks.fuzz                          20,000 cases, a nightly run
    python -m edgerec.benchmarks.fuzz --kind image --first 4711 --cases 1    one case again

Cases run in processes of their own with limits on memory and time, so that a crash or a hang is a finding like any other. Ends with 1 when
there is one. `--output benchmarks/results/fuzz.json` keeps the counts.
"""

import argparse
import collections
import json
import sys
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from ...runtime.files import check_writable, write_text
from ..records import machine, versions
from .driver import run_kind
from .targets import TARGETS
from .worker import work

SHARES = {"image": 0.3, "onnx": 0.2, "spec": 0.15, "metadata": 0.15, "npz": 0.1, "safetensors": 0.1}


@dataclass(frozen=True, slots=True)
class Count:
    """What the cases of one kind came to, the seconds they took together, and the slowest one's."""

    kind: str
    cases: int
    valid: int
    refused: int
    seconds: float
    slowest_seconds: float

    @property
    def findings(self) -> int:
        """Cases that were neither valid nor refused."""
        return self.cases - self.valid - self.refused

    def line(self) -> str:
        """Return one line to print."""
        return (
            f"{self.kind}: {self.cases:,} cases, {self.valid:,} valid, {self.refused:,} refused, {self.findings:,} findings; "
            f"{self.seconds:.0f} s, slowest {self.slowest_seconds:.2f} s"
        )


def main() -> int:
    """Run the cases, print what they came to, and return 1 when one is a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=sorted(TARGETS), help="this kind alone")
    parser.add_argument("--cases", type=int, default=20_000, help="how many in all")
    parser.add_argument("--first", type=int, default=0, help="number of the first case; other numbers, other damages")
    parser.add_argument("--output", type=Path, help="write the counts there, as JSON")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)  # in the process that reads
    given = parser.parse_args()
    if given.work:
        work(given.kind, given.first, given.cases)
        return 0
    if given.output:
        check_writable(given.output)
    counts: list[Count] = []
    for kind in [given.kind] if given.kind else TARGETS:
        if find_spec(TARGETS[kind].needs) is None:
            print(f"{kind}: left out, {TARGETS[kind].needs} is not installed")
            continue
        counts.append(_run(kind, given.first, given.cases if given.kind else round(given.cases * SHARES[kind])))
    print(_sum(counts).line())
    if given.output:
        record = {"machine": asdict(machine()), "versions": versions(), "first": given.first}
        write_text(given.output, json.dumps(record | {"kinds": [asdict(one) for one in counts]}, indent=1) + "\n")
    return int(_sum(counts).findings > 0)


def _run(kind: str, first: int, cases: int) -> Count:
    start = time.perf_counter()
    outcomes = run_kind(kind, first, cases)
    found = collections.Counter(one.found for one in outcomes)
    slowest = max((one.seconds for one in outcomes), default=0.0)
    count = Count(kind, len(outcomes), found["valid"], found["refused"], time.perf_counter() - start, slowest)
    print(count.line())
    for one in [one for one in outcomes if one.found not in ("valid", "refused")][:20]:
        print(f"  --kind {kind} --first {one.case} --cases 1: {one.found}, {one.error}")
    return count


def _sum(counts: list[Count]) -> Count:
    return Count(
        "all",
        sum(one.cases for one in counts),
        sum(one.valid for one in counts),
        sum(one.refused for one in counts),
        sum(one.seconds for one in counts),
        max((one.slowest_seconds for one in counts), default=0.0),
    )


if __name__ == "__main__":
    sys.exit(main())
