"""PyTorch to ONNX, and the proof that both give the same answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto

from ..graph.execution import open_model
from ..graph.exported import clean
from ..graph.file import with_spec, writing_onnx
from ..graph.half_rounding import rounding_like_half
from ..graph.parity import Answer, Parity, Tolerance
from ..graph.precision import half_inputs_outputs, half_precision
from ..runtime.errors import ConfigError, DataError, EdgerecError, GateError, ModelError
from ..runtime.files import check_writable
from ..runtime.spec import ModelSpec
from ..train.checkpoint import Checkpoint
from .answers import OUTPUT, Outputs, ask_file, check_answers
from .divergence import find_divergence
from .programs import Program
from .question import Question, ask_checkpoint, ask_program
from .tracing import Exporter, Traced, trace

Array = npt.NDArray[np.generic]
Choice = Literal["auto", "dynamo", "torchscript"]
Size = Literal["fixed", "free"]
Precision = Literal["fp32", "fp16", "fp16-io"]

# A rounding to float16 moves a value by up to 2^-11 = 0.05 % of it; some fifty layers add up to a few times that. Top-1 may change where two
# classes are closer than that, which random images often are.
HALF = Tolerance(max_abs=1e-2, cosine=0.999, top1_agreement=0.9)


@dataclass(frozen=True, slots=True)
class Exported:
    """An ONNX file that passed the parity gate.

    Attributes:
        path: Where it is.
        spec: What it says about itself.
        parity: How close it is to the PyTorch model, over all batches; of several outputs, the one that is farthest off. Of a float16 file,
            with every tensor rounded to float16, which a GPU does and a CPU does not.
        exporter: Which of torch's exporters wrote it.
        failed: Exporter to the reason why its file was not taken.
        cautions: Python values that the exporter froze as they were in the example.
        batch: The only number of images that the file takes; None for any.
        notes: What float16 cost: constants that were limited, or became 0.
    """

    path: Path
    spec: ModelSpec
    parity: Parity
    exporter: Exporter = "dynamo"
    failed: Mapping[str, str] = field(default_factory=dict[str, str])
    cautions: tuple[str, ...] = ()
    batch: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Job:
    """What every exporter's file is made of besides its graph, and judged by."""

    question: Question
    spec: ModelSpec
    path: Path
    tolerance: Tolerance
    run: Callable[[Path], Answer] | None
    precision: Precision
    settings: Mapping[str, object]


def to_onnx(
    model: Checkpoint | Program,
    path: Path,
    feeds: Mapping[str, Array],
    *,
    tolerance: Tolerance | None = None,
    run: Callable[[Path], Answer] | None = None,
    exporter: Choice = "auto",
    batch: int | None = None,
    size: Size = "fixed",
    precision: Precision = "fp32",
    order: Sequence[str] | None = None,
) -> Exported:
    """Write a model as an ONNX file with a free batch, after the file has given PyTorch's answers to real images.

    The input keeps its spec's name, the output is `logits` (or has the name of a dict's key), the spec is in the metadata. The gate runs
    the temporary file with one image and with all others at once, because an export may be right at one batch size only. torch has two
    exporters; where the first fails, or its file fails the gate, the second is tried, and the file says why. A `torch.export` program goes
    through the first alone, and says itself which of its axes are free.

    Args:
        model: What to export; it is not changed.
        path: Where to write.
        feeds: At least three real images by input name, as a data split gives them (uint8) or prepared (float32); other tensors as they are.
        tolerance: How far the file's answers may be from PyTorch's; by default `Tolerance()`, and `HALF` for float16.
        run: Opens a file as a function from feeds to its first output; by default ONNX Runtime on the CPU.
        exporter: `auto` tries `dynamo` first, then `torchscript`.
        batch: The only number of images that the file takes; by default any.
        size: `free` lets images have any height and width; the gate asks at two other sizes as well.
        precision: `fp16` stores and computes in float16, for GPUs, its inputs and outputs stay float32; `fp16-io` turns them as well.
        order: Every input by name in the order of forward's arguments, where some are no images; by default the spec's.

    Raises:
        ModelError: The model refuses its input or another size, or torch cannot export it.
        GateError: The answers differ; the first node that does is named. The old output is left, or none.
        ConfigError: Fewer than three images, inputs that the spec does not name, or words that are none of these.
        OutputError: The file cannot be written.
    """
    for what, word, known in (("exporter", exporter, Choice), ("size", size, Size), ("precision", precision, Precision)):
        if word not in get_args(known):
            raise ConfigError(f"unknown {what}", repr(word), f"choose one of {', '.join(get_args(known))}")
    check_writable(path)
    question, settings = _question(model, feeds, batch, size, order), _settings(batch, size, precision)
    tolerance = tolerance or (Tolerance() if precision == "fp32" else HALF)
    spec = model.spec if question.is_classifier or model.spec.labels else replace(model.spec, task="other")
    job = _Job(question, spec, path, tolerance, run, precision, settings)
    failures: dict[str, EdgerecError] = {}
    for one in _order(exporter, question):
        try:
            return _attempt(one, job, failures)
        except (ModelError, GateError) as error:
            failures[one] = error
    raise _combined(failures, job.settings)


def _question(
    model: Checkpoint | Program, feeds: Mapping[str, Array], batch: int | None, size: Size, order: Sequence[str] | None
) -> Question:
    if isinstance(model, Program):
        return ask_program(model, feeds, batch, free_size=size == "free")
    return ask_checkpoint(model, feeds, batch, free_size=size == "free", order=order)


def _settings(batch: int | None, size: Size, precision: Precision) -> dict[str, object]:
    """Return what was asked for besides the usual, for the file's history."""
    asked = {"batch": batch, "size": size, "precision": precision}
    return {name: value for name, value in asked.items() if value not in (None, "fixed", "fp32")}


def _order(choice: Choice, question: Question) -> Sequence[Exporter]:
    if question.program is None:
        return ("dynamo", "torchscript") if choice == "auto" else (choice,)
    if choice == "torchscript":
        raise ConfigError("the older exporter records modules, not programs", "--exporter torchscript", "leave --exporter out")
    return ("dynamo",)


def _attempt(exporter: Exporter, job: _Job, failures: Mapping[str, EdgerecError]) -> Exported:
    question = job.question
    source = question.module if question.program is None else question.program
    traced = trace(exporter, source, question.example, question.outputs, question.free)
    failed = {name: f"{error.problem}: {error.given}" for name, error in failures.items()}
    spec = _exported_spec(job, exporter, failed, traced.cautions)
    plain = clean(traced.model)
    final, notes, emulated = (plain, (), None) if job.precision == "fp32" else _halved(plain, job, traced)
    with writing_onnx(with_spec(final, spec), job.path) as temporary:
        answer = ask_file(temporary, question.outputs) if job.run is None else _first_output(job.run(temporary))
        try:
            parity = _gate(answer, question, job.tolerance)
        except GateError as error:
            raise _located(error, question, traced, plain) from error
    return Exported(job.path, spec, emulated or parity, exporter, failed, traced.cautions, question.batch, notes)


def _halved(plain: ModelProto, job: _Job, traced: Traced) -> tuple[ModelProto, tuple[str, ...], Parity]:
    """Return the float16 model, what it cost, and how close it is where float16 is really computed with.

    The float one is asked first: rounding would hide a small error of the exporter's.
    """
    question = job.question
    try:
        _gate(open_model(plain).run, question, Tolerance())
    except GateError as error:
        raise _located(error, question, traced, plain) from error
    half = half_precision(plain, question.batches[-1])
    try:
        parity = _gate(open_model(rounding_like_half(half.model), optimise=False).run, question, job.tolerance)
    except GateError as error:
        told = f"{error.given}; in float32 the file is right"
        raise GateError("float16 loses too much of this model", told, "leave --precision out, or keep large values small") from error
    return (half_inputs_outputs(half.model) if job.precision == "fp16-io" else half.model), half.notes, parity


def _gate(answer: Callable[[Mapping[str, Array]], Outputs], question: Question, tolerance: Tolerance) -> Parity:
    return check_answers(question.expected, [_answered(answer, one) for one in question.batches], tolerance)


def _first_output(opened: Answer) -> Callable[[Mapping[str, Array]], Outputs]:
    return lambda feeds: {OUTPUT: opened(feeds)}


def _answered(answer: Callable[[Mapping[str, Array]], Outputs], feeds: dict[str, Array]) -> Outputs:
    """Ask a file; what it refuses, though PyTorch took it, is a failed gate."""
    try:
        return answer(feeds)
    except DataError as error:
        raise GateError(
            "the exported file refuses what PyTorch takes", error.given, "try the other exporter, or fix the batch with --batch"
        ) from error


def _located(error: GateError, question: Question, traced: Traced, plain: ModelProto) -> GateError:
    """Add to a failed gate where the answers part."""
    try:
        told = find_divergence(question.module, traced.model, plain, question.batches, question.expected)
    except EdgerecError as other:
        told = f"where could not be found: {other.problem}"
    return GateError(error.problem, f"{error.given}; {told}", error.fix)


def _combined(failures: Mapping[str, EdgerecError], settings: Mapping[str, object]) -> EdgerecError:
    """Return the error of the only exporter, or one that tells what each of them met."""
    last = list(failures.values())[-1]
    ending = "; or leave --dynamic-size out" if settings.get("size") == "free" else ""
    if len(failures) == 1:
        return type(last)(last.problem, last.given, last.fix + ending)
    told = "; ".join(f"{name}: {error.problem}: {error.given}" for name, error in failures.items())
    fixes = dict.fromkeys(error.fix for error in failures.values())
    if any(isinstance(error, GateError) for error in failures.values()):
        return GateError("neither exporter's file gives PyTorch's answers", told, "; ".join(fixes) + ending)
    return ModelError("torch cannot export this model", told, next(iter(fixes)) + ending)


def _exported_spec(job: _Job, exporter: str, failed: Mapping[str, str], cautions: tuple[str, ...]) -> ModelSpec:
    known = job.spec.provenance
    versions = {**known.versions, "edgerec": version("edgerec"), "torch": str(torch.__version__), "onnxscript": version("onnxscript")}
    told: dict[str, object] = {"exporter": exporter, **job.settings}
    told |= {"failed": dict(failed)} if failed else {}
    told |= {"cautions": list(cautions)} if cautions else {}
    return replace(job.spec, provenance=replace(known, versions=versions).after("export", **told))
