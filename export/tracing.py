"""A module as a raw ONNX graph, by either of torch's two exporters."""

import inspect
import logging
import tempfile
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch
from onnx import ModelProto
from onnxscript.optimizer import optimize_ir
from torch import nn
from torch.export import ExportedProgram

from ..graph.file import OPSET
from ..runtime.errors import ModelError
from ..train.evaluation import evaluating

Array = npt.NDArray[np.generic]
Exporter = Literal["dynamo", "torchscript"]
Axes = Mapping[str, Mapping[int, str]]

TRACED_BATCH = 2  # torch.export takes a batch of 1 for a constant
_DYNAMO_OPSET = 18  # the lowest that torch's newer exporter writes itself; `graph.exported.clean` goes down from there
_FOLD_UP_TO = 2**28  # elements; the exporter's own limit leaves the gates of an LSTM to be sorted again at every load


@dataclass(frozen=True, slots=True)
class Traced:
    """A graph as an exporter wrote it, constants folded.

    Attributes:
        model: The graph.
        cautions: What the exporter fixed silently: Python values that it read from tensors, with file and line.
    """

    model: ModelProto
    cautions: tuple[str, ...] = ()


def trace(exporter: Exporter, model: nn.Module | ExportedProgram, feeds: Mapping[str, Array], outputs: Sequence[str], free: Axes) -> Traced:
    """Run one of torch's exporters.

    `dynamo` reads the program (torch.export): it refuses what it cannot follow. `torchscript` records one run: Python values that depend on
    tensors are frozen as they were in it, which only the parity gate can find out.

    Args:
        exporter: Which one.
        model: What to export; a module is evaluated, and left in the mode that it was in. A program goes through `dynamo` alone.
        feeds: An example by input name, in the order of `forward`'s arguments.
        outputs: Names of the outputs, in their order.
        free: Per input, which axes may have any size, and their names.

    Raises:
        ModelError: The exporter cannot; the innermost cause is told.
    """
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    example = tuple(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in feeds.values())
    run = _dynamo if exporter == "dynamo" else _torchscript
    try:
        if isinstance(model, ExportedProgram):
            return _from_program(model, list(feeds), list(outputs), free)
        with evaluating(model), torch.no_grad():
            return run(model, example, list(feeds), list(outputs), free)
    # The exporters run the user's forward and wrap or pass on whatever they meet.
    except Exception as error:
        raise ModelError("torch cannot export this model", cause(error), _advice(error)) from error


def cause(error: BaseException) -> str:
    """Return the first line of the innermost error: the outer ones tell of the exporter's stages."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:300]


def _advice(error: Exception) -> str:
    told = f"{type(error).__name__} {cause(error)}"
    if "UnsupportedOperator" in told or "No ONNX function found" in told or "No decompositions registered" in told:
        return "write this operator with others, or keep it out of forward and run it behind the model"
    return "let forward neither branch on values nor fix the batch size"


def _dynamo(model: nn.Module, example: tuple[torch.Tensor, ...], inputs: list[str], outputs: list[str], free: Axes) -> Traced:
    # Height and width are left to torch: by a name of their own, every network that halves them would have to be described by hand.
    dims = {axis: torch.export.Dim(axis) if at == 0 else torch.export.Dim.DYNAMIC for axes in free.values() for at, axis in axes.items()}
    each = tuple({at: dims[axis] for at, axis in free.get(name, {}).items()} for name in inputs)
    takes_any = any(one.kind is one.VAR_POSITIONAL for one in inspect.signature(model.forward).parameters.values())
    shapes = (each,) if takes_any else each  # *inputs is one argument to torch.export
    with _quiet():
        program = torch.onnx.export(
            model,
            example,
            dynamo=True,
            verbose=False,  # None, the default, prints its progress
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes if dims else None,
            opset_version=_DYNAMO_OPSET,
        )
    return _folded(program, free)


def _from_program(program: ExportedProgram, inputs: list[str], outputs: list[str], free: Axes) -> Traced:
    with _quiet():
        exported = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=inputs, output_names=outputs, opset_version=_DYNAMO_OPSET
        )
    return _folded(exported, free)


def _folded(exported: torch.onnx.ONNXProgram | None, free: Axes) -> Traced:
    assert exported is not None  # it is, with dynamo=True
    optimize_ir(exported.model, input_size_limit=_FOLD_UP_TO, output_size_limit=_FOLD_UP_TO)
    graph = ir.to_proto(exported.model)
    _name_axes_(graph, free)
    return Traced(graph)


def _name_axes_(model: ModelProto, free: Axes) -> None:
    """Call the inputs' free axes by our names in place of torch's (s53), wherever they come back alone."""
    names: dict[str, str] = {}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        names |= {dims[at].dim_param: axis for at, axis in free.get(value.name, {}).items() if dims[at].dim_param}
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = names.get(dim.dim_param, dim.dim_param)


def _torchscript(model: nn.Module, example: tuple[torch.Tensor, ...], inputs: list[str], outputs: list[str], free: Axes) -> Traced:
    batch = {0: "batch"} if any("batch" in axes.values() for axes in free.values()) else {}
    with tempfile.TemporaryDirectory() as folder, _no_graphs(), warnings.catch_warnings(record=True) as told:
        file = Path(folder) / "model.onnx"
        warnings.simplefilter("ignore")  # it announces its own end at each call
        warnings.simplefilter("always", torch.jit.TracerWarning)  # pyright: ignore[reportPrivateImportUsage]  # it has no other name
        torch.onnx.export(
            model,
            example,
            file,
            dynamo=False,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={**{name: dict(axes) for name, axes in free.items()}, **dict.fromkeys(outputs, batch)},
            opset_version=OPSET,
        )
        recorded = onnx.load(file)
    edited = ir.from_proto(recorded)
    optimize_ir(edited, input_size_limit=_FOLD_UP_TO, output_size_limit=_FOLD_UP_TO)
    frozen = {f"{Path(one.filename).name}:{one.lineno}": str(one.message).split(" might cause")[0] for one in told}
    return Traced(ir.to_proto(edited), tuple(f"{what} ({where})" for where, what in frozen.items()))


@contextmanager
def _no_graphs() -> Generator[None]:
    """Keep the older exporter from printing the whole graph where an operator fails."""
    # Its switch does not work: torch 2.13 turns the log on at every export, and writes it to stdout, where --json is.
    log = torch._C._jit_onnx_log  # pyright: ignore[reportPrivateUsage]
    torch._C._jit_onnx_log = lambda *_: None  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    try:
        yield
    finally:
        torch._C._jit_onnx_log = log  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


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
