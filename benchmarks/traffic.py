"""How many bytes each executed node reads and writes at least: inputs, weights and outputs once."""

from collections.abc import Mapping
from math import prod

from onnx import NodeProto, helper

from .kernel_events import Feeds, TensorType
from .profiling import NodeTime, Profile

_BYTES = {
    **dict.fromkeys(("bool", "int8", "uint8", "float8e4m3fn", "float8e5m2"), 1.0),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2.0),
    **dict.fromkeys(("float", "float32", "int32", "uint32"), 4.0),
    **dict.fromkeys(("double", "float64", "int64", "uint64"), 8.0),
    **dict.fromkeys(("int4", "uint4"), 0.5),
}


def node_bytes(profile: Profile, feeds: Feeds) -> tuple[int, ...]:
    """Count the bytes of every node of a profile, in its order.

    An operand that a node reads twice counts once. The profile leaves out weights that a kernel has packed; the optimised graph has them.
    Where that graph is not known (a provider compiled it), only what the profile shows is counted. Text counts nothing.

    Args:
        profile: What was executed.
        feeds: What it was executed on.
    """
    if profile.optimised is None:
        return tuple(sum(map(_size, (*time.inputs, *time.outputs))) for time in profile.times)
    nodes = {node.name: node for node in profile.optimised.graph.node if node.name}
    known = _constants(profile) | {name: TensorType(str(array.dtype), array.shape) for name, array in feeds.items()}
    for time in profile.times:
        if node := nodes.get(time.name):
            known |= dict(zip([name for name in node.output if name], time.outputs, strict=False))
    return tuple(_of_node(time, nodes.get(time.name), known) for time in profile.times)


def working_set_bytes(profile: Profile, largest_node_bytes: int) -> int:
    """Return what one run touches again and again, at most: all weights, and the operands of its largest node."""
    return largest_node_bytes + sum(map(_size, _constants(profile).values()))


def _of_node(time: NodeTime, node: NodeProto | None, known: Mapping[str, TensorType]) -> int:
    """Return one node's bytes; what the graph does not tell (a subgraph's results, a function's parts) comes from the profile."""
    if node is None or any(name not in known for name in node.input if name):
        return sum(map(_size, (*time.inputs, *time.outputs)))
    return sum(_size(known[name]) for name in {*node.input, *node.output} if name in known)


def _constants(profile: Profile) -> dict[str, TensorType]:
    held = profile.optimised.graph.initializer if profile.optimised else ()
    return {one.name: TensorType(str(helper.tensor_dtype_to_np_dtype(one.data_type)), tuple(one.dims)) for one in held}


def _size(tensor: TensorType) -> int:
    return round(prod(tensor.shape) * _BYTES.get(tensor.dtype, 0.0))
