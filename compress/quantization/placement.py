"""Which nodes may compute on integers, and which of them one int8 kernel takes together."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx
import onnx.numpy_helper
from onnx import ModelProto, NodeProto

from ...runtime.errors import ConfigError
from .indexing import Graph, attribute, clip_bounds, hard_sigmoid_line

# What ONNX Runtime's CPU provider runs on integers when Q/DQ pairs surround it (seen in its optimised graphs, 1.32).
PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})
FLOAT_RESULT = frozenset({"Gemm", "MatMul"})  # their int8 kernels can give float
_SUMS = frozenset({"Add", "Mul"})  # two activations; with a constant they stay float
# HardSigmoid has no int8 kernel: the ends of a grid do its work, see `scheme.gate_grid`.
_FUNCTIONS = frozenset({"AveragePool", "GlobalAveragePool", "HardSigmoid", "LeakyRelu", "Sigmoid"})
# These only move values, so input and output lie on one grid. Pad has no QDQ form: it is written on the integers.
PASSING = frozenset(
    {"DepthToSpace", "Expand", "Flatten", "Gather", "MaxPool", "Pad", "Reshape", "Resize", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
_ABSORBED = frozenset({"Clip", "HardSigmoid", "Relu"})
_ABSORBING = frozenset({"Add", "Conv", "Gemm", "MatMul"})
INT8_OPS = PRODUCTS | _SUMS | _FUNCTIONS | PASSING | _ABSORBED | {"Concat"}
# A transformer's products with weights become int8 and nothing else: an int8 LayerNorm or residual stream costs points of accuracy and
# saves no time, and attention's own products are its noisiest (a ViT of 5 layers: 44.8 dB with them, 46.8 without) and its smallest.
_TRANSFORMER_OPS = PRODUCTS


@dataclass(frozen=True, slots=True)
class Unit:
    """Nodes that become one int8 kernel: an operator and the activation that its output's grid implements.

    Attributes:
        name: Name of the operator's node.
        op_type: Its operator.
        nodes: Names of all its nodes.
        inputs: Activations that it reads.
        output: The activation that it writes.
        weight: Constant operand that becomes int8, or None.
        bias: Constant operand that becomes int32, or None.
        axis: The weight's axis of output channels.
    """

    name: str
    op_type: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str
    weight: str | None = None
    bias: str | None = None
    axis: int = 0

    @property
    def is_passing(self) -> bool:
        """Whether input and output lie on one grid because the values only move."""
        return self.op_type in PASSING


@dataclass(frozen=True, slots=True)
class Rules:
    """What the user says about which nodes may become int8.

    Attributes:
        keep_float: Names of nodes, or patterns with `*` and `?`, that stay float.
        op_types: Operators that may become int8; empty means those that gain by it.
    """

    keep_float: tuple[str, ...] = ()
    op_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse operators that have no int8 kernel.

        Raises:
            ConfigError: One of `op_types` is not among them.
        """
        unknown = sorted(set(self.op_types) - INT8_OPS)
        if unknown:
            raise ConfigError("these operators have no int8 form", ", ".join(unknown), f"choose among {', '.join(sorted(INT8_OPS))}")

    def keeps(self, node: str) -> bool:
        """Tell whether the node of this name shall stay float."""
        return any(fnmatchcase(node, one) for one in self.keep_float)


def find_units(model: ModelProto, rules: Rules | None = None, op_types: Collection[str] = INT8_OPS) -> tuple[Unit, ...]:
    """Return everything that may become int8, in the order of the graph.

    Args:
        model: Prepared float model.
        rules: What the user says.
        op_types: Operators that the target takes; of activations behind others as well.

    Raises:
        ConfigError: A pattern of `rules.keep_float` matches no node.
    """
    rules = rules or Rules()
    graph = Graph.of(model)
    check_patterns(graph, rules.keep_float)
    only_weighted = not rules.op_types and is_transformer(graph)
    allowed = (frozenset(rules.op_types) or (_TRANSFORMER_OPS | _ABSORBED if only_weighted else INT8_OPS)).intersection(op_types)
    units: list[Unit] = []
    absorbed: set[str] = set()
    for node in graph.nodes:
        if node.op_type in allowed and node.name not in absorbed and not rules.keeps(node.name) and _may_be_int8(node, graph):
            units.append(_unit(node, graph, _ABSORBED & allowed, rules))
            absorbed.update(units[-1].nodes)
    return tuple(one for one in units if one.weight or not only_weighted)


def shared_grids(units: Iterable[Unit]) -> dict[str, str]:
    """Return, for the output of each passing unit, the tensor whose grid it has."""
    roots: dict[str, str] = {}
    for unit in units:
        if unit.is_passing:
            roots[unit.output] = roots.get(unit.inputs[0], unit.inputs[0])
    return roots


def tensors_of(units: Iterable[Unit]) -> list[str]:
    """Return the activations that these units read or write, in order."""
    return list(dict.fromkeys(name for unit in units for name in (*unit.inputs, unit.output)))


def needed(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """Leave out units that only move values, or apply a function, between float nodes: as integers they would gain nothing."""
    kept = list(units)
    while True:
        written = {unit.output for unit in kept}
        read = {name for unit in kept for name in unit.inputs}
        useful = [
            one for one in kept if one.op_type in PRODUCTS or (written & set(one.inputs) and (one.output in read or not one.is_passing))
        ]
        if len(useful) == len(kept):
            return tuple(kept)
        kept = useful


def is_transformer(graph: Graph) -> bool:
    """Tell whether the model has attention or layer normalisation."""
    weighted = {name for node in graph.nodes if node.op_type in ("MatMul", "Mul") for name in node.input}
    for node in graph.nodes:
        is_attention = node.op_type == "Softmax" and node.output[0] in weighted  # a classifier's last Softmax weighs nothing
        if is_attention or node.op_type == "LayerNormalization":
            return True
    return False


def check_patterns(graph: Graph, patterns: Iterable[str]) -> None:
    """Let no name or pattern pass that no node has.

    Raises:
        ConfigError: There is one; it is named, and what the nodes are called.
    """
    for pattern in patterns:
        if not any(fnmatchcase(node.name, pattern) for node in graph.nodes):
            some = ", ".join(node.name for node in graph.nodes[:5])
            raise ConfigError("no node has this name", pattern, f"the model's nodes begin with {some}; `edgerec inspect` lists them all")


def _may_be_int8(node: NodeProto, graph: Graph) -> bool:
    """Tell whether ONNX Runtime has an int8 kernel for this very node."""
    if not node.output or not all(name in graph.floats for name in (node.input[0], node.output[0])) or node.input[0] in graph.constants:
        return False
    check = _CHECKS.get(node.op_type)
    return node.op_type not in ("Clip", "Relu") and (check is None or check(node, graph))


def _is_product(node: NodeProto, graph: Graph) -> bool:
    is_constant = node.input[1] in graph.constants
    has_bias = len(node.input) > 2 and node.input[2] != ""
    if has_bias and (node.input[2] not in graph.constants or len(graph.constants[node.input[2]].dims) != 1):
        return False
    if node.op_type == "MatMul":
        return node.input[1] in graph.floats and (not is_constant or len(graph.constants[node.input[1]].dims) == 2)
    if node.op_type == "Gemm":
        factors = {one.name: one.f for one in node.attribute if one.name in ("alpha", "beta")}
        return is_constant and not attribute(node, "transA", 0) and all(one == 1 for one in factors.values())
    return is_constant


def _has_two_activations(node: NodeProto, graph: Graph) -> bool:
    # A number that the caller gives, such as a threshold or a gain, stays what it is.
    return all(name in graph.floats and name not in graph.constants and graph.shapes.get(name) != () for name in node.input)


def _is_concat(node: NodeProto, graph: Graph) -> bool:
    # A model's outputs stay float, and branches of other ranges keep their own scales there.
    return node.output[0] not in graph.outputs and _has_two_activations(node, graph)


def _is_moving(node: NodeProto, graph: Graph) -> bool:
    return node.output[0] not in graph.outputs and len(node.output) == 1


def _is_max_pool(node: NodeProto, graph: Graph) -> bool:
    return _is_moving(node, graph)


def _is_zero_pad(node: NodeProto, graph: Graph) -> bool:
    modes = [one.s for one in node.attribute if one.name == "mode"]
    value = graph.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    is_zero = (len(node.input) < 3 or not node.input[2]) or (value is not None and not onnx.numpy_helper.to_array(value).any())
    return _is_moving(node, graph) and modes in ([], [b"constant"]) and is_zero


def _is_nearest(node: NodeProto, graph: Graph) -> bool:
    modes = [one.s for one in node.attribute if one.name == "mode"]
    return _is_moving(node, graph) and modes in ([], [b"nearest"])


def _rises(node: NodeProto, _graph: Graph) -> bool:
    """Tell whether a HardSigmoid's line rises: the low end of a grid is the integer 0."""
    return hard_sigmoid_line(node)[0] > 0


_CHECKS = {
    **dict.fromkeys(PRODUCTS, _is_product),
    **dict.fromkeys(_SUMS, _has_two_activations),
    **dict.fromkeys(PASSING, _is_moving),
    "Concat": _is_concat,
    "HardSigmoid": _rises,
    "MaxPool": _is_max_pool,
    "Pad": _is_zero_pad,
    "Resize": _is_nearest,
}


def _unit(node: NodeProto, graph: Graph, absorbed: Collection[str], rules: Rules) -> Unit:
    """Put a node together with the activation behind it, where that reads nothing else and nobody else reads between them."""
    nodes, output = [node.name], node.output[0]
    readers = graph.consumers.get(output, ())
    if node.op_type in _ABSORBING and len(readers) == 1 and output not in graph.outputs:
        follower = readers[0]
        if follower.op_type in absorbed and not rules.keeps(follower.name) and _is_absorbed(follower, node, graph):
            nodes.append(follower.name)
            output = follower.output[0]
    data = [name for name in node.input if name in graph.floats and name not in graph.constants]
    inputs = tuple(dict.fromkeys(data[:1] if node.op_type in PASSING else data))
    if node.op_type not in PRODUCTS:
        return Unit(node.name, node.op_type, tuple(nodes), inputs, output)
    weight = node.input[1] if node.input[1] in graph.constants else None
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    axis = {"Conv": 0, "MatMul": 1}.get(node.op_type, 0 if attribute(node, "transB", 0) else 1)
    return Unit(node.name, node.op_type, tuple(nodes), inputs, output, weight, bias, axis)


def _is_absorbed(node: NodeProto, into: NodeProto, graph: Graph) -> bool:
    """Tell whether an activation can be the two ends of the grid of the operator before it."""
    if node.op_type == "HardSigmoid":  # its shift goes into the bias
        return into.op_type in ("Conv", "Gemm") and _rises(node, graph)
    if node.op_type == "Relu":
        return True
    bounds = [graph.constants.get(name) for name in node.input[1:] if name]
    if any(one is None for one in bounds):
        return False
    low, high = clip_bounds(node, graph)
    return low <= 0 <= high
