"""`edgerec quantize`: float ONNX to int8 ONNX, or to a plainer float file."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .console import Bar, progress_bar, say
from .quantize_report import show, show_trials, write_record

if TYPE_CHECKING:
    import numpy as np
    from onnx import ModelProto

    from ..benchmarks.metric import Metric
    from ..compress.quantization import Corrections, Limit, Quantization, Quantized
    from ..compress.quantization.kernels import TimesOf
    from ..data.splits import DataSet, Split
    from ..runtime.spec import ModelSpec

EXAMPLE = "Example: edgerec quantize small.onnx --data fashion-mnist --max-drop 0.5 -o small.int8.onnx"
CALIBRATION_BATCH = 32  # images; the ranges do not depend on it
PRECISIONS = ("int8", "fp16", "fp32")
CORRECTIONS = {"equalise": "equalise", "bias": "correct_bias", "rounding": "round_weights", "gates": "open_gates"}


def quantize(
    model: Annotated[Path, typer.Argument(help="A float ONNX file.")],
    output: options.Output,
    data: Annotated[
        str | None, typer.Option("--data", help="Calibration images: a data set's name, a folder, an .npz or module:function.")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="How ranges follow from activations: auto, minmax, percentile, mse or entropy.")
    ] = "auto",
    percentile: Annotated[
        float, typer.Option("--percentile", help="Share of the values inside a range, for --method percentile.")
    ] = 99.999,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Calibration images; 512, or as many as there are, by default.")
    ] = None,
    target: Annotated[
        str, typer.Option("--target", help="What the file is made for: host, x86-vnni, x86-avx2, arm-dot, any, tensorrt, openvino or qnn.")
    ] = "host",
    max_drop: Annotated[
        float | None, typer.Option("--max-drop", min=0, help="Points of top-1 that may be lost on validation images, with 95 % confidence.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="package.module:function that returns your own score, for --max-drop.")
    ] = None,
    keep_float: Annotated[
        list[str] | None, typer.Option("--keep-float", help="Name of a node, or a pattern with *, that stays float; more than once.")
    ] = None,
    op_types: Annotated[str | None, typer.Option("--op-types", help="Operators that may be int8, with commas between them.")] = None,
    layers: Annotated[Path | None, typer.Option("--layers", help="TOML file with [[layer]] rules for single layers.")] = None,
    correct: Annotated[
        str, typer.Option("--correct", help="Corrections against the error: equalise, bias and rounding, gates (costs time); or none.")
    ] = "equalise,bias,rounding",
    precision: Annotated[str, typer.Option("--precision", help="int8; or fp16 or fp32, which write a float file.")] = "int8",
    statistics: Annotated[
        Path | None, typer.Option("--statistics", help="Keep what calibration saw in this file, or use it instead of images.")
    ] = None,
    kernel_times: Annotated[
        Path | None, typer.Option("--kernel-times", help="Table of the target's kernel times instead of measuring here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Make int8 what can be, even where that is slower.")] = False,
    require_int8: Annotated[bool, typer.Option("--require-int8", help="Fail where everything would stay float.")] = False,
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
    """Quantize to 8 bits: clean up, calibrate on real images, correct, and keep float what is faster or better so."""
    from ..compress.quantization import Quantization, Rules
    from ..compress.quantization.overrides import read_layers
    from .sources import open_images, tell_skipped

    options.check_output(output, model)
    foreign = options.Foreign(input_size, mean, std, scale, color, layout, labels, scores)
    if precision != "int8":
        _write_float(model, output, _checked_precision(precision), kernel_times, quiet=quiet)
        return
    config = Quantization(
        method=method,  # type: ignore[arg-type]  # the record checks it
        percentile=percentile,
        samples=samples or Quantization().samples,
        target=target,
        rules=Rules(tuple(keep_float or ()), tuple(one.strip() for one in op_types.split(",")) if op_types else ()),
        layers=read_layers(layers) if layers else (),
        corrections=_corrections(correct),
        speed="int8" if force else "fastest",
    )
    images = open_images(data, skip_bad=skip_bad, quiet=quiet) if data else None
    result = quantize_file(
        model,
        images,
        output,
        config,
        foreign,
        limit=_Wish(max_drop, metric),
        statistics=statistics,
        kernel_times=kernel_times,
        require_int8=require_int8,
        quiet=quiet,
    )
    skipped = tell_skipped(images.calibration, quiet=quiet) if images else 0
    if images and samples and result.report.images < samples:
        say(f"the data has {result.report.images} calibration images; {samples} were asked for", quiet=quiet)
    show(result.report, output, write_record(result, output), json=json, quiet=quiet, skipped=skipped)


class _Wish:
    """What the options say about accuracy; a limit once images and spec are known."""

    def __init__(self, max_drop: float | None = None, metric: str | None = None) -> None:
        from ..runtime.errors import ConfigError

        if metric is not None and max_drop is None:
            raise ConfigError("--metric needs to know how much may be lost", metric, "give --max-drop in the metric's own unit")
        self.max_drop, self.metric = max_drop, metric

    def limit(self, images: "DataSet | None", spec: "ModelSpec") -> "Limit | None":
        from ..benchmarks.metric import load_metric
        from ..compress.quantization import Budget, Limit
        from ..compress.quantization.judges import judge_by, judge_top1
        from ..runtime.errors import ConfigError

        if self.max_drop is None:
            return None
        if images is None:
            raise ConfigError("--max-drop needs validation images", "no --data", "give --data")
        validation = images.validation
        metric: Metric | None = load_metric(self.metric) if self.metric else None
        return Limit(
            Budget(self.max_drop),
            lambda reference, candidate, budget: (
                judge_by(metric, reference, candidate, validation, spec, budget)
                if metric
                else judge_top1(reference, candidate, validation, spec, budget)
            ),
        )


def quantize_file(
    source: Path,
    images: "DataSet | None",
    output: Path,
    config: "Quantization",
    foreign: options.Foreign | None = None,
    *,
    limit: _Wish | None = None,
    statistics: Path | None = None,
    kernel_times: Path | None = None,
    require_int8: bool = False,
    quiet: bool = False,
) -> "Quantized":
    """Quantize a file with a data set's calibration images and write the result."""
    from ..compress.quantization import calibrate, load_statistics, quantize, save_statistics
    from ..compress.quantization.budget import BudgetError
    from ..graph.file import load_onnx, read_spec, save_onnx, with_spec
    from ..runtime.errors import ConfigError, GateError
    from ..runtime.spec import ModelSpec
    from .sources import check_labels

    if images is None and (statistics is None or not statistics.is_file()):
        raise ConfigError("calibration needs images", "neither --data nor an existing --statistics file", "give --data")
    model = load_onnx(source)
    known = (foreign or options.Foreign()).fill(read_spec(model), source.name) or (
        None if images is None or images.inputs else ModelSpec(())
    )
    spec = _named_like(options.required(known, source), model)
    if images is not None:
        check_labels(spec, images, source.name)
    chosen = images.calibration.take(config.samples) if images is not None else None
    described = with_spec(model, spec)  # what was typed for a foreign file travels inside the new one
    kept = None
    if statistics is not None:
        if not statistics.is_file() and chosen is not None:
            with progress_bar("calibrate", len(chosen), quiet=quiet) as bar:
                save_statistics(calibrate(described, _feeds(chosen, spec, bar), config, images.fingerprint if images else ""), statistics)
        kept = load_statistics(statistics)
        if images is not None and kept.key.data != images.fingerprint:
            raise ConfigError("the statistics were taken from other images", statistics, "leave out --data, or name a new file")
    with progress_bar("quantize", len(chosen) if chosen is not None else 1, quiet=quiet) as bar:
        feeds = _feeds(chosen, spec, bar) if chosen is not None else ()
        wished = limit.limit(images, spec) if limit else None
        try:
            result = quantize(described, feeds, config, statistics=kept, limit=wished, times_of=_times(kernel_times), tell=bar.label)
        except BudgetError as error:
            show_trials(error.tried, quiet=quiet)
            raise
    if require_int8 and result.report.is_float:
        raise GateError("nothing became int8", "; ".join(result.report.notes), "leave out --require-int8, or give --force")
    save_onnx(result.model, output)
    return result


def _times(table: Path | None) -> "TimesOf | None":
    if table is None:
        return None
    from ..benchmarks.kernel_times import load_times

    times = load_times(table)
    return lambda _kernels: times


def _corrections(text: str) -> "Corrections":
    from ..compress.quantization import Corrections
    from ..runtime.errors import ConfigError

    names = [] if text == "none" else [one.strip() for one in text.split(",")]
    unknown = sorted(set(names) - CORRECTIONS.keys())
    if unknown:
        raise ConfigError("unknown correction", ", ".join(unknown), f"choose among {', '.join(CORRECTIONS)}, or none")
    return Corrections(**{field: name in names for name, field in CORRECTIONS.items()})


def _checked_precision(text: str) -> str:
    from ..runtime.errors import ConfigError

    if text not in PRECISIONS:
        raise ConfigError("unknown precision", repr(text), f"choose one of {', '.join(PRECISIONS)}")
    return text


def _write_float(source: Path, output: Path, precision: str, kernel_times: Path | None, *, quiet: bool) -> None:
    """Write the model in plain form, in 32 bits shaped for the kernels, or in 16."""
    from ..compress.quantization.float_shaping import fastest_float
    from ..graph.cleanup import normalise
    from ..graph.copying import size_of
    from ..graph.file import load_onnx, read_spec, save_onnx, with_spec
    from ..graph.precision import half_precision

    times = _times(kernel_times)
    model = load_onnx(source)
    if precision == "fp16":
        half = half_precision(normalise(model).model)
        plain, notes = half.model, half.notes
    else:
        shaped = fastest_float(model, times)
        plain, notes = shaped.model, (*(f"{one.what}: {', '.join(one.nodes)}" for one in shaped.rewrites), *shaped.notes)
    if (spec := read_spec(model)) is not None:
        plain = with_spec(plain, replace(spec, provenance=spec.provenance.after("convert", precision=precision)))
    save_onnx(plain, output)
    for note in notes:
        say(note, quiet=quiet)
    say(f"{size_of(model) / 1e3:.1f} -> {size_of(plain) / 1e3:.1f} kB, {precision}: {output}", quiet=quiet)


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
