"""One record for each executed node: what it is, what it came from, its time and its multiply-accumulates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, prod
from typing import Literal

from onnx import ModelProto, NodeProto, TensorProto

from ..graph.shapes import count_macs
from ..runtime.errors import ModelError
from .kernel_events import TensorType
from .origins import INSERTED, origins
from .profiling import NodeTime, Profile, with_names

Kind = Literal["int8", "float", "conversion", "layout", "movement", "shape"]
KINDS: dict[Kind, str] = {
    "int8": "computes on 8-bit integers",
    "float": "computes on float numbers",
    "conversion": "turns one number format into another: Quantize/DequantizeLinear, Cast",
    "layout": "reorders dimensions: Transpose, Reorder",
    "movement": "copies: Slice, Pad, Concat, Reshape ...",
    "shape": "computes sizes and indices while the model runs",
}

_INTEGER_KERNELS = frozenset(
    {
        *("ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"),
        *("QGemm", "QAttention", "QOrderedMatMul", "QEmbedLayerNormalization", "NhwcMaxPool"),
    }
)
_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast"})
_LAYOUT = frozenset({"Transpose", "ReorderInput", "ReorderOutput"})
_MOVEMENT = frozenset(
    {
        *("Slice", "Pad", "Concat", "Split", "Reshape", "Gather", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Tile", "Identity"),
        *("DepthToSpace", "SpaceToDepth", "QLinearConcat", "MemcpyFromHost", "MemcpyToHost", "GatherND", "ScatterND"),
    }
)
_EIGHT_BITS = frozenset({"uint8", "int8"})
_INDICES = frozenset({"int64", "int32", "bool"})

_BLOCKED = "com.microsoft.nchwc"
_GATES = {"LSTM": 4, "DynamicQuantizeLSTM": 4, "GRU": 3, "RNN": 1}
_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}  # where the weight stands among the operands
_PRODUCTS = frozenset({"MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"})


@dataclass(frozen=True, slots=True)
class Executed:
    """A node as it runs.

    Attributes:
        name: Its name in the optimised graph.
        title: What people know it by: the file's own node, the one that computes where several were fused.
        op_type: Its operator there.
        kind: One of `KINDS`.
        provider: ONNX Runtime's name of the provider that runs it.
        us: Its time in one run, microseconds.
        share: Its part of the time of all nodes, 0 to 1.
        macs: Its multiply-accumulates.
        origins: The file's nodes that it computes; none for one that ONNX Runtime added.
        inputs: Names of its operands in the optimised graph; empty where that is not known.
        outputs: Names of its results there.
        dtype: Type of its first result.
        shape: Shape of its first result.
        weight_shape: Shape of a convolution's weight, (out, in / groups, *kernel); else empty.
        groups: A convolution's groups.
    """

    name: str
    title: str
    op_type: str
    kind: Kind
    provider: str
    us: float
    share: float
    macs: int
    origins: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    dtype: str = ""
    shape: tuple[int, ...] = ()
    weight_shape: tuple[int, ...] = ()
    groups: int = 1

    @property
    def is_integer(self) -> bool:
        """Whether its result is on 8-bit integers, computed or moved."""
        return self.kind == "int8" or (self.kind in ("movement", "layout") and self.dtype in _EIGHT_BITS)


def executed_nodes(original: ModelProto, profile: Profile, run_us: float = inf) -> tuple[Executed, ...]:
    """Join a profile with the optimised graph and the file.

    Args:
        original: The file's model.
        profile: What `profiling.profile` found for it.
        run_us: Time of one run without the profiler, microseconds. The profiler also cools the caches: where the kernels together take
            longer than a run, all their times are scaled down alike.
    """
    named = with_names(original)
    nodes = _aligned(profile)
    came_from = origins(named.graph.node, [node for node in nodes if node.name])
    types = _types(profile, nodes)
    counted = _original_macs(named)
    operators = {node.name: node.op_type for node in named.graph.node}
    total = sum(one.us for one in profile.times) or 1.0
    scale = min(run_us / total, 1.0)
    records: list[Executed] = []
    claimed: set[str] = set()  # a function that falls apart counts once
    for time, node in zip(profile.times, nodes, strict=True):
        own = came_from.get(node.name, ())
        weight = (_weight_of(own, named) if node.domain == _BLOCKED else ()) or _weight(node, types)
        record = _record(time, node, weight)
        if not record.macs:
            record = replace(record, macs=sum(counted.get(name, 0) for name in own if name not in claimed))
        claimed.update(own)
        records.append(replace(record, title=_title(time, own, operators), us=time.us * scale, share=time.us / total, origins=own))
    return tuple(records)


def constants(model: ModelProto) -> dict[str, TensorProto]:
    """Return the constant tensors of a main graph by name: its initializers, and what Constant nodes hold."""
    held = {
        node.output[0]: one.t for node in model.graph.node if node.op_type == "Constant" for one in node.attribute if one.name == "value"
    }
    return held | {one.name: one for one in model.graph.initializer}


def kind_of(time: NodeTime) -> Kind:
    """Return which kind of work a node does, from its operator and the types it was given."""
    results = {one.dtype for one in time.outputs}
    if time.op_type in ("Shape", "Size") or (results <= _INDICES and {one.dtype for one in time.inputs} <= _INDICES):
        return "shape"
    if time.op_type in _CONVERSIONS:
        return "conversion"
    if time.op_type in _LAYOUT:
        return "layout"
    if time.op_type in _MOVEMENT:
        return "movement"
    named = time.op_type in _INTEGER_KERNELS or time.op_type.startswith("QLinear")
    return "int8" if named or (results and results <= _EIGHT_BITS) else "float"


def _title(time: NodeTime, own: Sequence[str], operators: Mapping[str, str]) -> str:
    """Return the node that gives a fused one its name: `Conv` of `QLinearConv`, else the last that is no conversion."""
    computing = [name for name in own if operators[name] not in _CONVERSIONS] or list(own)
    return next((name for name in computing if operators[name] in time.op_type), computing[-1] if computing else time.name)


def _aligned(profile: Profile) -> list[NodeProto]:
    """Return the optimised graph's node of each time; a bare one where the graph is not known."""
    left = list(profile.optimised.graph.node) if profile.optimised else []
    by_name = {node.name: node for node in left if node.name}
    unnamed = [node for node in left if not node.name]
    found: list[NodeProto] = []
    for time in profile.times:
        node = by_name.get(time.name)
        if node is None:
            # The parts of a function have no names in the file; the profile calls them by operator and number.
            same = next((one for one in unnamed if one.op_type == time.op_type), None)
            node = NodeProto(op_type=time.op_type)
            if same is not None:
                unnamed.remove(same)
                node.CopyFrom(same)
            node.name = time.name
        found.append(node)
    return found


def _types(profile: Profile, nodes: Sequence[NodeProto]) -> dict[str, TensorType]:
    """Return the types of all tensors that the profile shows; it leaves out weights that a kernel has packed, so the graph tells those."""
    types: dict[str, TensorType] = {}
    if profile.optimised:
        types |= {one.name: TensorType("", tuple(one.dims)) for one in profile.optimised.graph.initializer}
    for time, node in zip(profile.times, nodes, strict=True):
        if node.input and time.inputs:
            types.setdefault(node.input[0], time.inputs[0])
        types |= dict(zip([name for name in node.output if name], time.outputs, strict=False))
    return types


def _original_macs(model: ModelProto) -> dict[str, int]:
    try:
        return count_macs(model)
    except ModelError:  # free sizes: what the profile shows must do
        return {}


def _weight(node: NodeProto, types: Mapping[str, TensorType]) -> tuple[int, ...]:
    """Return the shape of a convolution's weight; empty for other nodes."""
    at = _CONVOLUTIONS.get(node.op_type, len(node.input))
    return types[node.input[at]].shape if at < len(node.input) and node.input[at] in types else ()


def _weight_of(own: Sequence[str], model: ModelProto) -> tuple[int, ...]:
    """Return the shape of the file's own weight: kernels in blocked layout fill theirs up with zero channels."""
    names = {node.input[1] for node in model.graph.node if node.name in own and node.op_type == "Conv"}
    return next((tuple(one.dims) for name, one in constants(model).items() if name in names), ())


def _record(time: NodeTime, node: NodeProto, weight: tuple[int, ...]) -> Executed:
    result = time.outputs[0] if time.outputs else TensorType("", ())
    return Executed(
        name=time.name,
        title=time.name,
        op_type=time.op_type,
        kind=kind_of(time),
        provider=time.provider,
        us=time.us,
        share=0.0,
        macs=_macs(time, node, weight),
        origins=(),
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        dtype=result.dtype,
        shape=result.shape,
        weight_shape=weight,
        groups=_attribute(node, "group", 1),
    )


def _macs(time: NodeTime, node: NodeProto, weight: tuple[int, ...]) -> int:
    """Count from the shapes of the run, which are right for every layout; 0 where they do not tell."""
    if not time.inputs or not time.outputs or time.op_type in INSERTED:
        return 0
    left, result = time.inputs[0].shape, time.outputs[0].shape
    if weight and node.domain == _BLOCKED:
        return prod(result) // result[1] * prod(weight)  # (N, C, H, W) with C filled up
    if weight:
        return prod(result) * prod(weight[1:])  # (N, C, H, W) or (N, H, W, C): the same product
    if time.op_type in _PRODUCTS and left:
        return prod(result) * left[-2 if _attribute(node, "transA", 0) and len(left) > 1 else -1]
    if time.op_type in ("Gemm", "QGemm", "FusedGemm") and len(left) == 2:
        return prod(result) * left[0 if _attribute(node, "transA", 0) else 1]
    if time.op_type in _GATES and len(left) == 3:
        steps, batch, features = left
        hidden, directions = result[-1], result[-3]  # (steps, directions, N, hidden), or without steps
        return steps * batch * directions * _GATES[time.op_type] * hidden * (features + hidden)
    return 0


def _attribute(node: NodeProto, name: str, otherwise: int) -> int:
    return next((one.i for one in node.attribute if one.name == name), otherwise)
