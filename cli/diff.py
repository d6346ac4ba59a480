"""`edgerec diff`: the error of every tensor between two files."""

import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .console import Bar, print_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from ..benchmarks.difference import Difference, TensorDifference
    from ..data.splits import Split
    from ..runtime.spec import ModelSpec

EXAMPLE = "Example: edgerec diff small.onnx small.int8.onnx --data fashion-mnist"
COLUMNS = ["tensor", "operator", "type", "SQNR dB", "max diff", "largest", ""]
_BATCH = 16  # images; how many run at once follows from the memory that their tensors take
_LEAST_NAME = 12  # characters of a name that stay in a narrow terminal
_OPERATOR = 14


def diff(
    first: Annotated[Path, typer.Argument(help="The ONNX file to be right: the float one.")],
    second: Annotated[Path, typer.Argument(help="Another form of it: quantized, rewritten, or exported again.")],
    data: options.Data,
    split: Annotated[str, typer.Option("--split", help="Images to run: test, validation, calibration or train.")] = "validation",
    samples: Annotated[int, typer.Option("--samples", min=1, help="Images to run.")] = 64,
    least_db: Annotated[float, typer.Option("--least-db", help="A tensor with a smaller signal-to-noise ratio is bad.")] = 10.0,
    input_size: options.InputSize = None,
    mean: options.Mean = None,
    std: options.Std = None,
    scale: options.Scale = None,
    color: options.Color = None,
    layout: options.Layout = None,
    skip_bad: options.SkipBad = False,
    threads: options.Threads = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show where two files part: the error of every tensor that both have, the first bad one marked."""
    from ..benchmarks.difference import compare_tensors
    from ..graph.file import load_onnx, read_spec
    from ..runtime.spec import ModelSpec
    from .sources import open_images, tell_skipped

    models = load_onnx(first), load_onnx(second)
    images = open_images(data, skip_bad=skip_bad, quiet=quiet)
    known = [read_spec(model) for model in models]
    foreign = options.Foreign(input_size, mean, std, scale, color, layout)
    filled = foreign.fill(known[0] or known[1], first.name) or (None if images.inputs else ModelSpec(()))
    spec = options.required(filled, first)
    if known[0] and known[1] and known[0].inputs != known[1].inputs:
        say(f"{second.name} says that its images are prepared differently; it gets those of {first.name}", quiet=quiet)
    chosen = images.split(split).take(samples)
    with progress_bar("compare", len(chosen), quiet=quiet) as bar:
        found = compare_tensors(*models, _feeds(chosen, spec, bar), least_db=least_db, threads=threads)
    skipped = tell_skipped(chosen, quiet=quiet)
    print_table("", COLUMNS, _rows(found), quiet=quiet or json)
    say(_summary(found, least_db), quiet=quiet)
    if json:
        tensors = [
            {**asdict(one), "sqnr_db": _finite(one.sqnr_db), "max_abs": _finite(one.max_abs), "largest": _finite(one.largest)}
            for one in found.tensors
        ]
        print_json({**asdict(found), "tensors": tensors, "split": split, "skipped": skipped})


def _feeds(images: "Split", spec: "ModelSpec", bar: Bar) -> "Iterator[dict[str, np.ndarray]]":
    from ..runtime.preprocess import prepare_feeds

    for batch in images.batches(_BATCH, spec.inputs):
        yield prepare_feeds(batch.feeds, spec)
        bar.advance(len(batch.ids))


def _rows(found: "Difference") -> list[list[str]]:
    """Return a line for each tensor; names are cut in the middle where the terminal is narrow, not in a pipe."""
    rows = [_row(one, found.first_bad) for one in found.tensors]
    room = shutil.get_terminal_size((10_000, 24)).columns - sum(
        2 + max(map(len, column)) for column in zip(COLUMNS[2:], *(row[2:] for row in rows), strict=True)
    )
    operator = max(len(row[1]) for row in rows)
    if room < operator + 2 + max(len(row[0]) for row in rows):
        operator = min(operator, _OPERATOR)
    return [[_cut(row[0], max(_LEAST_NAME, room - 2 - operator)), _cut(row[1], operator), *row[2:]] for row in rows]


def _row(one: "TensorDifference", first_bad: str | None) -> list[str]:
    ratio = "equal" if one.sqnr_db == math.inf else f"{one.sqnr_db:.1f}"
    mark = "first bad" if one.name == first_bad else "bad" if one.bad else ""
    return [one.name, one.operator, one.dtype, ratio, f"{one.max_abs:.2g}", f"{one.largest:.3g}", mark]


def _cut(text: str, length: int) -> str:
    """Return a text of at most `length` characters; what distinguishes names is often at their end."""
    kept = length - 2
    return text if len(text) <= length else f"{text[: kept // 2]}..{text[len(text) - kept + kept // 2 :]}"


def _summary(found: "Difference", least_db: float) -> str:
    bad = sum(one.bad for one in found.tensors)
    told = f"{len(found.tensors)} tensors compared on {found.images} images, {len(found.unmatched)} are only in the first file"
    if not bad:
        return f"{told}; none is bad (below {least_db:g} dB, or 20 dB below what it is computed from)"
    return f"{told}; {bad} bad (below {least_db:g} dB, or 20 dB below what it is computed from), the first is {found.first_bad}"


def _finite(value: float) -> float | None:
    """Return a number that JSON has; None for infinity and NaN."""
    return value if math.isfinite(value) else None
