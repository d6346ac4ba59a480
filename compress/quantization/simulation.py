"""Run a model as if it were quantized: float arithmetic between values that lie on their 8-bit grids.

The corrections measure with it. It differs from the int8 file by the rounding of biases and sums alone, and every tensor of the float model
is still there under its own name.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from ...graph.copying import copy_model
from .scheme import Grid, Scheme

_ON_GRID = "/edgerec_on_grid"  # no model has names that end like this; "conv/scale" many have


def on_grid(name: str) -> str:
    """Return the name that a tensor's quantized values have in a simulation."""
    return f"{name}{_ON_GRID}"


def simulate(model: onnx.ModelProto, scheme: Scheme, outputs: Sequence[str] | None = None) -> onnx.ModelProto:
    """Return the model with its weights on their grids and a QuantizeLinear/DequantizeLinear pair behind every tensor that has a grid.

    A node that computes on integers reads quantized values, and so does a float node behind one that does.

    Args:
        model: Prepared float model; it is not changed.
        scheme: Nodes, grids and weights.
        outputs: Names of the tensors to return; by default the model's outputs, quantized where they have a grid.
    """
    copied = copy_model(model)
    graph = copied.graph
    replace_initializers_(copied, {name: one.dequantize() for name, one in scheme.weights.items()})
    integer = {name for node in graph.node if node.name in scheme.nodes for name in node.output}
    nodes = [*_pairs(graph.input, scheme)]
    for node in graph.node:
        reads_grid = node.name in scheme.nodes
        for index, name in enumerate(node.input):
            if name in scheme.activations and (reads_grid or name in integer):
                node.input[index] = on_grid(name)
        nodes.append(node)
        for name in node.output:
            if name in scheme.activations:
                nodes.extend(_pair(name, scheme.activations[name]))
    wanted = outputs if outputs is not None else [on_grid(one.name) if one.name in scheme.activations else one.name for one in graph.output]
    constants = _constants(scheme)
    rebuilt = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(rebuilt)
    graph.initializer.extend(constants)
    tap_(copied, wanted)
    return copied


def tap_(model: onnx.ModelProto, outputs: Sequence[str]) -> None:
    """Make these tensors the model's only outputs."""
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in outputs)


def replace_initializers_(model: onnx.ModelProto, arrays: "dict[str, np.ndarray]") -> None:
    """Put new values into the initializers of these names."""
    for initializer in model.graph.initializer:
        if initializer.name in arrays:
            initializer.CopyFrom(onnx.numpy_helper.from_array(arrays[initializer.name], initializer.name))


def _pairs(inputs: Iterable[onnx.ValueInfoProto], scheme: Scheme) -> Iterable[onnx.NodeProto]:
    for one in inputs:
        if one.name in scheme.activations:
            yield from _pair(one.name, scheme.activations[one.name])


def _pair(name: str, grid: Grid) -> list[onnx.NodeProto]:
    result = on_grid(name)
    integers, *parameters = (f"{result}/{part}" for part in ("integers", "scale", "zero_point"))
    return [
        onnx.helper.make_node("QuantizeLinear", [name, *parameters], [integers], name=f"{result}/quantize"),
        onnx.helper.make_node("DequantizeLinear", [integers, *parameters], [result], name=f"{result}/dequantize"),
    ]


def _constants(scheme: Scheme) -> list[onnx.TensorProto]:
    arrays = {f"{on_grid(name)}/scale": np.asarray(grid.scale, np.float32) for name, grid in scheme.activations.items()}
    arrays |= {f"{on_grid(name)}/zero_point": np.asarray(grid.zero_point, grid.dtype) for name, grid in scheme.activations.items()}
    return [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
