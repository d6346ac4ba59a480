"""Which layers read the same tensor and have one form, so that one layer can do the work of all."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from onnx import NodeProto

from .indexing import attribute, clip_bounds
from .placement import FLOAT_RESULT, PRODUCTS
from .rewriting import Scene

_ACTIVATIONS = frozenset({"Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Tanh"})


@dataclass(frozen=True, slots=True)
class ParallelLayer:
    """A product with constant weights, and the nodes behind it that become part of the merged layer.

    Attributes:
        node: The product.
        tail: A sum with a bias and an activation, each the only reader of the one before.
        axis: The weight's axis of output channels.
        form: Equal for layers that can be one.
    """

    node: NodeProto
    tail: tuple[NodeProto, ...]
    axis: int
    form: Hashable

    @property
    def nodes(self) -> tuple[NodeProto, ...]:
        """All nodes, in order."""
        return (self.node, *self.tail)

    @property
    def output(self) -> str:
        """The tensor that others read."""
        return self.nodes[-1].output[0]

    def channels(self, scene: Scene) -> int:
        """Return the number of output channels."""
        return scene.graph.constants[self.node.input[1]].dims[self.axis]


def parallel_groups(layers: Iterable[ParallelLayer | None]) -> list[list[ParallelLayer]]:
    """Return the layers of each form that more than one has, in the order of the graph."""
    found: dict[Hashable, list[ParallelLayer]] = {}
    for one in layers:
        if one is not None:
            found.setdefault(one.form, []).append(one)
    return [group for group in found.values() if len(group) > 1]


def float_layer(scene: Scene, node: NodeProto) -> ParallelLayer | None:
    """Return a node as a float layer, None where it is no product with weights of its own for each output channel."""
    return _layer(scene, node, _float_tail(scene, node)) if _is_plain(scene, node) else None


def int8_layer(scene: Scene, node: NodeProto) -> ParallelLayer | None:
    """Return an int8 layer whose result is float, or a convolution whose result is int8."""
    weight = scene.scheme.weights.get(node.input[1]) if _is_plain(scene, node) else None
    if weight is None or weight.axis is None:
        return None
    if node.op_type in FLOAT_RESULT:
        is_float = not any(scene.is_int8(one) for one in scene.graph.consumers.get(node.output[0], ()))
        tail = tuple(takewhile(lambda one: not scene.is_int8(one), _float_tail(scene, node)))
        return _layer(scene, node, tail) if is_float else None
    absorbed = scene.absorbed_by(node)
    grid = scene.grid(absorbed.output[0] if absorbed else node.output[0])
    if grid is None or (absorbed and absorbed.op_type == "HardSigmoid"):  # its shift goes into the bias
        return None
    low, high = clip_bounds(absorbed, scene.graph) if absorbed else (grid.low, grid.high)
    if grid.low < low - grid.scale / 2 or grid.high > high + grid.scale / 2:  # the activation is more than the ends of the grid
        return None
    return _layer(scene, node, (absorbed,) if absorbed else (), (grid.zero_point, grid.signed))


def _is_plain(scene: Scene, node: NodeProto) -> bool:
    """Tell whether a node multiplies by a weight that can be laid beside another one."""
    if node.op_type not in PRODUCTS or not scene.is_int8(node) or node.input[1] not in scene.graph.constants:
        return False
    return attribute(node, "group", 1) == 1 and node.output[0] in scene.shapes


def _layer(scene: Scene, node: NodeProto, tail: tuple[NodeProto, ...], grid: Hashable = None) -> ParallelLayer | None:
    axis = {"Conv": 0, "MatMul": 1}.get(node.op_type, 0 if attribute(node, "transB", 0) else 1)
    dims = list(scene.graph.constants[node.input[1]].dims)
    channels = dims.pop(axis)
    biases = [*node.input[2:3], *(bias_name(scene, one) for one in tail if one.op_type == "Add")]
    if any(name and scene.graph.constants[name].dims != [channels] for name in biases):
        return None
    form = tuple(_form(one, one.input[1:] if one.op_type in _ACTIVATIONS else ()) for one in ((node, *tail) if grid is None else (node,)))
    return ParallelLayer(node, tail, axis, (node.input[0], tuple(dims), form, grid))


def _form(node: NodeProto, operands: Sequence[str]) -> Hashable:
    return node.op_type, tuple(sorted(one.SerializeToString() for one in node.attribute)), tuple(operands)


def _float_tail(scene: Scene, node: NodeProto) -> tuple[NodeProto, ...]:
    """Return the float sum with a bias behind a MatMul, and the activation behind that."""
    tail: list[NodeProto] = []
    reader = scene.only_reader(node.output[0])
    if node.op_type == "MatMul" and reader is not None and reader.op_type == "Add" and bias_name(scene, reader):
        tail.append(reader)
        reader = scene.only_reader(reader.output[0])
    if reader is not None and reader.op_type in _ACTIVATIONS:
        tail.append(reader)
    return tuple(tail)


def bias_name(scene: Scene, node: NodeProto) -> str:
    """Return the constant operand of a sum, empty where there is none."""
    return next((name for name in node.input if name in scene.graph.constants), "")
