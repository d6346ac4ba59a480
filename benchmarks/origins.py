"""From the nodes that ONNX Runtime executes back to the nodes of the file they came from.

What its optimiser keeps (onnxruntime 1.32), and so what can be matched:

- A node that is left alone keeps its name and its tensors.
- Conv, Add, Gemm ... with Q/DQ around become QLinearConv, QLinearAdd, QGemm under the *operator's* name; the result is the tensor of the
  QuantizeLinear behind it. A Relu or Clip between them is inside.
- Turned to channels last, the name gets the suffix `_token_N` and the result a new name.
- A float Conv in blocked layout (NCHWc) is called after its *result*, activation included: `relu_nchwc`.
- Where a float16 operator has to run in float32, what it makes is called `InsertedPrecisionFreeCast_` and the tensor's name.
- Other fusions (BiasGelu, SkipLayerNormalization, FusedMatMul) have new names, and keep the tensor of the last node that they replace.
- An operator that is a function (HardSwish) falls apart into nodes without names; the last one keeps the tensor, unless the layout
  changes: then the parts are known by what they read.
- Reorder nodes, Transposes and Casts that the optimiser adds come from no node.

So a node is found by its name, else by its result; what stays without a match was fused into its producer (activations, QuantizeLinear)
or else into its consumer.
"""

import re
from collections.abc import Iterator, Sequence

from onnx import NodeProto

INSERTED = frozenset({"ReorderInput", "ReorderOutput", "MemcpyFromHost", "MemcpyToHost"})

# Nodes that the optimiser also adds by itself: one of these is the file's only where the file has the same operator there.
_ADDED = frozenset({"Transpose", "Cast", "QuantizeLinear", "DequantizeLinear", "Identity"})
_FOLLOWERS = frozenset(
    {
        *("QuantizeLinear", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "PRelu"),
        *("BatchNormalization", "Cast"),
    }
)
_BLOCKED = "_nchwc"  # these convolutions also take in the addition behind them
_ADDITION = re.compile(r"^(InsertedPrecisionFreeCast_)+|(_token_\d+|_nchwc|/\w+Fusion/)+$")


def origins(original: Sequence[NodeProto], executed: Sequence[NodeProto]) -> dict[str, tuple[str, ...]]:
    """Return, for each executed node's name, the names of the file's nodes that it computes, in the file's order.

    Args:
        original: The file's nodes, sorted as ONNX demands, each with a name of its own.
        executed: The optimised graph's nodes, each with a name of its own.
    """
    of = _anchors(original, executed)
    _anchor_functions(original, executed, of)
    operators = {node.name: node.op_type for node in executed}
    for producers, node in _with_producers(original):
        into = [of[name] for name in producers if name in of and _takes_in(of[name], operators[of[name]], node)]
        if node.name not in of and into:
            of[node.name] = into[-1]
    consumers = _consumers(original)
    for node in reversed(original):
        users = [of[name] for name in consumers.get(node.name, []) if name in of]
        if node.name not in of and users and node.op_type != "Constant":
            of[node.name] = users[0]
    found: dict[str, list[str]] = {node.name: [] for node in executed}
    for node in original:
        if node.name in of:
            found[of[node.name]].append(node.name)
    _pass_on(executed, found)
    return {name: tuple(own) for name, own in found.items()}


def _anchors(original: Sequence[NodeProto], executed: Sequence[NodeProto]) -> dict[str, str]:
    """Return the executed node of each original one that a name or a result gives away."""
    by_name = {node.name: node for node in original}
    by_result = {output: node for node in original for output in node.output if output}
    of: dict[str, str] = {}
    for node in executed:
        if node.op_type in INSERTED:
            continue
        stem = _ADDITION.sub("", node.name)
        results = (by_result.get(_ADDITION.sub("", output)) for output in node.output)
        candidates = (by_name.get(node.name), by_name.get(stem), by_result.get(stem), *results)
        for one in candidates:
            if one is not None and (node.op_type not in _ADDED or one.op_type == node.op_type):
                of.setdefault(one.name, node.name)
    return of


def _anchor_functions(original: Sequence[NodeProto], executed: Sequence[NodeProto], of: dict[str, str]) -> None:
    """Match operators that fell apart: their parts are matched with nothing yet, and read what the operator reads."""
    readers = _consumers(executed)
    free = {node.name for node in executed if node.op_type not in INSERTED | _ADDED} - set(of.values())
    for producers, node in _with_producers(original):
        if node.name in of or node.op_type in _ADDED or node.op_type == "Constant":
            continue
        parts = [name for producer in producers if producer in of for name in readers.get(of[producer], ()) if name in free]
        if parts:
            of[node.name] = parts[-1]
            free -= set(parts)


def _takes_in(executed: str, operator: str, follower: NodeProto) -> bool:
    if follower.op_type == "Add":
        return executed.endswith(_BLOCKED)
    return follower.op_type in _FOLLOWERS and (operator not in _ADDED or follower.op_type in _ADDED)


def _with_producers(nodes: Sequence[NodeProto]) -> Iterator[tuple[list[str], NodeProto]]:
    """Yield each node with the names of those that make its operands; of all but an Add only the first operand counts."""
    producer = {output: node.name for node in nodes for output in node.output if output}
    for node in nodes:
        operands = node.input if node.op_type == "Add" else node.input[:1]
        yield [producer[name] for name in operands if name in producer], node


def _consumers(nodes: Sequence[NodeProto]) -> dict[str, list[str]]:
    """Return the names of the nodes that read a node's results."""
    producer = {output: node.name for node in nodes for output in node.output if output}
    found: dict[str, list[str]] = {}
    for node in nodes:
        for name in node.input:
            if name in producer:
                found.setdefault(producer[name], []).append(node.name)
    return found


def _pass_on(executed: Sequence[NodeProto], found: dict[str, list[str]]) -> None:
    """Give the parts of a function that fell apart the origin of the part that has its result."""
    consumers = _consumers(executed)
    for node in reversed(executed):
        users = consumers.get(node.name, [])
        if not found[node.name] and users and node.op_type not in INSERTED | _ADDED:
            found[node.name] = list(found[users[0]])
