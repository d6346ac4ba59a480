"""Let the factors of equalisation through x * sigmoid(x) and hard swish, whose gate must still see x as it was.

With x' = x / s, x * gate(x) = s * x' * gate(s * x'). The layer that writes x absorbs the first division and those that read the product the factor in
front; what is left is s in front of the gate. It is a depthwise 1x1 convolution: its int8 weights hold one value a channel, so they lose nothing,
and a hard sigmoid's shift and clips go into it. It costs time, see docs/log.md, 2026-11-26.
"""

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx.helper
import onnx.numpy_helper
from onnx import ModelProto, NodeProto

from ...graph.copying import copy_model
from .equalisation import Equalised, equalise
from .indexing import Graph, hard_sigmoid_line, tensors_read
from .statistics import Statistics

_SIGMOID_CUT = 4.0  # x * sigmoid(x) is between -0.07 and 0 below -4


def equalise_through_gates(model: ModelProto, observe: Callable[[ModelProto], Statistics], *, strength: float = 0.5) -> Equalised:
    """Bring linked channels nearer to one range, those in front of gates included.

    Args:
        model: Prepared float model; it is not changed.
        observe: From a model to the ranges of the channels of its activations.
        strength: As for `equalise`.

    Returns:
        The model, with a convolution in front of every gate that needs one, and no factors where there is none.
    """
    sources = frozenset(gated(Graph.of(model)))
    opened = open_gates(model, sources)
    seen = _cut(opened, observe(opened)) if sources else None
    changed = equalise(opened, seen, strength=strength) if seen else None
    used = sources.intersection(changed.factors) if changed else sources
    if changed is None or seen is None or not used:
        return Equalised(model, {})
    return changed if used == sources else equalise(open_gates(model, used), seen, strength=strength)


def gated(graph: Graph) -> dict[str, NodeProto]:
    """Return every image x of x * gate(x) with its gate, or with the convolution between them."""
    found: dict[str, NodeProto] = {}
    for node in graph.nodes:
        if node.op_type != "Mul" or len(graph.shapes.get(node.output[0], ())) != 4:
            continue
        for source, other in (node.input, node.input[::-1]):
            gate = graph.producer.get(other)
            first = _restorer(graph, gate) or gate if gate is not None and _is_rising(gate) else None
            is_inner = source in graph.producer and source not in graph.outputs
            if first is not None and first.input[0] == source and is_inner and graph.shapes.get(source, (0, 0))[1]:
                found[source] = first
    return found


def open_gates(model: ModelProto, sources: Collection[str]) -> ModelProto:
    """Return the model with a convolution that multiplies by one in front of the gates of these tensors.

    Args:
        model: Prepared float model; it is not changed.
        sources: Of the tensors that `gated` names.
    """
    graph, opened = Graph.of(model), copy_model(model)
    gates = {node.name: name for name, node in gated(graph).items() if name in sources}
    infos = {one.name: one for one in model.graph.value_info}
    names = {name for node in graph.nodes for name in (*node.output, *tensors_read(node), node.name)}
    del opened.graph.node[:]
    for node in model.graph.node:
        source = gates.get(node.name)
        if source is None:
            opened.graph.node.append(node)
            continue
        result = f"{source}_restored"
        while {result, f"{result}_weight"} & names:
            result += "_"
        ones = np.ones((graph.shapes[source][1], 1, 1, 1), np.float32)  # (C, 1, 1, 1)
        opened.graph.initializer.append(onnx.numpy_helper.from_array(ones, f"{result}_weight"))
        inputs, size = [source, f"{result}_weight"], len(ones)
        opened.graph.value_info.append(infos[source])
        opened.graph.value_info[-1].name = result
        opened.graph.node.extend([onnx.helper.make_node("Conv", inputs, [result], result, group=size, kernel_shape=[1, 1]), node])
        opened.graph.node[-1].input[0] = result
    return opened


def useful_lows(graph: Graph, node: NodeProto) -> npt.NDArray[np.float64]:
    """Return below which value of each channel x * gate(s * x) is about 0; shape (C,).

    Args:
        graph: A model with opened gates.
        node: The convolution that multiplies x by s, as `gated` returns it.
    """
    weight = onnx.numpy_helper.to_array(graph.constants[node.input[1]]).ravel().astype(np.float64)
    gate = graph.consumers[node.output[0]][0]
    slope, shift = hard_sigmoid_line(gate) if gate.op_type == "HardSigmoid" else (1.0, _SIGMOID_CUT)
    return -shift / slope / weight


def _is_rising(gate: NodeProto) -> bool:
    return gate.op_type == "Sigmoid" or (gate.op_type == "HardSigmoid" and hard_sigmoid_line(gate)[0] > 0)


def _restorer(graph: Graph, gate: NodeProto) -> NodeProto | None:
    """Return the convolution in front of a gate that only multiplies each channel by a positive number."""
    node = graph.producer.get(gate.input[0])
    if node is None or node.op_type != "Conv" or len(node.input) != 2 or node.input[1] not in graph.constants:
        return None
    weight, is_only = graph.constants[node.input[1]], len(graph.consumers[node.output[0]]) == 1
    is_scale = list(weight.dims[1:]) == [1, 1, 1] and weight.dims[0] == (graph.shapes.get(node.input[0]) or (0, 0))[1]
    return node if is_only and is_scale and (onnx.numpy_helper.to_array(weight) > 0).all() else None


def _cut(model: ModelProto, seen: Statistics) -> Statistics:
    """Return statistics in which values that the gate makes 0 do not widen a channel."""
    graph, tensors = Graph.of(model), dict(seen.tensors)
    for name, node in gated(graph).items():
        if name in tensors and node.op_type == "Conv":
            low = np.maximum(tensors[name].channel_low, useful_lows(graph, node).astype(np.float32))
            tensors[name] = replace(tensors[name], channel_low=low)
    return replace(seen, tensors=tensors)
