"""Clean-up of a freshly exported graph: what a runtime would work out at every run, or cannot run well, is settled in the file."""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
from google.protobuf.message import Message
from onnx import ModelProto

from .file import IR_VERSION
from .opset import lower_opset_
from .patterns import gelu_, pool_, transpose_key_
from .shapes import Shape, infer_shapes

_NOTES = ("doc_string", "metadata_props")


def clean(model: ModelProto) -> ModelProto:
    """Return the same function as a plainer graph, at the pinned opset and IR version.

    - Target shapes that are worked out from the input's shape at every run become constants, with -1 for the batch.
    - Means over all pixels, Gelu and attention's transposed keys are spelled the way the runtime has kernels for.
    - Initial states of zeros, which are the default, are left out of recurrent nodes.
    - The exporter's notes go: stack traces and file names tell where a model was made and can double a small file.

    Raises:
        ModelError: Shape inference refuses the graph.
    """
    edited = ir.from_proto(model)
    for _ in range(2):  # what the first round simplifies lets shapes flow further in the second
        _simplify_(edited)
        passes.RemoveUnusedNodesPass()(edited)
    edited.graph.sort()
    lower_opset_(edited)
    edited.ir_version = IR_VERSION
    passes.ShapeInferencePass()(edited)
    plain = ir.to_proto(edited)
    _strip_notes_(plain)
    return plain


def _simplify_(model: ir.Model) -> None:
    proto = ir.to_proto(model)
    shapes = infer_shapes(proto, 2), infer_shapes(proto, 3)
    for node in tuple(model.graph):
        if node.graph is None:  # a rule before it took it out
            continue
        if node.op_type == "Reshape":
            _fix_target_shape_(node, *shapes)
            _drop_idle_(node, *shapes)
        elif node.op_type == "Transpose":
            transpose_key_(node, shapes[0])
        elif node.op_type == "ReduceMean":
            pool_(node, shapes[0])
        elif node.op_type == "Erf":
            gelu_(node)
        elif node.op_type in ("GRU", "LSTM", "RNN"):
            _drop_zero_states_(node)


def _fix_target_shape_(node: ir.Node, at_two: dict[str, Shape], at_three: dict[str, Shape]) -> None:
    """Make the target shape constant when at most one size of the result follows the batch."""
    name, target = node.outputs[0].name or "", node.inputs[1]
    small, large = at_two.get(name), at_three.get(name)
    if target is None or target.const_value is not None or small is None or large is None or len(small) != len(large):
        return
    sizes = [a if a == b else -1 for a, b in zip(small, large, strict=True)]
    if None in sizes or 0 in sizes or sizes.count(-1) > 1:
        return
    node.replace_input_with(1, _constant(node, np.array(sizes, np.int64)))


def _drop_idle_(node: ir.Node, *shapes: dict[str, Shape]) -> None:
    """Pass by a Reshape that changes nothing."""
    source, result = node.inputs[0], node.outputs[0]
    before, after = ([one.get(value.name or "") for one in shapes] for value in (source, result) if value is not None)
    is_idle = before == after and all(shape is not None and None not in shape for shape in before)
    if source is not None and is_idle and not result.is_graph_output():
        result.replace_all_uses_with(source)


def _drop_zero_states_(node: ir.Node) -> None:
    for index in range(5, min(len(node.inputs), 7)):  # initial_h, and initial_c of an LSTM
        if _is_zero(node.inputs[index]):
            node.replace_input_with(index, None)


def _is_zero(value: ir.Value | None) -> bool:
    """Follow a value up through nodes that only repeat or cut, to zeros."""
    while value is not None and value.const_value is None:
        producer = value.producer()
        if producer is None or producer.op_type not in ("Expand", "Slice", "Unsqueeze"):
            return False
        value = producer.inputs[0]
    return value is not None and value.const_value is not None and not value.const_value.numpy().any()


def _constant(node: ir.Node, array: np.ndarray[tuple[int], np.dtype[np.int64]]) -> ir.Value:
    name = f"{node.outputs[0].name}_shape"
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name), type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(array.shape))
    _graph(node).register_initializer(value)
    return value


def _graph(node: ir.Node) -> ir.Graph:
    assert isinstance(node.graph, ir.Graph)  # the caller walks a model's main graph
    return node.graph


def _strip_notes_(message: Message) -> None:
    """Clear every doc string and metadata entry, wherever a message may hold one."""
    for field, value in message.ListFields():
        if field.name in _NOTES:
            message.ClearField(field.name)
        elif field.message_type is not None:
            children: Iterable[Message] = [value] if isinstance(value, Message) else value
            for child in children:
                _strip_notes_(child)
