"""What each correction brings: the same model, quantized with none, one and all of them.

    python -m edgerec.benchmarks.peers.ablation --models DIR --data cifar10=PATH

Runs `edgerec quantize --force` as a command for every column, with ranges by percentile, so that nothing else differs, and prints the
signal-to-noise ratio of the first output on test images, in dB. The last column is what a user gets without any option.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ...runtime.cache import cache_folder
from ...runtime.errors import EdgerecError
from ...runtime.files import write_text
from ...runtime.preprocess import prepare_feeds
from ...runtime.session import open_session
from ..noise import sqnr_db
from ..records import machine, versions
from .commands import EDGEREC, Limits, run_command
from .making import Subject, prepare
from .models import CASES, choose_cases, foreign_options

_FIXED = ("--force", "--method", "percentile")
COLUMNS: dict[str, tuple[str, ...]] = {
    "none": (*_FIXED, "--correct", "none"),
    "equalise": (*_FIXED, "--correct", "equalise"),
    "bias": (*_FIXED, "--correct", "bias"),
    "rounding": (*_FIXED, "--correct", "rounding"),
    "all": (*_FIXED,),
    "all and gates": (*_FIXED, "--correct", "equalise,bias,rounding,gates"),
    "all, ranges auto": ("--force",),
    "defaults": (),
}
_IMAGES = 1000
_LIMITS = Limits(seconds=900, threads=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and write the record."""
    given = _parser().parse_args(arguments)
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    data = {text.partition("=")[0]: text for text in given.data}
    rows: dict[str, dict[str, float | str]] = {}
    for name, case in choose_cases(given.cases).items():
        try:
            subject = prepare(name, case, given.models.resolve(), work, data)
            rows[name] = {column: _ratio(subject, options, work) for column, options in COLUMNS.items()}
        except EdgerecError as error:
            rows[name] = dict.fromkeys(COLUMNS, str(error))
        print(f"{name}: {rows[name]}", file=sys.stderr, flush=True)
        write_text(given.output, json.dumps({"machine": asdict(machine()), "versions": versions(), "sqnr_db": rows}, indent=1) + "\n")
    print(table(rows))
    return 0


def table(rows: dict[str, dict[str, float | str]]) -> str:
    """Return the figures as a Markdown table."""
    lines = [f"| model | {' | '.join(COLUMNS)} |", f"| --- | {' | '.join('---:' for _ in COLUMNS)} |"]
    for name, row in rows.items():
        cells = [f"{value:.1f}" if isinstance(value, float) else "-" for value in row.values()]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(subject: Subject, options: tuple[str, ...], work: Path) -> float | str:
    """Quantize, and return the first output's signal to noise on test images, dB, or why there is none."""
    output = work / f"{subject.name}.ablation.onnx"
    command = [*EDGEREC, "quantize", str(subject.path), "--data", subject.text, *foreign_options(subject.case.input), *options, "-q"]
    run = run_command([*command, "-o", str(output)], _LIMITS)
    if run.error:
        return run.error
    reference, answer = (_answers(path, subject) for path in (subject.path, output))
    return float(sqnr_db(reference, answer))


def _answers(path: Path, subject: Subject) -> np.ndarray:
    session = open_session(path, threads=1)
    batches = subject.images.test.take(_IMAGES).batches(32, subject.spec.inputs)
    return np.concatenate([session.predict(prepare_feeds(batch.feeds, subject.spec)) for batch in batches])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the models")
    parser.add_argument("--data", nargs="*", default=[], metavar="NAME=PATH", help="where data sets lie, as `edgerec --data` takes it")
    small = [name for name in CASES if not name.endswith("-224")]
    parser.add_argument("--cases", nargs="*", default=small, metavar="NAME", help="only these models")
    parser.add_argument("--work", type=Path, default=cache_folder() / "peers" / "work", help="folder of what is made")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parents[1] / "results" / "ablation.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
