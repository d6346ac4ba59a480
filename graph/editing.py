"""What the rules of the clean-up do to a graph in common: read constants, follow a single use, put nodes in place of others."""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[np.generic]


def main_graph(node: ir.Node) -> ir.Graph:
    """Return the graph that a node of a model's main graph stands in."""
    assert isinstance(node.graph, ir.Graph)  # the caller walks a model's main graph
    return node.graph


def is_op(node: ir.Node | None, *kinds: str) -> bool:
    """Tell whether a node is one of these standard operators."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in kinds


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """Return an input, None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def constant(value: ir.Value | None) -> Array | None:
    """Return the array of an initializer; None for anything that may change from run to run."""
    if value is None or value.const_value is None or not value.is_initializer() or value.is_graph_input():
        return None
    return value.const_value.numpy()


def weight(value: ir.Value | None) -> npt.NDArray[np.float32] | None:
    """Return the array of a float32 initializer."""
    array = constant(value)
    return array.astype(np.float32, copy=False) if array is not None and array.dtype == np.float32 else None


def scalar(value: ir.Value | None) -> float | None:
    """Return the number of an initializer that has one; a shape that could add dimensions to what it meets does not count."""
    array = constant(value)
    return float(array.item()) if array is not None and array.size == 1 and array.ndim <= 1 else None


def integers(value: ir.Value | None) -> tuple[int, ...] | None:
    """Return the numbers of an initializer of integers, flat."""
    array = constant(value)
    return tuple(int(one) for one in array.ravel()) if array is not None and np.issubdtype(array.dtype, np.integer) else None


def rank(value: ir.Value | None) -> int | None:
    """Return the number of dimensions where it is known."""
    return len(value.shape) if value is not None and value.shape is not None else None


def sizes(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """Return the shape, None for every free dimension; None where not even the rank is known."""
    if value is None or value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def only_user(node: ir.Node) -> ir.Node | None:
    """Return the node that reads the first output, if that is all that becomes of this node's results."""
    result, *others = node.outputs
    uses = tuple(result.uses())
    if len(uses) != 1 or result.is_graph_output() or any(other.uses() or other.is_graph_output() for other in others):
        return None
    user = uses[0].node
    return user if user.graph is node.graph else None  # a subgraph may read it as well


def maker(value: ir.Value | None, *kinds: str) -> ir.Node | None:
    """Return the node of one of these operators that makes a value, if nothing else reads it."""
    node = value.producer() if value is not None else None
    return node if node is not None and is_op(node, *kinds) and value is node.outputs[0] and only_user(node) is not None else None


def add_initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """Return a new initializer; its name gets a number where the graph has it already."""
    taken, wanted = set(ir.convenience.create_value_mapping(graph)), name
    number = 0
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape))
    graph.register_initializer(value)
    return value


def replace_(old: list[ir.Node], new: list[ir.Node]) -> None:
    """Put `new` in the place of `old`; the result of the last keeps its name."""
    graph = main_graph(old[-1])
    ir.convenience.replace_nodes_and_values(graph, old[-1], old, new, [old[-1].outputs[0]], [new[-1].outputs[0]])


def set_constant_(node: ir.Node, index: int, array: Array, name: str) -> None:
    """Give a node another constant operand: under the old one's name where only this node read it, else under `name`."""
    old = operand(node, index)
    if old is not None and old.is_initializer() and len(old.uses()) == 1:
        old.const_value = ir.tensor(array, name=old.name)
        old.shape, old.type = ir.Shape(array.shape), ir.TensorType(old.const_value.dtype)
        return
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, add_initializer(main_graph(node), name, array))


def take_over_(node: ir.Node, last: ir.Node) -> None:
    """Remove `last`, whose work `node` does by now: the result of `node` gets its name and its users."""
    result, own = last.outputs[0], node.outputs[0]
    name, own.shape, own.type = result.name, result.shape, result.type
    result.replace_all_uses_with(own, replace_graph_outputs=True)
    result.name, own.name = None, name
    main_graph(last).remove(last, safe=True)


def bypass_(node: ir.Node, source: ir.Value) -> bool:
    """Let everybody who reads a node's first output read `source`, and remove the node; False where a name of the model's would be lost."""
    result = node.outputs[0]
    if not result.is_graph_output():
        result.replace_all_uses_with(source)
        main_graph(node).remove(node, safe=True)
        return True
    producer = source.producer()
    if producer is None or source.is_graph_output() or source is not producer.outputs[0]:  # its own name must stay
        return False
    take_over_(producer, node)
    return True
