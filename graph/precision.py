"""A float32 model as a float16 one: half the size, and the type that GPUs and NPUs are fast at. On CPUs it is slower than float32."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnx import ModelProto

from ..runtime.errors import ConfigError, ModelError
from .copying import copy_model
from .execution import Feeds, open_model
from .naming import name_nodes_
from .refusals import refuse_quantized

LARGEST = float(np.finfo(np.float16).max)  # 65504
_TINY_SHARE = 0.01  # of a weight's values; fewer that vanish are not worth a word

_FIRST_CONSTANTS = 4  # IR version; older files list every weight among the inputs
_PIXELS = "positions and scales need more than 11 bits"
_SUMS = "sums of many terms lose their small ones"
_SQUARES = "squares leave float16's range from 256 on"
_TYPED = "its type is an attribute, or follows another operand"

# Operators that stay in float32, and why. Everything else of the standard domain takes float16 where it takes float32.
KEPT: dict[str, str] = {
    **dict.fromkeys(("Resize", "Upsample", "GridSample", "RoiAlign", "AffineGrid", "NonMaxSuppression"), _PIXELS),
    **dict.fromkeys(("CumSum", "Range"), _SUMS),
    **dict.fromkeys(("Pow", "ReduceSumSquare", "ReduceL2", "ReduceLogSumExp", "LpNormalization", "LpPool"), _SQUARES),
    **dict.fromkeys(("Cast", "CastLike", "EyeLike", "ConstantOfShape", "Bernoulli", "Multinomial"), _TYPED),
    **dict.fromkeys(("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "MelWeightMatrix"), _TYPED),
    **dict.fromkeys(("DFT", "STFT", "Det"), _SUMS),
}
_ANY_TYPE = frozenset({"Shape", "Size", "IsNaN"})  # read a tensor of any float type, and give none
# What lies beyond the range means "infinite" to these, and the largest float16 means the same.
_SATURATING = frozenset({"Clip", "Where", "Min", "Max", "Add", "Sub", "Pad", "Expand", "Concat", "Reshape", "Unsqueeze", "Squeeze"})


@dataclass(frozen=True, slots=True)
class HalfPrecision:
    """A converted model, and what to know about it.

    Attributes:
        model: It computes in float16; its inputs and outputs have the types that they had.
        kept: Node to the reason why it stays in float32.
        notes: Constants that were limited to float16's range, or lost small values.
    """

    model: ModelProto
    kept: Mapping[str, str]
    notes: tuple[str, ...]


def to_fp16(model: ModelProto, feeds: Feeds | None = None, *, keep_float: Iterable[str] = ()) -> ModelProto:
    """Return the model in float16, as `half_precision` makes it, without what it tells."""
    return half_precision(model, feeds, keep_float=keep_float).model


def half_precision(model: ModelProto, feeds: Feeds | None = None, *, keep_float: Iterable[str] = ()) -> HalfPrecision:
    """Store weights and compute in float16; inputs and outputs keep their types, with Casts behind and before them.

    Nodes stay in float32 that `KEPT` names, that are of no standard domain, that hold graphs of their own (If, Loop), whose types are not
    known, that compute sizes, or that a constant or an activation beyond 65504 would break. Weights that are inputs become constants. Equal
    input gives equal bytes.

    Args:
        model: A float32 model; it is not changed.
        feeds: One array for each input: nodes that reach beyond float16's range on them stay in float32. Without, nobody looks.
        keep_float: Names of further nodes that stay in float32.

    Raises:
        ModelError: The model is quantized, or computes in no float32 at all.
        ConfigError: `keep_float` names a node that is not there.
        DataError: `feeds` do not fit the model.
    """
    refuse_quantized(model)
    copy = copy_model(model)  # onnx_ir names tensors inside the message that they came from
    graph_model = ir.from_proto(copy)
    graph = graph_model.graph
    passes.RemoveInitializersFromInputsPass()(graph_model)
    graph_model.ir_version = max(copy.ir_version, _FIRST_CONSTANTS)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph_model)
    passes.ShapeInferencePass(check_type=False, strict_mode=False)(graph_model)
    name_nodes_(graph_model)
    kept = _kept(graph, _asked(graph, keep_float))
    if feeds is not None:
        kept |= {name: reason for name, reason in _overflowing(ir.to_proto(graph_model), feeds).items() if name not in kept}
    half = [node for node in graph if node.name not in kept and _has_float(node)]
    if not half:
        raise ModelError("the model has nothing that could compute in float16", model.graph.name, "give a float32 model")
    notes = _convert_(graph, half)
    told = {node.name or "": kept[node.name or ""] for node in graph if node.name in kept and _has_float(node)}
    return HalfPrecision(ir.to_proto(graph_model), told, tuple(notes))


def _asked(graph: ir.Graph, names: Iterable[str]) -> dict[str, str]:
    present = {node.name for node in graph}
    asked = dict.fromkeys(names, "as asked")
    if missing := [name for name in asked if name not in present]:
        raise ConfigError("the model has no node of this name", ", ".join(missing), "edgerec inspect lists the nodes")
    return asked


def _kept(graph: ir.Graph, asked: Mapping[str, str]) -> dict[str, str]:
    sizes = _sizes(graph)
    reasons = {
        node.name or "": asked.get(node.name or "") or _reason(node) or ("it computes sizes" if node in sizes else "") for node in graph
    }
    return {name: reason for name, reason in reasons.items() if reason}


def _sizes(graph: ir.Graph) -> set[ir.Node]:
    """Return the nodes that depend on nothing but shapes and constants: rounded to 11 bits, a size may be off by one."""
    found: set[ir.Node] = set()
    for node in graph:
        changing = [value for value in node.inputs if value is not None and value.const_value is None]
        if node.op_type in ("Shape", "Size") or (changing and all(value.producer() in found for value in changing)):
            found.add(node)
    return found


def _reason(node: ir.Node) -> str:
    """Return why a node stays in float32; empty where it does not."""
    if node.domain not in ("", "ai.onnx"):
        return "it is no standard operator"
    if any(one.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for one in node.attributes.values()):
        return "it holds a graph of its own"
    if node.op_type in KEPT:
        return KEPT[node.op_type]
    if any(not isinstance(value.type, ir.TensorType) for value in _values(node)):
        return "the types of its tensors are not known"
    if node.op_type == "LayerNormalization" and len([value for value in node.outputs if value.name]) > 1:
        return _TYPED
    if node.op_type not in _SATURATING and (large := [one.name for one in node.inputs if one is not None and _beyond(_constant(one))]):
        return f"its constant {large[0]} lies beyond {LARGEST:.0f}"
    return ""


def _values(node: ir.Node) -> list[ir.Value]:
    return [value for value in (*node.inputs, *node.outputs) if value is not None and value.name]


def _has_float(node: ir.Node) -> bool:
    return any(value.dtype == ir.DataType.FLOAT for value in _values(node)) and node.op_type not in _ANY_TYPE


def _constant(value: ir.Value | None) -> npt.NDArray[np.float32] | None:
    if value is None or value.dtype != ir.DataType.FLOAT or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy().astype(np.float32, copy=False)


def _beyond(array: npt.NDArray[np.float32] | None) -> bool:
    """Tell whether a finite value would become infinite."""
    return array is not None and bool((np.isfinite(array) & (np.abs(array) > LARGEST)).any())


def _overflowing(model: ModelProto, feeds: Feeds) -> dict[str, str]:
    """Return the nodes that make or read a tensor beyond float16's range on these inputs."""
    inner = [name for node in model.graph.node for name in node.output if name]
    arrays = {**open_model(model, taps=inner, optimise=False).run(feeds), **feeds}
    floats = {name: np.abs(array).max(initial=0) for name, array in arrays.items() if array.dtype == np.float32}
    large = {name: float(top) for name, top in floats.items() if top > LARGEST and np.isfinite(top)}
    reached = {node.name: [name for name in (*node.output, *node.input) if name in large] for node in model.graph.node}
    return {node: f"{names[0]} reaches {large[names[0]]:.3g}, beyond {LARGEST:.0f}" for node, names in reached.items() if names}


def _convert_(graph: ir.Graph, half: list[ir.Node]) -> list[str]:
    """Turn what `half` reads and makes into float16, with Casts where it meets the rest; return what was lost of constants."""
    members = set(half)
    taken = set(ir.convenience.create_value_mapping(graph))
    notes: list[str] = []
    made = [value for node in half for value in node.outputs if value.dtype == ir.DataType.FLOAT]
    read = list(dict.fromkeys(one for node in half for one in node.inputs if one is not None and one.dtype == ir.DataType.FLOAT))
    for value in read:
        if (producer := value.producer()) is not None and producer in members:
            continue
        into = _halved_constant(graph, value, members, taken, notes) if _constant(value) is not None else None
        into = into or _cast(graph, value, ir.DataType.FLOAT16, _unused(f"{value.name}_fp16", taken))
        for use in [use for use in value.uses() if use.node in members]:
            use.node.replace_input_with(use.idx, into)
    for value in made:
        _give_float_(graph, value, members, taken)
    return notes


def _halved_constant(graph: ir.Graph, value: ir.Value, members: set[ir.Node], taken: set[str], notes: list[str]) -> ir.Value:
    """Return a float16 initializer in place of a float32 one: under its own name where nothing else reads it."""
    array = _constant(value)
    assert array is not None  # the caller has looked
    limited = np.where(np.isfinite(array), np.clip(array, -LARGEST, LARGEST), array)
    halved = limited.astype(np.float16)
    if _beyond(array):
        notes.append(f"{value.name}: limited to {LARGEST:.0f}; its largest value is {np.abs(array[np.isfinite(array)]).max():.3g}")
    lost = int(np.count_nonzero(array) - np.count_nonzero(halved))
    if lost > _TINY_SHARE * array.size:
        notes.append(f"{value.name}: {lost} of {array.size} values are too small for float16 and became 0")
    name = value.name or ""
    if all(use.node in members for use in value.uses()) and not value.is_graph_output():
        graph.initializers.pop(name)
    else:
        name = _unused(f"{name}_fp16", taken)
    tensor = ir.tensor(halved, name=name)
    new = ir.Value(name=name, const_value=tensor, type=ir.TensorType(ir.DataType.FLOAT16), shape=ir.Shape(array.shape))
    graph.register_initializer(new)
    return new


def _give_float_(graph: ir.Graph, value: ir.Value, members: set[ir.Node], taken: set[str]) -> None:
    """Turn a result into float16; who is no member reads it through a Cast, and a graph's output keeps name and type."""
    outside = [use for use in value.uses() if use.node not in members and use.node.op_type not in _ANY_TYPE]
    value.type = ir.TensorType(ir.DataType.FLOAT16)
    if not outside and not value.is_graph_output():
        return
    name = value.name or ""
    as_output = value.is_graph_output()
    if as_output:
        value.name = _unused(f"{name}_fp16", taken)
    float_name = name if as_output else _unused(f"{name}_fp32", taken)
    cast = _cast(graph, value, ir.DataType.FLOAT, float_name)
    for use in outside:
        use.node.replace_input_with(use.idx, cast)
    for at, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[at] = cast


def _cast(graph: ir.Graph, value: ir.Value, to: ir.DataType, name: str) -> ir.Value:
    """Return a value cast to another type, by a node right behind the one that makes it."""
    result = ir.Value(name=name, type=ir.TensorType(to), shape=value.shape)
    node = ir.node("Cast", [value], {"to": int(to)}, outputs=[result], name=f"{name}/Cast")
    producer = value.producer()
    if producer is not None:
        graph.insert_after(producer, node)
    elif len(graph):
        graph.insert_before(graph[0], node)
    else:
        graph.append(node)
    return result


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def half_inputs_outputs(model: ModelProto) -> ModelProto:
    """Return a converted model whose float32 inputs and outputs are float16 as well: a GPU then copies half the bytes."""
    edited = ir.from_proto(copy_model(model))
    graph = edited.graph
    taken = set(ir.convenience.create_value_mapping(graph))
    for value in graph.inputs:
        if value.dtype == ir.DataType.FLOAT:
            _halve_input_(graph, value, taken)
    for at, value in enumerate(graph.outputs):
        node = value.producer()
        if value.dtype != ir.DataType.FLOAT or node is None:
            continue
        source = node.inputs[0] if node.op_type == "Cast" and not value.uses() else None
        half = source if source is not None and source.dtype == ir.DataType.FLOAT16 and not source.is_graph_input() else None
        name = value.name
        if half is None or half.is_graph_output():
            half = _cast(graph, value, ir.DataType.FLOAT16, f"{name}_fp16")
        graph.outputs[at] = half
        if half is source:
            graph.remove(node, safe=True)
        else:
            value.name = _unused(f"{name}_fp32", taken)
        half.name, half.shape = name, value.shape
    return ir.to_proto(edited)


def _halve_input_(graph: ir.Graph, value: ir.Value, taken: set[str]) -> None:
    """Turn an input into float16; its Casts to float16 go, and who computes in float32 reads it through one."""
    casts = [use.node for use in value.uses() if use.node.op_type == "Cast" and use.node.outputs[0].dtype == ir.DataType.FLOAT16]
    others = [use for use in value.uses() if use.node not in casts]
    value.type = ir.TensorType(ir.DataType.FLOAT16)
    for node in casts:
        if not node.outputs[0].is_graph_output():
            node.outputs[0].replace_all_uses_with(value)
            graph.remove(node, safe=True)
    if others:
        widened = _cast(graph, value, ir.DataType.FLOAT, _unused(f"{value.name}_fp32", taken))
        for use in others:
            use.node.replace_input_with(use.idx, widened)
