"""Edgerec and its peers on the same models, data and machine.

    python -m edgerec.benchmarks.peers --models DIR --data cifar10=PATH

Each tool runs as a command, each peer in a virtual environment of its own, which is made where it is missing (that downloads the peer).
Then all files are measured in one process: error against the float file, top-1, latency on one thread (interleaved), size. What was made is
kept in the work folder, failures too, so that an interrupted comparison goes on where it stopped; delete a `.json` there to try again.

A model that is not in DIR is a row that says so; `--list` says where each comes from. Takes an hour or more, on an otherwise idle machine.
Writes `benchmarks/results/peers.json` beside this package unless told otherwise, and prints the table.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...runtime.cache import cache_folder
from ...runtime.errors import EdgerecError
from ...runtime.files import check_writable, write_text
from ..latency import Timing
from ..records import machine, versions
from .bars import Bar, bars_of
from .commands import Limits
from .making import Maker, Subject, prepare
from .measuring import Row, as_json, measure
from .models import CASES, choose_cases
from .promptness import promptness
from .registry import PEERS, Peer, choose_peers
from .table import NOTE, bars_table, rows_table

PROMPT_CASE = "resnet20"


@dataclass(frozen=True, slots=True)
class Compared:
    """What came out for one model.

    Attributes:
        rows: One a file, the float file first; a single one where the model is missing.
        versions: By tool, package to version.
        subject: The model; None where it is missing.
    """

    rows: list[Row]
    versions: Mapping[str, Mapping[str, str]]
    subject: Subject | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared.

    Attributes:
        models: Folder of the models.
        data: What `--data` is given instead of a data set's name.
        peers: The tools beside edgerec.
        maker: How files are made.
        timing: How long latency is measured.
        images: Test images at most; None takes all.
    """

    models: Path
    data: Mapping[str, str]
    peers: Mapping[str, Peer]
    maker: Maker
    timing: Timing
    images: int | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print and write the record; end with 2 when an option is wrong."""
    given = _parser().parse_args(arguments)
    if given.list:
        print("\n".join(f"{name}: {' or '.join(case.files)}; {case.origin}" for name, case in CASES.items()))
        return 0
    try:
        check_writable(given.output)
        cases, plan = choose_cases(given.cases), _plan(given)
    except EdgerecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    bars: list[Bar] = []
    installed: dict[str, Mapping[str, str]] = {}
    for name in cases:
        found = compare(name, plan)
        rows += found.rows
        installed |= found.versions
        if found.subject is not None and name == PROMPT_CASE and not given.quick:
            say(f"{name}: how long a user waits ...")
            bars = promptness(found.subject)
        _write(given.output, plan, rows, [*bars_of(rows), *bars], installed)
        say(rows_table(found.rows))
    print(f"{rows_table(rows)}\n\n{NOTE}\n\n{bars_table([*bars_of(rows), *bars])}")
    return 0


def compare(name: str, plan: Plan) -> Compared:
    """Make and measure the files of one model; a model that is missing gives one row."""
    try:
        subject = prepare(name, CASES[name], plan.models, plan.maker.work, plan.data)
        made = [plan.maker.ours(subject), *(plan.maker.peers(subject, tool, peer) for tool, peer in plan.peers.items())]
        say(f"{name}: measure {sum(not one.error for one in made) + 1} files ...")
        return Compared(measure(subject, made, plan.timing, plan.images), {one.tool: one.versions for one in made}, subject)
    except EdgerecError as error:
        return Compared([Row(name, "-", error=str(error))], {})


def say(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the models")
    parser.add_argument("--data", nargs="*", default=[], metavar="NAME=PATH", help="where data sets lie, as `edgerec --data` takes it")
    parser.add_argument("--cases", nargs="*", default=list(CASES), metavar="NAME", help="only these models")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), metavar="NAME", help="only these peers; FILE.py is one of your own")
    parser.add_argument("--samples", type=int, default=512, help="calibration images")
    parser.add_argument("--images", type=int, help="test images at most; all by default")
    parser.add_argument("--threads", type=int, default=1, help="of every tool, as OMP_NUM_THREADS; 0 leaves each its default")
    parser.add_argument("--minutes", type=float, default=30.0, help="that one tool may take for one model")
    parser.add_argument("--megabytes", type=float, default=16_000.0, help="that one tool may use")
    parser.add_argument("--rounds", type=int, default=Timing().rounds, help="of the latency measurement")
    parser.add_argument("--venvs", type=Path, default=cache_folder() / "peers" / "venvs", help="folder of the peers' environments")
    parser.add_argument("--work", type=Path, default=cache_folder() / "peers" / "work", help="folder of what is made")
    parser.add_argument("--quick", action="store_true", help="leave out the two timed runs of `edgerec quantize` with a cold cache")
    parser.add_argument("--list", action="store_true", help="say which models there are, and end")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parents[1] / "results" / "peers.json")
    return parser


def _plan(given: argparse.Namespace) -> Plan:
    work, venvs = given.work.resolve(), given.venvs.resolve()
    for folder in (work, venvs):
        folder.mkdir(parents=True, exist_ok=True)
    limits = Limits(given.minutes * 60, given.megabytes, given.threads or None)
    data = {text.partition("=")[0]: text for text in given.data}
    maker = Maker(work, venvs, given.samples, limits, say)
    return Plan(given.models.resolve(), data, choose_peers(given.peers), maker, Timing(rounds=given.rounds), given.images)


def _write(output: Path, plan: Plan, rows: Sequence[Row], bars: Sequence[Bar], tools: Mapping[str, Mapping[str, str]]) -> None:
    record = {
        "machine": asdict(machine()),
        "versions": versions(),
        "tools": tools,
        "samples": plan.maker.samples,
        "limits": asdict(plan.maker.limits),
        "rows": [as_json(row) for row in rows],
        "bars": [asdict(bar) for bar in bars],
    }
    write_text(output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
