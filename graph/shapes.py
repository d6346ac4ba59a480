"""Shapes of every tensor, and the multiply-accumulates (MACs) of every node, at a given batch size."""

from collections.abc import Callable
from math import prod

import onnx
from onnx import ModelProto, NodeProto, ValueInfoProto

from ..runtime.errors import ConfigError, ModelError

Shape = tuple[int | None, ...]  # None is a dimension that is not known before the model runs

_WEIGHT_BYTES = 1024  # larger initializers are weights, whose values shape inference does not need


def infer_shapes(model: ModelProto, batch: int = 1) -> dict[str, Shape]:
    """Return the shape of every tensor of the main graph that can be known.

    Args:
        model: Any ONNX model; it is not changed.
        batch: Takes the place of a free first dimension of the inputs; a fixed one stays.

    Raises:
        ConfigError: `batch` is smaller than 1.
        ModelError: The graph uses an operator set that it does not name, or is damaged in another way.
    """
    if batch < 1:
        raise ConfigError("batch must be at least 1", batch, "1 is the usual choice for a device")
    try:
        inferred = onnx.shape_inference.infer_shapes(_skeleton(model, batch), data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise ModelError("shape inference refuses the graph", str(error)[:200], "export the file again") from error
    graph = inferred.graph
    shapes = {
        value.name: _shape(value) for value in (*graph.input, *graph.value_info, *graph.output) if value.type.tensor_type.HasField("shape")
    }
    return shapes | {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}


def count_macs(model: ModelProto, batch: int = 1) -> dict[str, int]:
    """Return the multiply-accumulates of each node that has any, by node name (by its first output where it has none).

    Counted are the convolutions, matrix products and recurrent layers of the main graph, float or integer; `sum(...values())` is the model's.

    Raises:
        ConfigError: `batch` is smaller than 1.
        ModelError: A shape that is needed is not known, for instance because the input size is free.
    """
    shapes = infer_shapes(model, batch)
    counted = [node for node in model.graph.node if node.op_type in _MACS]
    return {node.name or node.output[0]: _MACS[node.op_type](node, lambda name: _known(shapes, name)) for node in counted}


_Lookup = Callable[[str], tuple[int, ...]]


def _conv(node: NodeProto, shape: _Lookup) -> int:
    weight = shape(node.input[3 if node.op_type == "QLinearConv" else 1])  # (M, C / groups, kh, kw)
    return prod(shape(node.output[0])) * prod(weight[1:])


def _conv_transpose(node: NodeProto, shape: _Lookup) -> int:
    weight = shape(node.input[1])  # (C, M / groups, kh, kw): every input pixel meets the kernel once
    return prod(shape(node.input[0])) * prod(weight[1:])


def _gemm(node: NodeProto, shape: _Lookup) -> int:
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return prod(shape(node.output[0])) * shape(node.input[1])[1 if transposed else 0]


def _matmul(node: NodeProto, shape: _Lookup) -> int:
    right = shape(node.input[3 if node.op_type == "QLinearMatMul" else 1])  # (..., K, N), or (K,)
    return prod(shape(node.output[0])) * right[-2 if len(right) > 1 else 0]


def _recurrent(node: NodeProto, shape: _Lookup) -> int:
    # (steps, N, in), (directions, gates * hidden, in), (directions, gates * hidden, hidden)
    x, w, r = (shape(name) for name in node.input[:3])
    return x[0] * x[1] * (prod(w) + prod(r))


_MACS: dict[str, Callable[[NodeProto, _Lookup], int]] = {
    "Conv": _conv,
    "ConvInteger": _conv,
    "QLinearConv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "RNN": _recurrent,
}


def _known(shapes: dict[str, Shape], name: str) -> tuple[int, ...]:
    shape = shapes.get(name)
    known = tuple(size for size in shape or () if size is not None)
    if shape is None or len(known) != len(shape):
        raise ModelError("a shape in the graph is not known", f"{name}: {shape}", "export the model with a fixed input size")
    return known


def _skeleton(model: ModelProto, batch: int) -> ModelProto:
    """Copy the graph with its batch fixed, weights as inputs (2 GiB of them would not fit a message) and no shapes but the inputs'."""
    graph = onnx.GraphProto(name=model.graph.name)
    graph.node.extend(model.graph.node)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    graph.input.extend(_with_batch([value for value in model.graph.input if value.name not in weights], batch))
    for name, tensor in weights.items():
        if tensor.ByteSize() > _WEIGHT_BYTES:
            graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
        else:
            graph.initializer.append(tensor)
    for value in model.graph.output:
        graph.output.add(name=value.name).type.tensor_type.elem_type = value.type.tensor_type.elem_type
    copy = ModelProto(ir_version=model.ir_version, graph=graph)
    copy.opset_import.extend(model.opset_import)
    copy.functions.extend(model.functions)
    return copy


def _with_batch(inputs: list[ValueInfoProto], batch: int) -> list[ValueInfoProto]:
    """Fix the free first dimension of each input, and every other dimension of the same name."""
    firsts = [value.type.tensor_type.shape.dim[0] for value in inputs if value.type.tensor_type.shape.dim]
    names = {dim.dim_param for dim in firsts if dim.dim_param}
    fixed: list[ValueInfoProto] = []
    for value in inputs:
        copy = ValueInfoProto()
        copy.CopyFrom(value)
        for axis, dim in enumerate(copy.type.tensor_type.shape.dim):
            if dim.dim_param in names or (axis == 0 and not dim.HasField("dim_value")):
                dim.dim_value = batch
        fixed.append(copy)
    return fixed


def _shape(value: ValueInfoProto) -> Shape:
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim)
