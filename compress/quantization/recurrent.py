"""LSTM layers with int8 weights: ONNX Runtime's DynamicQuantizeLSTM. For GRU and plain RNN it has no int8 kernel."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ...graph.copying import copy_model
from .indexing import Graph, attribute, tensors_read
from .saturation import narrow
from .scheme import round_weight

DOMAIN = "com.microsoft"  # of the operator; such a file runs on ONNX Runtime alone
_W, _R, _INPUTS = 1, 2, 8  # places of the two weights, and how many inputs an LSTM has at most
_LEFT_OUT = frozenset({"layout"})  # attributes that the int8 operator does not know


def find_lstms(model: ModelProto) -> tuple[str, ...]:
    """Return the names of the LSTM nodes that the int8 kernel can take: constant float32 weights, time before batch."""
    constants = {name for name, one in Graph.of(model).constants.items() if one.data_type == TensorProto.FLOAT}
    lstms = [node for node in model.graph.node if node.op_type == "LSTM" and not attribute(node, "layout", 0)]
    return tuple(node.name for node in lstms if constants.issuperset(node.input[_W : _R + 1]))


def write_lstms(model: ModelProto, names: Collection[str], *, guarded: bool = False) -> ModelProto:
    """Return the model with these LSTM nodes on int8 weights, one scale a gate's row; the kernel quantizes its input at every step.

    Args:
        model: Any model whose LSTM nodes `find_lstms` found; it is not changed.
        names: Which of them.
        guarded: The sums of two products must fit 16 bits, as on x86 without VNNI.
    """
    written = copy_model(model)
    if not names:
        return written
    constants = {one.name: one for one in written.graph.initializer}
    for node in written.graph.node:
        if node.name in names and node.op_type == "LSTM":
            weights = {index: numpy_helper.to_array(constants[node.input[index]]) for index in (_W, _R)}
            _rewrite_(node, weights, written, guarded=guarded)
    used = {name for node in written.graph.node for name in tensors_read(node)} | {one.name for one in written.graph.output}
    kept = [one for one in written.graph.initializer if one.name in used]
    del written.graph.initializer[:]
    written.graph.initializer.extend(kept)
    if not any(one.domain == DOMAIN for one in written.opset_import):
        written.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return written


def _rewrite_(node: NodeProto, weights: dict[int, npt.NDArray[np.float32]], model: ModelProto, *, guarded: bool) -> None:
    inputs = [*node.input, *[""] * (_INPUTS - len(node.input))]
    behind: list[str] = []
    for index, weight in weights.items():
        # One direction each: (4 * hidden, columns).
        rounded = [narrow(node, one, 0) if guarded else round_weight(one, axis=0) for one in weight]
        parts = {
            "quantized": np.stack([one.values.T for one in rounded]),  # (directions, columns, 4 * hidden)
            "scale": np.stack([one.scale for one in rounded]),  # (directions, 4 * hidden)
            "zero_point": np.zeros((len(rounded), weight.shape[1]), np.int8),
        }
        for part, array in parts.items():
            name = f"{node.input[index]}_{part}"
            if all(one.name != name for one in model.graph.initializer):
                model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        inputs[index] = f"{node.input[index]}_quantized"
        behind += [f"{node.input[index]}_scale", f"{node.input[index]}_zero_point"]
    del node.input[:]
    node.input.extend([*inputs, *behind])
    kept = [one for one in node.attribute if one.name not in _LEFT_OUT]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.op_type, node.domain = f"DynamicQuantize{node.op_type}", DOMAIN
