"""Where a file parts from PyTorch: whose fault it is, and the first node that is wrong."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto
from torch import Tensor, nn

from ..graph.execution import open_model
from ..runtime.errors import DataError
from .answers import run_torch

Array = npt.NDArray[np.generic]
Feeds = Mapping[str, Array]

_TOLERANCE = 1e-4  # of a tensor's largest value, as in `graph.parity.Tolerance`
_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(slots=True)
class _Seen:
    """What one module gave in PyTorch, and which tensors it read (by identity; `held` keeps them from being freed)."""

    path: str
    array: Array
    made: int
    read: set[int] = field(default_factory=set)


def find_divergence(
    module: nn.Module, raw: ModelProto, plain: ModelProto, batches: Sequence[Feeds], expected: Sequence[Mapping[str, Array]]
) -> str:
    """Say who made a file wrong, and at which node.

    Three graphs are run against PyTorch's answers, each as it is written: the exporter's, the same after our clean-up, and the cleaned one
    under ONNX Runtime's optimiser. The first that is wrong names the culprit.

    Args:
        module: The model in PyTorch.
        raw: The exporter's graph.
        plain: The cleaned graph, which the file holds.
        batches: What both were asked.
        expected: PyTorch's answers.

    Raises:
        ModelError: A graph cannot be run.
    """
    for feeds, answers in zip(batches, expected, strict=True):
        size = f"at batch {len(next(iter(feeds.values())))}"
        try:
            given = _run(raw, feeds)
        except DataError as error:
            return f"{size} the exporter's graph is wrong; it takes {error.fix.removeprefix('it takes ')}"
        if _is_off(answers, given):
            return f"{size} the exporter's graph is wrong; {_against_torch(module, raw, feeds)}"
        if _is_off(answers, _run(plain, feeds)):
            return f"{size} edgerec's clean-up is wrong; {_against_graph(raw, plain, feeds)}"
        if _is_off(answers, open_model(plain).run(feeds)):
            return f"{size} ONNX Runtime's optimiser is wrong; {_optimised(plain, feeds)}"
    return "each of the graphs is right when it is run alone"


def _run(model: ModelProto, feeds: Feeds, taps: Sequence[str] = ()) -> dict[str, Array]:
    return open_model(model, taps=taps, optimise=False).run(feeds)


def _is_off(expected: Mapping[str, Array], found: Mapping[str, Array]) -> bool:
    return any(not _error(array, found.get(name)) <= _TOLERANCE for name, array in expected.items())


def _error(expected: object, found: object) -> float:
    """Return the largest difference as a fraction of the largest value; NaN where they cannot be compared or hold NaN."""
    if not isinstance(expected, np.ndarray) or not isinstance(found, np.ndarray) or expected.shape != found.shape:
        return float("nan")
    a, b = expected.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore"):
        gap = np.where(a == b, 0.0, np.abs(a - b)).max(initial=0)
    return float(gap / max(1e-3, float(np.abs(a).max(initial=0))))


def _taps(model: ModelProto) -> list[str]:
    return [name for node in model.graph.node for name in node.output if name]


def _against_graph(reference: ModelProto, candidate: ModelProto, feeds: Feeds) -> str:
    """Compare tensors of equal names; the first that differs is the first rewrite that went wrong."""
    before, after = _run(reference, feeds, _taps(reference)), _run(candidate, feeds, _taps(candidate))
    return _first(candidate, before, after)


def _optimised(model: ModelProto, feeds: Feeds) -> str:
    return _first(model, _run(model, feeds, _taps(model)), open_model(model, taps=_taps(model)).run(feeds))


def _first(model: ModelProto, expected: Mapping[str, Array], found: Mapping[str, Array]) -> str:
    for node in model.graph.node:
        for name in node.output:
            if name in expected and not (error := _error(expected[name], found.get(name))) <= _TOLERANCE:
                return f"first at {_named(node, name)}, off by {error:.1e} of its largest value"
    return "no single tensor of it differs: it is a fusion of several nodes"


def _against_torch(module: nn.Module, raw: ModelProto, feeds: Feeds) -> str:
    """Find the first module none of whose tensors is in the graph: the node that should have given it is the wrong one."""
    seen, found = _watch(module, feeds), _run(raw, feeds, _taps(raw))
    matched = {one.made for one in seen if _matches(one.array, found)}
    for one in seen:
        # A batch norm folded into its convolution leaves no tensor of the convolution alone.
        folded = any(one.made in other.read and other.made in matched for other in seen)
        if one.made in matched or folded or any(_is_inside(other.path, one.path) and other.made not in matched for other in seen):
            continue
        return _blamed(one, raw, found)
    return "all modules' tensors are right: the fault lies in forward's own lines behind them"


def _matches(array: Array, found: Mapping[str, Array]) -> bool:
    return any(_error(array, other) <= _TOLERANCE for other in found.values() if np.shape(other) == array.shape)


def _blamed(one: _Seen, raw: ModelProto, found: Mapping[str, Array]) -> str:
    inside = [node for node in raw.graph.node if _scope(node) == one.path]
    rated = [(_error(one.array, found.get(name)), node, name) for node in inside for name in node.output if name]
    near = [entry for entry in rated if not np.isnan(entry[0])] or rated
    if not near:
        return f"first at module {one.path or 'the whole model'}, which no tensor of the graph agrees with"
    error, node, name = min(near, key=lambda entry: entry[0])
    return f"first at module {one.path or 'the whole model'}, {_named(node, name)}, off by {error:.1e} of its largest value"


def _is_inside(path: str, outer: str) -> bool:
    return path != outer and (not outer or path.startswith(f"{outer}."))


def _named(node: NodeProto, tensor: str) -> str:
    return f"{node.op_type} node {node.name!r} (tensor {tensor!r})"


def _scope(node: NodeProto) -> str:
    """Return the path of the module that a node came from: from dynamo's notes, or from the names that TorchScript gives."""
    notes = next((one.value for one in node.metadata_props if one.key == _SCOPES), None)
    if notes is None:
        return ".".join(node.name.strip("/").split("/")[:-1])
    try:
        scopes = ast.literal_eval(notes)
    except (ValueError, SyntaxError):
        return ""
    return str(scopes[-2]) if len(scopes) > 1 else ""


def _watch(module: nn.Module, feeds: Feeds) -> list[_Seen]:
    """Run the model in PyTorch and keep what each module gave, in the order in which they finished."""
    seen: list[_Seen] = []
    held: list[object] = []

    def hook(path: str):
        def keep(_: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            held.extend((inputs, output))
            if isinstance(output, Tensor) and output.is_floating_point():
                read = {id(one) for one in inputs if isinstance(one, Tensor)}
                seen.append(_Seen(path, output.detach().float().cpu().numpy().copy(), id(output), read))

        return keep

    handles = [one.register_forward_hook(hook(path)) for path, one in module.named_modules()]
    try:
        run_torch(module, feeds)
    finally:
        for handle in handles:
            handle.remove()
    return seen
