"""PyTorch to ONNX, and the proof that both give the same answers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto
from torch import nn

from ..graph.exported import clean
from ..graph.file import with_spec, writing_onnx
from ..graph.parity import Answer, Parity, Tolerance
from ..runtime.errors import ConfigError, DataError, EdgerecError, GateError, ModelError
from ..runtime.files import check_writable
from ..runtime.preprocess import prepare_feeds
from ..runtime.spec import ModelSpec
from ..train.checkpoint import Checkpoint
from ..train.evaluation import check_model
from .answers import OUTPUT, Flat, Outputs, ask_file, ask_torch, check_answers, name_outputs, run_torch
from .divergence import find_divergence
from .tracing import TRACED_BATCH, Exporter, Traced, cause, trace

Array = npt.NDArray[np.generic]
Choice = Literal["auto", "dynamo", "torchscript"]

_FEWEST_IMAGES = 3  # one alone, and two together


@dataclass(frozen=True, slots=True)
class Exported:
    """An ONNX file that passed the parity gate.

    Attributes:
        path: Where it is.
        spec: What it says about itself.
        parity: How close it is to the PyTorch model, over both batch sizes; of several outputs, the one that is farthest off.
        exporter: Which of torch's exporters wrote it.
        failed: Exporter to the reason why its file was not taken.
        cautions: Python values that the exporter froze as they were in the example.
    """

    path: Path
    spec: ModelSpec
    parity: Parity
    exporter: Exporter = "dynamo"
    failed: Mapping[str, str] = field(default_factory=dict[str, str])
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Question:
    """What every exporter is given, and what its file must answer."""

    module: nn.Module
    batches: tuple[dict[str, Array], ...]
    expected: tuple[Outputs, ...]
    fixed: int | None


def to_onnx(
    checkpoint: Checkpoint,
    path: Path,
    feeds: Mapping[str, Array],
    *,
    tolerance: Tolerance | None = None,
    run: Callable[[Path], Answer] | None = None,
    exporter: Choice = "auto",
    batch: int | None = None,
) -> Exported:
    """Write a model as an ONNX file with a free batch, after the file has given PyTorch's answers to real images.

    The input keeps its spec's name, the output is `logits` (or has the name of a dict's key), the spec is in the metadata. The gate runs
    the temporary file with one image and with all others at once, because an export may be right at one batch size only. torch has two
    exporters; where the first fails, or its file fails the gate, the second is tried, and the file says why.

    Args:
        checkpoint: What to export; it is not changed.
        path: Where to write.
        feeds: At least three real images by input name, as a data split gives them (uint8) or prepared (float32).
        tolerance: How far the file's answers may be from PyTorch's.
        run: Opens a file as a function from feeds to its first output; by default ONNX Runtime on the CPU.
        exporter: `auto` tries `dynamo` first, then `torchscript`.
        batch: The only number of images that the file takes; by default any.

    Raises:
        ModelError: The model refuses its input, or torch cannot export it.
        GateError: The answers differ; the first node that does is named. The old output is left, or none.
        ConfigError: Fewer than three images, or inputs that the spec does not name.
        OutputError: The file cannot be written.
    """
    if exporter not in get_args(Choice):
        raise ConfigError("unknown exporter", repr(exporter), f"choose one of {', '.join(get_args(Choice))}")
    check_writable(path)
    prepared = _prepared(feeds, checkpoint.spec)
    question = _question(checkpoint, prepared, batch)
    failures: dict[str, EdgerecError] = {}
    for one in _order(exporter):
        try:
            return _attempt(one, question, checkpoint.spec, path, tolerance or Tolerance(), run, failures)
        except (ModelError, GateError) as error:
            failures[one] = error
    raise _combined(failures)


def _order(choice: Choice) -> Iterator[Exporter]:
    if choice in ("auto", "dynamo"):
        yield "dynamo"
    if choice in ("auto", "torchscript"):
        yield "torchscript"


def _question(checkpoint: Checkpoint, prepared: dict[str, Array], batch: int | None) -> _Question:
    model, sizes = checkpoint.model, _portions(min(map(len, prepared.values())), batch)
    plain = _returns_tensor(model, prepared, batch)
    if plain and batch is None:
        check_model(model, checkpoint.spec)
    batches = tuple({name: array[part] for name, array in prepared.items()} for part in sizes)
    return _Question(model if plain else Flat(model), batches, tuple(ask_torch(model, one) for one in batches), batch)


def _portions(count: int, batch: int | None) -> list[slice]:
    """Return one image and all others; with a fixed batch, as many whole ones as there are."""
    if batch is None:
        return [slice(1), slice(1, count)]
    if not 1 <= batch <= count:
        raise ConfigError("the fixed batch needs that many images for the gate", f"--batch {batch}, {count} images", f"give 1 to {count}")
    return [slice(at, at + batch) for at in range(0, count - batch + 1, batch)]


def _returns_tensor(model: nn.Module, prepared: Mapping[str, Array], batch: int | None) -> bool:
    """Whether forward gives one tensor; what it raises is told."""
    given = ", ".join(f"{name} {array.shape[1:]}" for name, array in prepared.items())
    try:
        result = run_torch(model, {name: array[: batch or TRACED_BATCH] for name, array in prepared.items()})
    except Exception as error:  # a user's forward may raise anything
        fix = (
            f"forward takes other arguments than {', '.join(prepared)}"
            if isinstance(error, TypeError)
            else "check --input-size and the model"
        )
        raise ModelError("the model refuses its input", f"{given} ({cause(error)})", fix) from error
    return isinstance(result, torch.Tensor) or not name_outputs(result)


def _attempt(
    exporter: Exporter,
    question: _Question,
    spec: ModelSpec,
    path: Path,
    tolerance: Tolerance,
    run: Callable[[Path], Answer] | None,
    failures: Mapping[str, EdgerecError],
) -> Exported:
    names = list(question.expected[0])
    example = {name: array[: question.fixed or TRACED_BATCH] for name, array in question.batches[-1].items()}
    free = {} if question.fixed else {name: {0: "batch"} for name in example}
    traced = trace(exporter, question.module, example, names, free)
    failed = {name: f"{error.problem}: {error.given}" for name, error in failures.items()}
    spec = _exported_spec(spec, exporter, failed, traced.cautions)
    plain = clean(traced.model)
    with writing_onnx(with_spec(plain, spec), path) as temporary:
        answer = ask_file(temporary, names) if run is None else _first_output(run(temporary))
        try:
            parity = check_answers(question.expected, [_answered(answer, one) for one in question.batches], tolerance)
        except GateError as error:
            raise _located(error, question, traced, plain) from error
    return Exported(path, spec, parity, exporter, failed, traced.cautions)


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


def _located(error: GateError, question: _Question, traced: Traced, plain: ModelProto) -> GateError:
    """Add to a failed gate where the answers part."""
    try:
        told = find_divergence(question.module, traced.model, plain, question.batches, question.expected)
    except EdgerecError as other:
        told = f"where could not be found: {other.problem}"
    return GateError(error.problem, f"{error.given}; {told}", error.fix)


def _combined(failures: Mapping[str, EdgerecError]) -> EdgerecError:
    """Return the error of the only exporter, or one that tells what each of them met."""
    last = list(failures.values())[-1]
    if len(failures) == 1:
        return last
    told = "; ".join(f"{name}: {error.problem}: {error.given}" for name, error in failures.items())
    fixes = dict.fromkeys(error.fix for error in failures.values())
    if any(isinstance(error, GateError) for error in failures.values()):
        return GateError("neither exporter's file gives PyTorch's answers", told, "; ".join(fixes))
    return ModelError("torch cannot export this model", told, next(iter(fixes)))


def _prepared(feeds: Mapping[str, Array], spec: ModelSpec) -> dict[str, Array]:
    """Return the arrays in the order of the spec's inputs, which is the order of `forward`'s arguments."""
    names = [one.name for one in spec.inputs]
    if sorted(feeds) != sorted(names) or not names:
        raise ConfigError("the images do not fit the model's inputs", ", ".join(feeds) or "none", f"give arrays named {', '.join(names)}")
    prepared = prepare_feeds({name: feeds[name] for name in names}, spec)
    for one in spec.inputs:
        if prepared[one.name].shape[1:] != one.shape:
            raise ConfigError(
                "the images have another shape than the model's input", f"{one.name}: {prepared[one.name].shape}", f"give (N, {one.shape})"
            )
    if min(len(array) for array in prepared.values()) < _FEWEST_IMAGES:
        raise ConfigError("the parity gate needs at least three images", min(map(len, feeds.values())), "give a batch of real images")
    return prepared


def _exported_spec(spec: ModelSpec, exporter: str, failed: Mapping[str, str], cautions: tuple[str, ...]) -> ModelSpec:
    versions = {
        **spec.provenance.versions,
        "edgerec": version("edgerec"),
        "torch": str(torch.__version__),
        "onnxscript": version("onnxscript"),
    }
    told: dict[str, object] = {"exporter": exporter}
    told |= {"failed": dict(failed)} if failed else {}
    told |= {"cautions": list(cautions)} if cautions else {}
    return replace(spec, provenance=replace(spec.provenance, versions=versions).after("export", **told))
