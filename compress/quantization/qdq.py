"""Write a scheme into a model as QuantizeLinear/DequantizeLinear pairs that ONNX Runtime's CPU provider fuses into int8 kernels."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from ...graph.copying import copy_model
from .indexing import Graph, clip_bounds, hard_sigmoid_line, tensors_read
from .placement import FLOAT_RESULT, PRODUCTS
from .scheme import Grid, IntegerWeight, Scheme, gate_grid, spread
from .sums import part_sums_

# Half of int32's range: the other half is for the products that the kernel adds to the bias.
_MAX_BIAS = 2**30
# What the names of new tensors and nodes end in, behind an underscore.
_PARTS = ("dequantize", "dequantized", "gate", "integer_bias", "quantize", "quantized", "raw", "scale", "shift", "zero_point")


def write_qdq(model: ModelProto, scheme: Scheme, *, integer_bias: bool = True) -> ModelProto:
    """Return the model with its weights as integers and a Q/DQ pair on every tensor that an int8 node reads or writes.

    A tensor that an int8 node writes keeps its name behind the pair; in front of it, it is `NAME_raw`. Of a tensor that a float node writes,
    float nodes read it as it is and int8 nodes read `NAME_dequantized`. Where the model has names that end like this, underscores are doubled. A Relu or Clip whose bounds are the ends of its output's grid is left out:
    quantizing does its work.

    Args:
        model: Prepared float model; it is not changed.
        scheme: What becomes int8, and on which grids. The result of a matrix product that no int8 node reads stays float: its kernel can give
            that, which is faster and loses nothing.
        integer_bias: Store biases as int32; TensorRT wants them in float.
    """
    writer = _Writer(model, scheme, integer_bias=integer_bias)
    outputs = {one.name for one in model.graph.output}
    nodes = _read_ones([*writer.nodes()], outputs)
    read = _names_read(nodes) | outputs
    written = copy_model(model, lambda one: one.name in read)  # not the float weights that became int8
    del written.graph.node[:]
    written.graph.node.extend(nodes)
    written.graph.initializer.extend(writer.constants.values())
    produced = {name for node in nodes for name in node.output}
    del written.graph.value_info[:]
    written.graph.value_info.extend(one for one in model.graph.value_info if one.name in produced)
    part_sums_(written, model, scheme)
    return written


def fit_to_bias(weight: IntegerWeight, bias: npt.NDArray[np.float32], input_scale: float) -> IntegerWeight:
    """Return the weight with a larger scale in the channels whose bias would overflow int32, and only there.

    A bias is stored in units of input scale * weight scale. A channel with tiny weights and a large bias, such as a dead one after batch norm
    was folded in, would wrap around.

    Args:
        weight: Rounded weight.
        bias: One value an output channel.
        input_scale: Scale of the activation that meets the weight.
    """
    least = np.abs(bias.astype(np.float64)) / (_MAX_BIAS * input_scale)
    if not (weight.scale < least).any():
        return weight
    needed = np.maximum(weight.scale, least.max() if weight.axis is None else least)
    scale = np.nextafter(needed.astype(np.float32), np.float32(np.inf))
    scale = np.where(weight.scale < least, scale, weight.scale).astype(np.float32)
    ratio = spread(weight.scale / scale, weight.values.ndim, weight.axis)
    return IntegerWeight(np.rint(weight.values * ratio).astype(np.int8), scale, weight.axis)


class _Writer:
    """The state of one pass over the graph."""

    def __init__(self, model: ModelProto, scheme: Scheme, *, integer_bias: bool) -> None:
        self.graph = Graph.of(model)
        self.scheme = scheme
        self.integer_bias = integer_bias
        self.inputs = [one.name for one in model.graph.input]
        self.constants: dict[str, TensorProto] = {}
        self.quantized: dict[str, str] = {}  # tensor to the name of its integers
        self.read_as: dict[str, str] = {}  # tensor to what int8 nodes read
        self.written: set[str] = set()  # weights that have their DequantizeLinear
        self.mark = _free_mark(model)
        self.weights = dict(scheme.weights)
        for node in self.graph.nodes:
            if self._is_int8(node) and node.op_type in PRODUCTS and node.input[1] in self.weights:
                bias = self._bias_of(node)
                if bias is not None:
                    weight = self.weights[node.input[1]]
                    self.weights[node.input[1]] = fit_to_bias(weight, bias, scheme.activations[node.input[0]].scale)

    def nodes(self) -> Iterator[NodeProto]:
        """Yield the new graph's nodes in an order in which they can run."""
        for name in self.inputs:
            yield from self._pair_for_readers(name)
        for node in self.graph.nodes:
            if not self._is_int8(node):
                yield node
                for name in node.output:
                    yield from self._pair_for_readers(name)
            elif not self._absorber_of(node):
                yield from self._int8_node(node)

    def _int8_node(self, node: NodeProto) -> Iterator[NodeProto]:
        output = self._output_of(node)
        if node.op_type == "HardSigmoid":
            yield from self._shifted(node, self._part(output, "raw"))
            yield from self._gate(node, self._part(output, "raw"), output)
            return
        copy = NodeProto()
        copy.CopyFrom(node)
        if node.op_type == "Pad":
            yield from self._pad(copy, output)
            return
        if node.op_type == "Split":
            yield from self._split(copy)
            return
        for index, name in enumerate(node.input):
            copy.input[index] = self.read_as.get(name, name)
        if node.op_type in PRODUCTS and node.input[1] in self.weights:
            yield from self._integers_(node, copy)
        grid = self.scheme.activations.get(output)
        if grid is None or self._gives_float(node, output):
            copy.output[0] = output
            yield copy
            return
        copy.output[0] = raw = self._part(output, "raw")
        yield copy
        last = self.graph.producer[output]
        if last.op_type == "HardSigmoid":
            yield from self._gate(last, raw, output)
        else:
            yield from self._pair(raw, output, grid, output)
        self.read_as[output] = output

    def _gives_float(self, node: NodeProto, output: str) -> bool:
        """Tell whether a product may leave its result in float: its kernel can, and nobody reads integers."""
        return node.op_type in FLOAT_RESULT and output == node.output[0] and not self._is_read_by_int8(output)

    def _shifted(self, node: NodeProto, result: str) -> Iterator[NodeProto]:
        """Add to a HardSigmoid's input what its line is off zero by; one int8 Add does this and the step to another grid."""
        source, (_, value), shift = node.input[0], _line(node), self._part(result, "shift")
        grid = Grid.covering(value, value, signed=self.scheme.activations[source].signed)
        integer = self._constant(self._part(shift, "quantized"), grid.quantize(np.array([value], np.float32)))
        yield _dequantize([integer, *self._grid(shift, grid)], shift, None)
        yield onnx.helper.make_node("Add", [self.read_as.get(source, source), shift], [result], node.name)

    def _gate(self, node: NodeProto, source: str, output: str) -> Iterator[NodeProto]:
        """Quantize a shifted HardSigmoid input on the grid whose ends clip it to [0, 1], and read the integers as the result.

        So a kernel that quantizes its output computes the gate of a squeeze-excite block or of hard-swish on the way.
        """
        (slope, _), grid = _line(node), self.scheme.activations[output]
        self.quantized[output] = self._part(output, "quantized")
        inputs = [source, *self._grid(self._part(output, "gate"), gate_grid(slope, signed=grid.signed))]
        yield onnx.helper.make_node("QuantizeLinear", inputs, [self.quantized[output]], self._part(output, "quantize"))
        yield self._read_back(output)

    def _pad(self, node: NodeProto, output: str) -> Iterator[NodeProto]:
        """Pad the integers: ONNX Runtime has no int8 form of DQ, Pad, Q."""
        node.input[0] = self.quantized[node.input[0]]
        while len(node.input) < 3:
            node.input.append("")
        node.input[2] = self._grid(output, self.scheme.activations[output])[1]
        self.quantized[output] = node.output[0] = self._part(output, "quantized")
        yield node
        yield self._read_back(output)

    def _split(self, node: NodeProto) -> Iterator[NodeProto]:
        """Split the integers; each part is read on its own grid."""
        node.input[0], outputs = self.quantized[node.input[0]], list(node.output)
        node.output[:] = [self._part(name, "quantized") for name in outputs]
        self.quantized.update(zip(outputs, node.output, strict=True))
        yield node
        yield from map(self._read_back, outputs)

    def _read_back(self, name: str) -> NodeProto:
        """Return the node that makes real values of a tensor's integers."""
        self.read_as[name] = name
        inputs = [self.quantized[name], *self._grid(name, self.scheme.activations[name])]
        return onnx.helper.make_node("DequantizeLinear", inputs, [name], self._part(name, "dequantize"))

    def _is_int8(self, node: NodeProto) -> bool:
        return node.name in self.scheme.nodes

    def _is_read_by_int8(self, name: str) -> bool:
        return any(self._is_int8(node) for node in self.graph.consumers.get(name, ()))

    def _absorber_of(self, node: NodeProto) -> NodeProto | None:
        """Return the int8 node whose kernel does the work of this Relu or Clip."""
        if node.op_type not in ("Clip", "HardSigmoid", "Relu") or node.input[0] in self.scheme.activations or not self._is_int8(node):
            return None
        producer = self.graph.producer.get(node.input[0])
        grid = self.scheme.activations.get(node.output[0])
        if producer is None or not self._is_int8(producer) or grid is None:
            return None
        if node.op_type == "HardSigmoid":
            return producer
        low, high = clip_bounds(node, self.graph)
        step = grid.scale / 2  # a grid that ends within half a step of a bound rounds to the same values
        return producer if grid.low >= low - step and grid.high <= high + step else None

    def _output_of(self, node: NodeProto) -> str:
        readers = self.graph.consumers.get(node.output[0], ())
        absorbed = len(readers) == 1 and self._absorber_of(readers[0]) is not None
        return readers[0].output[0] if absorbed else node.output[0]

    def _pair_for_readers(self, name: str) -> Iterator[NodeProto]:
        """Quantize a tensor that a float node, or nobody, wrote, for the int8 nodes that read it."""
        grid = self.scheme.activations.get(name)
        if grid is not None and self._is_read_by_int8(name):
            self.read_as[name] = self._part(name, "dequantized")
            yield from self._pair(name, self.read_as[name], grid, name)

    def _pair(self, source: str, result: str, grid: Grid, name: str) -> Iterator[NodeProto]:
        constants, quantized = self._grid(name, grid), self._part(name, "quantized")
        self.quantized[name] = quantized
        yield onnx.helper.make_node("QuantizeLinear", [source, *constants], [quantized], self._part(name, "quantize"))
        yield onnx.helper.make_node("DequantizeLinear", [quantized, *constants], [result], self._part(name, "dequantize"))

    def _grid(self, name: str, grid: Grid) -> tuple[str, str]:
        scale = self._constant(self._part(name, "scale"), np.array(grid.scale, np.float32))
        return scale, self._constant(self._part(name, "zero_point"), np.array(grid.zero_point, grid.dtype))

    def _integers_(self, node: NodeProto, copy: NodeProto) -> Iterator[NodeProto]:
        """Let `copy` read int8 weights and an int32 bias, the bias in units of input scale * weight scale."""
        weight = self.weights[node.input[1]]
        name = self._part(node.input[1], "dequantized")
        if name not in self.written:
            self.written.add(name)
            yield self._dequantized(node.input[1], weight.values, weight.scale, weight.axis)
        copy.input[1] = name
        bias = self._bias_of(node)
        if bias is not None and self.integer_bias:
            del copy.input[2:]
            name = self._part(node.name, "integer_bias")
            copy.input.append(self._part(name, "dequantized"))
            scale = np.float32(self.scheme.activations[node.input[0]].scale) * weight.scale  # in float32, as a runtime multiplies them
            integers = np.rint(bias / scale.astype(np.float64)).astype(np.int32)
            yield self._dequantized(name, integers, scale, None if weight.axis is None else 0)

    def _bias_of(self, node: NodeProto) -> npt.NDArray[np.float32] | None:
        """Return the bias, with what a HardSigmoid behind it needs added."""
        last = self.graph.producer[self._output_of(node)]
        bias = numpy_helper.to_array(self.graph.constants[node.input[2]]) if len(node.input) > 2 and node.input[2] else None
        if last.op_type != "HardSigmoid":
            return bias
        shift = np.float32(_line(last)[1])
        return shift + (np.zeros(self.weights[node.input[1]].scale.shape, np.float32) if bias is None else bias)

    def _dequantized(self, name: str, integers: npt.NDArray[np.generic], scale: npt.NDArray[np.float32], axis: int | None) -> NodeProto:
        zero = np.zeros(scale.shape, integers.dtype)
        inputs = [
            self._constant(self._part(name, part), array)
            for part, array in (("quantized", integers), ("scale", scale), ("zero_point", zero))
        ]
        return _dequantize(inputs, self._part(name, "dequantized"), axis)

    def _part(self, name: str, part: str) -> str:
        """Return the name of a new tensor or node that belongs to `name`."""
        return f"{name}{self.mark}{part}"

    def _constant(self, name: str, array: npt.NDArray[np.generic]) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(array), name)
        return name


def _line(node: NodeProto) -> tuple[float, float]:
    """Return a HardSigmoid's slope, and what must be added to its input so that the line goes through 0."""
    slope, shift = hard_sigmoid_line(node)
    return slope, shift / slope


def _dequantize(inputs: list[str], output: str, axis: int | None) -> NodeProto:
    node = onnx.helper.make_node("DequantizeLinear", inputs, [output], output)
    if axis is not None:
        node.attribute.append(onnx.helper.make_attribute("axis", axis))
    return node


def _free_mark(model: ModelProto) -> str:
    """Return the fewest underscores that stand before none of `_PARTS` at the end of a name that the model has already."""
    graph = model.graph
    tensors = (*graph.input, *graph.initializer, *graph.value_info, *graph.node)
    names = {one.name for one in tensors} | {name for node in graph.node for name in (*node.output, *tensors_read(node))}
    mark = "_"
    while any(name.endswith(tuple(f"{mark}{part}" for part in _PARTS)) for name in names):
        mark += "_"
    return mark


def _read_ones(nodes: list[NodeProto], outputs: set[str]) -> list[NodeProto]:
    """Leave out a DequantizeLinear that nobody reads: all readers of its tensor take the integers."""
    read = _names_read(nodes) | outputs
    return [node for node in nodes if node.op_type != "DequantizeLinear" or node.output[0] in read]


def _names_read(nodes: list[NodeProto]) -> set[str]:
    return {name for node in nodes for name in tensors_read(node)}
