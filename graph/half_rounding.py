"""What a float16 model answers where float16 is really computed with, on a CPU that does not.

ONNX Runtime's CPU provider runs a float16 graph in float32 from end to end, optimised or not: (x + 1000) - 1000 keeps every digit there, and
none on a GPU. So a parity gate on a CPU needs the roundings put in.
"""

import numpy as np
import onnx_ir as ir
from onnx import ModelProto

from .copying import copy_model

# Veltkamp's splitting (Dekker 1971, https://doi.org/10.1007/BF01397083): with c = x * (2^13 + 1), c - (c - x) is x rounded to nearest with
# 24 - 13 = 11 bits, float16's. It does not flush what is smaller than float16's smallest; that is an error of 3e-8 at most.
_SPLITTER = np.float32(2**13 + 1)
# These give values that they were given.
_EXACT = frozenset(
    {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Relu", "MaxPool", "GlobalMaxPool", "Concat", "Slice", "Gather"}
)


def rounding_like_half(model: ModelProto) -> ModelProto:
    """Return a float32 model that rounds to float16's 11 bits wherever a converted model has a float16 tensor.

    Sums inside one node (a convolution's, a matrix product's) stay float32, as they are on GPUs. Run it without optimisation.

    Args:
        model: From `graph.precision.half_precision`; it is not changed.
    """
    edited = ir.from_proto(copy_model(model))
    graph = edited.graph
    for value in (*graph.inputs, *graph.initializers.values()):
        _widen_(value)
    splitter = ir.Value(
        name="half_rounding/splitter",
        const_value=ir.tensor(np.array(_SPLITTER), name="half_rounding/splitter"),
        type=ir.TensorType(ir.DataType.FLOAT),
        shape=ir.Shape(()),
    )
    graph.register_initializer(splitter)
    for node in tuple(graph):
        if node.op_type == "Cast" and node.attributes.get_int("to", 0) == ir.DataType.FLOAT16:
            node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT))
        for value in node.outputs:
            if _widen_(value) and node.op_type not in _EXACT:
                _round_(graph, node, value, splitter)
    return ir.to_proto(edited)


def _widen_(value: ir.Value) -> bool:
    """Turn a float16 tensor into a float32 one; whether it was one."""
    if value.dtype != ir.DataType.FLOAT16:
        return False
    value.type = ir.TensorType(ir.DataType.FLOAT)
    if value.const_value is not None:
        value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
    return True


def _round_(graph: ir.Graph, node: ir.Node, value: ir.Value, splitter: ir.Value) -> None:
    """Put a rounding behind a value; infinity, which a mask may hold, passes."""
    readers = tuple(value.uses())
    scaled = ir.node("Mul", [value, splitter])
    rest = ir.node("Sub", [scaled.outputs[0], value])
    rounded = ir.node("Sub", [scaled.outputs[0], rest.outputs[0]])
    infinite = ir.node("IsInf", [value])
    kept = ir.node("Where", [infinite.outputs[0], value, rounded.outputs[0]])
    steps = (scaled, rest, rounded, infinite, kept)
    name = value.name
    for at, step in enumerate(steps):
        step.name = f"{name}/half_rounding_{at}"
        step.outputs[0].name = f"{name}/half_rounding_{at}"
    kept.outputs[0].type, kept.outputs[0].shape = value.type, value.shape
    graph.insert_after(node, steps)
    for use in readers:
        use.node.replace_input_with(use.idx, kept.outputs[0])
    for at, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[at] = kept.outputs[0]
            value.name, kept.outputs[0].name = f"{name}/exact", name
