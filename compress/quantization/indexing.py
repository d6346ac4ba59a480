"""Look-ups over a prepared graph: who writes a tensor, who reads it, which are constant."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx.numpy_helper
from onnx import ModelProto, NodeProto, TensorProto


@dataclass(frozen=True, slots=True)
class Graph:
    """Look-ups over a prepared model's main graph.

    Attributes:
        nodes: Every node, in order.
        producer: Tensor to the node that writes it.
        consumers: Tensor to the nodes that read it, in their subgraphs or themselves.
        constants: Initializers by name.
        floats: Names of float32 tensors.
        outputs: Names of the graph's outputs.
        shapes: Tensor to its shape where the number of dimensions is known; 0 where a size is free.
    """

    nodes: tuple[NodeProto, ...]
    producer: Mapping[str, NodeProto]
    consumers: Mapping[str, Sequence[NodeProto]]
    constants: Mapping[str, TensorProto]
    floats: Collection[str]
    outputs: Collection[str]
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, model: ModelProto) -> "Graph":
        """Index a model."""
        graph = model.graph
        consumers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(tensors_read(node)):
                consumers.setdefault(name, []).append(node)
        values = (*graph.input, *graph.value_info, *graph.output)
        floats = {one.name for one in values if one.type.tensor_type.elem_type == TensorProto.FLOAT}
        return cls(
            tuple(graph.node),
            {name: node for node in graph.node for name in node.output},
            consumers,
            {one.name: one for one in graph.initializer},
            floats | {one.name for one in graph.initializer if one.data_type == TensorProto.FLOAT},
            frozenset(one.name for one in graph.output),
            {
                one.name: tuple(dim.dim_value for dim in one.type.tensor_type.shape.dim)
                for one in values
                if one.type.tensor_type.HasField("shape")
            },
        )


def tensors_read(node: NodeProto) -> Iterator[str]:
    """Yield every tensor that a node reads, those inside its subgraphs included; left-out inputs have no name and are no tensors."""
    yield from (name for name in node.input if name)
    for one in node.attribute:
        for graph in (*([one.g] if one.HasField("g") else []), *one.graphs):
            yield from (value.name for value in graph.output)  # a branch may hand on what it does not compute
            for inner in graph.node:
                yield from tensors_read(inner)


def hard_sigmoid_line(node: NodeProto) -> tuple[float, float]:
    """Return slope and value at 0 of the line that a HardSigmoid cuts off at 0 and 1."""
    factors = {one.name: one.f for one in node.attribute}
    return factors.get("alpha", 0.2), factors.get("beta", 0.5)  # ONNX's defaults


def attribute(node: NodeProto, name: str, default: int) -> int:
    """Return an integer attribute."""
    return next((one.i for one in node.attribute if one.name == name), default)


def clip_bounds(node: NodeProto, graph: Graph) -> tuple[float, float]:
    """Return the bounds of a Relu or of a Clip with constant ones."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    values = [float("-inf"), float("inf")]
    for index, name in enumerate(node.input[1:3]):
        if name:
            values[index] = onnx.numpy_helper.to_array(graph.constants[name]).item()  # ONNX Runtime takes one of shape (1,) as well
    return values[0], values[1]
