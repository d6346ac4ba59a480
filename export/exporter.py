"""PyTorch to ONNX, and the proof that both give the same answers."""

import logging
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from onnx import ModelProto
from onnxscript.optimizer import optimize_ir
from torch import nn

from ..graph.exported import clean
from ..graph.file import with_spec, writing_onnx
from ..graph.parity import Answer, Parity, Tolerance, check, compare
from ..runtime.errors import ConfigError, ModelError
from ..runtime.files import check_writable
from ..runtime.preprocess import prepare_feeds
from ..runtime.session import open_session
from ..runtime.spec import ModelSpec
from ..train.checkpoint import Checkpoint
from ..train.evaluation import check_model, evaluating, predict_fn

Array = npt.NDArray[np.generic]

OUTPUT = "logits"
_TRACED_BATCH = 2  # torch.export takes a batch of 1 for a constant
_FEWEST_IMAGES = 3  # one alone, and two together
_EXPORTER_OPSET = 18  # the lowest that torch's exporter writes itself; `graph.exported.clean` goes down from there
_FOLD_UP_TO = 2**28  # elements; the exporter's own limit leaves the gates of an LSTM to be sorted again at every load


@dataclass(frozen=True, slots=True)
class Exported:
    """An ONNX file that passed the parity gate.

    Attributes:
        path: Where it is.
        spec: What it says about itself.
        parity: How close it is to the PyTorch model, over both batch sizes.
    """

    path: Path
    spec: ModelSpec
    parity: Parity


def to_onnx(
    checkpoint: Checkpoint,
    path: Path,
    feeds: Mapping[str, Array],
    *,
    tolerance: Tolerance | None = None,
    run: Callable[[Path], Answer] | None = None,
) -> Exported:
    """Write a model as an ONNX file with a free batch, after the file has given PyTorch's answers to real images.

    The input keeps its spec's name, the output is `logits`, the spec is in the metadata. The gate runs the temporary file with one image
    and with all others at once, because an export may be right at one batch size only.

    Args:
        checkpoint: What to export; it is not changed.
        path: Where to write.
        feeds: At least three real images by input name, as a data split gives them (uint8) or prepared (float32).
        tolerance: How far the file's logits may be from PyTorch's.
        run: Opens a file as a function from feeds to logits; by default ONNX Runtime on the CPU.

    Raises:
        ModelError: The model refuses its input, or torch cannot export it.
        GateError: The answers differ; the old output is left, or none.
        ConfigError: Fewer than three images, or inputs that the spec does not name.
        OutputError: The file cannot be written.
    """
    check_writable(path)
    prepared = _prepared(feeds, checkpoint.spec)
    check_model(checkpoint.model, checkpoint.spec)
    spec = _exported_spec(checkpoint.spec)
    model = with_spec(clean(_traced(checkpoint.model, prepared)), spec)
    with writing_onnx(model, path) as temporary:
        candidate = (run or _on_onnxruntime)(temporary)
        one, rest = ({name: array[part] for name, array in prepared.items()} for part in (slice(1), slice(1, None)))
        parity = compare(_on_torch(checkpoint.model), candidate, [one, rest])
        check(parity, tolerance or Tolerance())
    return Exported(path, spec, parity)


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


def _exported_spec(spec: ModelSpec) -> ModelSpec:
    versions = {
        **spec.provenance.versions,
        "edgerec": version("edgerec"),
        "torch": str(torch.__version__),
        "onnxscript": version("onnxscript"),
    }
    return replace(spec, provenance=replace(spec.provenance, versions=versions).after("export"))


def _traced(model: nn.Module, feeds: Mapping[str, Array]) -> ModelProto:
    """Return the graph as torch's exporter writes it, constants folded."""
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    example = tuple(torch.from_numpy(np.ascontiguousarray(array[:_TRACED_BATCH])).to(device) for array in feeds.values())
    batch = torch.export.Dim("batch")
    try:
        with _quiet(), evaluating(model), torch.no_grad():
            program = torch.onnx.export(
                model,
                example,
                dynamo=True,
                verbose=False,  # None, the default, prints its progress
                input_names=list(feeds),
                output_names=[OUTPUT],
                dynamic_shapes=tuple({0: batch} for _ in example),
                opset_version=_EXPORTER_OPSET,
            )
            assert program is not None  # it is, with dynamo=True
            optimize_ir(program.model, input_size_limit=_FOLD_UP_TO, output_size_limit=_FOLD_UP_TO)
    # The exporter runs the user's forward and wraps or passes on whatever it meets.
    except Exception as error:
        raise ModelError(
            "torch cannot export this model", _cause(error), "let forward neither branch on values nor fix the batch size"
        ) from error
    return ir.to_proto(program.model)


@contextmanager
def _quiet() -> Generator[None]:
    """Silence what torch's exporter says about itself; what it says about the model still comes through."""
    # It lists four torchvision operators as missing at every export; torchvision is optional here.
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch 2.13 uses its own deprecated class and function.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            warnings.filterwarnings("ignore", "_check_is_size will be removed", FutureWarning)
            # nn.LSTM and nn.GRU collect their weights for cuDNN anew when they are traced.
            warnings.filterwarnings("ignore", r"The tensor attributes .*_flat_weights", UserWarning)
            # Several inputs share one batch, and so its name.
            warnings.filterwarnings("ignore", "# The axis name: .* will not be used", UserWarning)
            yield
    finally:
        registration.setLevel(level)


def _cause(error: BaseException) -> str:
    """Return the first line of the innermost error: the outer ones tell of the exporter's stages."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:300]


def _on_torch(model: nn.Module) -> Answer:
    predict = predict_fn(model)

    def run(feeds: Mapping[str, Array]) -> Array:
        images = len(next(iter(feeds.values())))
        fix = "let forward take any batch size and return (N, classes)"
        try:
            logits = predict(feeds)
        # A user's forward may raise anything; torch.export traces some that take one batch size only.
        except Exception as error:
            raise ModelError("the model refuses a batch", f"{images} images ({_cause(error)})", fix) from error
        if len(logits) != images:
            raise ModelError("the model does not return one row of logits for each image", f"{images} images gave {logits.shape}", fix)
        return logits

    return run


def _on_onnxruntime(file: Path) -> Answer:
    session = open_session(file)
    return lambda feeds: session.run(feeds)[OUTPUT]
