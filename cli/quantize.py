"""`edgerec quantize`: float ONNX to int8 ONNX."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .console import Bar, print_json, print_table, progress_bar, say

if TYPE_CHECKING:
    import numpy as np
    from onnx import ModelProto

    from ..compress.quantization import Quantization, Quantized
    from ..data.splits import DataSet, Split
    from ..runtime.spec import ModelSpec

EXAMPLE = "Example: edgerec quantize small.onnx --data fashion-mnist -o small.int8.onnx"
CALIBRATION_BATCH = 32  # images; the ranges do not depend on it


def quantize(
    model: Annotated[Path, typer.Argument(help="A float ONNX file.")],
    data: options.Data,
    output: options.Output,
    method: Annotated[str, typer.Option("--method", help="How ranges follow from activations: percentile or minmax.")] = "percentile",
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Calibration images; 512, or as many as there are, by default.")
    ] = None,
    input_size: options.InputSize = None,
    mean: options.Mean = None,
    std: options.Std = None,
    scale: options.Scale = None,
    color: options.Color = None,
    layout: options.Layout = None,
    labels: options.Labels = None,
    scores: options.ScoresOption = None,
    skip_bad: options.SkipBad = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Quantize to 8 bits: U8 activations, S8 weights per channel, ranges from real calibration images."""
    from ..compress.quantization import Quantization
    from .sources import open_images, tell_skipped

    options.check_output(output, model)
    config = Quantization(method=method, samples=samples or Quantization().samples)  # type: ignore[arg-type]  # the record checks it
    images = open_images(data, skip_bad=skip_bad, quiet=quiet)
    foreign = options.Foreign(input_size, mean, std, scale, color, layout, labels, scores)
    result = quantize_file(model, images, output, config, foreign, quiet=quiet)
    skipped = tell_skipped(images.calibration, quiet=quiet)
    report = result.report
    if samples and report.images < samples:
        say(f"the data has {report.images} calibration images; {samples} were asked for", quiet=quiet)
    kinds = sorted({*report.quantized, *report.left_float})
    rows = [[kind, str(report.quantized.get(kind, 0)), str(report.left_float.get(kind, 0))] for kind in kinds]
    print_table("nodes", ["operator", "int8", "float"], rows, quiet=quiet or json)
    for note in report.notes:
        say(note, quiet=quiet)
    say(
        f"{report.size_bytes_before / 1e3:.1f} -> {report.size_bytes_after / 1e3:.1f} kB, ranges from {report.images} images: {output}",
        quiet=quiet,
    )
    if json:
        print_json({**asdict(report), "skipped": skipped, "output": str(output)})


def quantize_file(
    source: Path, images: "DataSet", output: Path, config: "Quantization", foreign: options.Foreign | None = None, *, quiet: bool = False
) -> "Quantized":
    """Quantize a file with a data set's calibration images and write the result."""
    from ..compress.quantization import quantize
    from ..graph.file import load_onnx, read_spec, save_onnx, with_spec
    from ..runtime.spec import ModelSpec
    from .sources import check_labels

    model = load_onnx(source)
    known = (foreign or options.Foreign()).fill(read_spec(model), source.name) or (None if images.inputs else ModelSpec(()))
    spec = _named_like(options.required(known, source), model)
    check_labels(spec, images, source.name)
    chosen = images.calibration.take(config.samples)
    with progress_bar("calibrate", len(chosen), quiet=quiet) as bar:
        # What was typed for a foreign file travels inside the new one.
        result = quantize(with_spec(model, spec), _feeds(chosen, spec, bar), config)
    save_onnx(result.model, output)
    return result


def _feeds(images: "Split", spec: "ModelSpec", bar: Bar) -> "Iterator[dict[str, np.ndarray]]":
    from ..runtime.preprocess import prepare_feeds

    for batch in images.batches(CALIBRATION_BATCH, spec.inputs):
        yield prepare_feeds(batch.feeds, spec)
        bar.advance(len(batch.ids))


def _named_like(spec: "ModelSpec", model: "ModelProto") -> "ModelSpec":
    """Give a spec made by hand the name of the model's only input."""
    weights = {one.name for one in model.graph.initializer}  # old files list them among the inputs
    names = [one.name for one in model.graph.input if one.name not in weights]
    return replace(spec, inputs=(replace(spec.input, name=names[0]),)) if len(names) == len(spec.inputs) == 1 else spec
