"""Decide what becomes int8 and write the QuantizeLinear/DequantizeLinear pairs.

First version: ONNX Runtime's own QDQ writer places the pairs, from ranges that `calibration` observed.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx

from ...runtime.providers import load_onnxruntime

# Operators that ONNX Runtime's CPU provider fuses into int8 kernels, or lets int8 pass through. Mul, Sigmoid, HardSigmoid and Softmax stay
# float: they are the gates of SiLU, hard-swish, squeeze-excite and attention, where 8 bits cost the most accuracy.
_CONV_NET_OPS = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Conv",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Pad",
    "Relu",
    "Reshape",
    "Resize",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
# In transformers everything between the products stays float: an int8 LayerNorm or residual stream costs points of accuracy for no time.
_TRANSFORMER_OPS = ("Conv", "Gemm", "MatMul")
PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})
_ACTIVATIONS = frozenset({"Clip", "LeakyRelu", "Relu"})
_FUSING_OPS = PRODUCTS | {"Add"}


def nodes_to_quantize(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes that become int8, in the order of the graph.

    Fewer kinds do so when the model contains attention or layer normalisation. An Add of a constant and an activation that does not follow
    a product or a sum stay float: they are pieces of hard-swish and of batch norms that could not be folded.
    """
    op_types = _op_types_for(model)
    constants = {one.name for one in model.graph.initializer}
    producer = {name: node for node in model.graph.node for name in node.output}
    names: list[str] = []
    for node in model.graph.node:
        fits = node.op_type in op_types
        if node.op_type == "Add":
            fits = fits and not constants & set(node.input)
        elif node.op_type in _ACTIVATIONS:
            before = producer.get(node.input[0])
            fits = fits and before is not None and before.name in names and before.op_type in _FUSING_OPS
        if fits:
            names.append(node.name)
    return names


def tensors_to_observe(model: onnx.ModelProto, nodes: Collection[str]) -> list[str]:
    """Return the float tensors that these nodes read or write, in the order of the graph."""
    floats = float_tensors(model) - {one.name for one in model.graph.initializer}
    touched = [name for node in model.graph.node if node.name in nodes for name in (*node.input, *node.output)]
    return [name for name in dict.fromkeys(touched) if name in floats]


def float_tensors(model: onnx.ModelProto) -> set[str]:
    """Return the names of all float32 tensors with a known type."""
    known = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    return {one.name for one in known if one.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}


def insert_qdq(
    model: onnx.ModelProto, nodes: Sequence[str], ranges: Mapping[str, tuple[float, float]], *, per_channel: bool
) -> onnx.ModelProto:
    """Return the model with int8 weights and quantized activations: U8 asymmetric activations, S8 symmetric weights.

    On x86 only this pair has fast kernels, and its result is exact where the CPU has VNNI.

    Args:
        model: Prepared float model; it is not changed.
        nodes: Names of the nodes to quantize, at least one.
        ranges: (low, high) of every tensor of `tensors_to_observe`.
        per_channel: One weight scale for each output channel instead of one for the tensor.

    Raises:
        ProviderError: onnxruntime is not installed.
    """
    load_onnxruntime()  # says what to install; the names below come from a package of the same wheel
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorData, TensorsData

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    data: dict[str, TensorData | tuple[object, ...]] = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()
    }
    quantizer = QDQQuantizer(
        copied,
        per_channel=per_channel,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, data),
        nodes_to_quantize=list(nodes),
        nodes_to_exclude=[],
        op_types_to_quantize=sorted({node.op_type for node in model.graph.node if node.name in nodes}),
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()  # the writer appends its nodes at the end
    quantized: onnx.ModelProto = quantizer.model.model
    del quantized.metadata_props[:]  # the writer leaves a mark of its own
    quantized.metadata_props.extend(model.metadata_props)
    quantized.producer_name, quantized.producer_version = model.producer_name, model.producer_version
    return quantized


def _op_types_for(model: onnx.ModelProto) -> tuple[str, ...]:
    weighted = {name for node in model.graph.node if node.op_type in ("MatMul", "Mul") for name in node.input}
    for node in model.graph.node:
        is_attention = node.op_type == "Softmax" and node.output[0] in weighted  # a classifier's last Softmax weighs nothing
        if is_attention or node.op_type == "LayerNormalization":
            return _TRANSFORMER_OPS
    return _CONV_NET_OPS
