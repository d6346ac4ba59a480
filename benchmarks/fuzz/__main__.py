"""Damage files of every kind and read them: each case gives an `EdgerecError` or a valid result.

    python -m edgerec.benchmarks.fuzz                          20,000 cases, a nightly run
    python -m edgerec.benchmarks.fuzz --kind image --first 4711 --cases 1    one case again

Cases run in processes of their own with limits on memory and time, so that a crash or a hang is a finding like any other. Ends with 1 when
there is one.
"""

import argparse
import collections
import sys
import time
from importlib.util import find_spec

from .driver import run_kind
from .targets import TARGETS
from .worker import work

SHARES = {"image": 0.4, "onnx": 0.2, "spec": 0.2, "npz": 0.1, "safetensors": 0.1}


def main() -> int:
    """Run the cases, print what they came to, and return 1 when one is a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=sorted(TARGETS), help="this kind alone")
    parser.add_argument("--cases", type=int, default=20_000, help="how many in all")
    parser.add_argument("--first", type=int, default=0, help="number of the first case; other numbers, other damages")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)  # in the process that reads
    given = parser.parse_args()
    if given.work:
        work(given.kind, given.first, given.cases)
        return 0
    faults = 0
    for kind in [given.kind] if given.kind else TARGETS:
        if find_spec(TARGETS[kind].needs) is None:
            print(f"{kind}: left out, {TARGETS[kind].needs} is not installed")
            continue
        faults += _report(kind, given.first, given.cases if given.kind else round(given.cases * SHARES[kind]))
    return int(faults > 0)


def _report(kind: str, first: int, count: int) -> int:
    start = time.perf_counter()
    outcomes = run_kind(kind, first, count)
    found = collections.Counter(one.found for one in outcomes)
    faults = [one for one in outcomes if one.found not in ("valid", "refused")]
    slowest = max((one.seconds for one in outcomes), default=0.0)
    print(
        f"{kind}: {len(outcomes):,} cases, {found['valid']:,} valid, {found['refused']:,} refused, {len(faults):,} findings; "
        f"{time.perf_counter() - start:.0f} s, slowest {slowest:.2f} s"
    )
    for one in faults[:20]:
        print(f"  --kind {kind} --first {one.case} --cases 1: {one.found}, {one.error}")
    return len(faults)


if __name__ == "__main__":
    sys.exit(main())
