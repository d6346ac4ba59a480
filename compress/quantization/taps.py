"""Let small numbers leave the graph instead of whole activations: each channel's extremes, and every k-th element.

ONNX Runtime computes them while an activation is at hand and then reuses its memory. `extract` is the same in numpy, for tensors whose
shape is not known before they run, and for those that are small anyway.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import gcd, prod

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper
import onnx.numpy_helper

from ...graph.copying import copy_model
from ...graph.shapes import infer_shapes
from .feeds import images_in
from .histogram import Floats

Array = npt.NDArray[np.generic]

# An image adds at most about this many elements of a tensor to its histogram: 512 images make 2 million.
ELEMENTS_PER_IMAGE = 4096
SILU_LOWEST_AT = -1.2784645  # where x * sigmoid(x) is smallest: the root of 1 + x * (1 - sigmoid(x))
_AXES_ARE_AN_INPUT = 18  # since this opset, of ReduceMin and ReduceMax
_CHANNELS_SECOND = frozenset(
    {"AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool", "InstanceNormalization", "MaxPool"}
)


@dataclass(frozen=True, slots=True)
class Tap:
    """How one tensor's numbers leave the graph.

    Attributes:
        name: The tensor.
        axis: Its axis that counts channels: the second one, but the last one of three dimensions (N, T, D), as in transformers, unless a
            convolution or a pool reads or writes it (N, C, T); None below two dimensions or where the rank is unknown.
        outputs: Names of the outputs with its lowest and highest values and its elements; None where it leaves as a whole.
    """

    name: str
    axis: int | None
    outputs: tuple[str, str, str] | None

    def read(self, arrays: Mapping[str, Array], images: int) -> tuple[Floats, Floats, Floats]:
        """Return (low, high, elements) of one run: shapes (C,), (C,) and (n,), float32."""
        if self.outputs is None:
            return extract(arrays[self.name], self.axis, images)
        low, high, elements = (arrays[name].astype(np.float32, copy=False).ravel() for name in self.outputs)
        return low, high, elements


def extract(values: Array, axis: int | None, images: int = 1) -> tuple[Floats, Floats, Floats]:
    """Return what goes into the statistics of what a tensor held in one run.

    Args:
        values: At least one value.
        axis: The tensor's axis that counts channels.
        images: How many images ran together. A first dimension of this size counts them.

    Returns:
        (low, high, elements): shapes (C,), (C,) and (n,), float32.
    """
    array = values.astype(np.float32, copy=False)
    others = None if axis is None else tuple(one for one in range(array.ndim) if one != axis)
    rows = array.reshape(_rows(array.shape, images), -1)
    return (
        np.atleast_1d(array.min(axis=others)),
        np.atleast_1d(array.max(axis=others)),
        rows[:, :: stride_for(rows.shape[1])].ravel(),
    )


def stride_for(size: int) -> int:
    """Return which elements of an image of `size` elements go into the histogram: those at multiples of this number, in storage order.

    It shares no factor with the size and so none with any dimension: all rows, columns and channels are visited about equally often.
    """
    stride = max(size // ELEMENTS_PER_IMAGE, 1)
    while gcd(stride, size) != 1:
        stride += 1
    return stride


def tapped(model: onnx.ModelProto, names: Sequence[str], feeds: Mapping[str, Array]) -> tuple[onnx.ModelProto, list[Tap]]:
    """Return a model for inputs of exactly these shapes that also gives what `Tap.read` wants.

    Args:
        model: Prepared float model; it is not changed.
        names: Tensors to observe.
        feeds: One array for each input.
    """
    copied = copy_model(model)
    _fix_shapes_(copied.graph, feeds)
    writer = _Writer(copied, images_in(feeds))
    sources = {name: source for name, source in silu_sources(model.graph).items() if source in names}
    plain = {name: writer.tap(index, name) for index, name in enumerate(names) if name not in sources}
    behind = {name: writer.tap_silu(index, name, plain.get(sources[name])) for index, name in enumerate(names) if name in sources}
    return copied, [(plain | behind)[name] for name in names]


def silu_sources(graph: onnx.GraphProto) -> dict[str, str]:
    """Return the result of every x * sigmoid(x), with its x."""
    gates = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Sigmoid"}
    products = [(node.output[0], *node.input) for node in graph.node if node.op_type == "Mul"]
    return {name: one for name, *pair in products for one, other in (pair, pair[::-1]) if gates.get(other) == one}


class _Writer:
    """Adds the taps' nodes to a graph."""

    def __init__(self, model: onnx.ModelProto, images: int) -> None:
        self._graph = model.graph
        self._images = images
        self._opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
        self._shapes = infer_shapes(model, images)
        known = (*model.graph.input, *model.graph.value_info, *model.graph.output)
        self._floats = {one.name for one in known if one.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
        self._convolved = _touched(model.graph, _CHANNELS_SECOND)
        self._present = {one.name for one in (*model.graph.input, *model.graph.output)}
        self._prefix = _unused_prefix(model.graph)

    def tap(self, index: int, name: str) -> Tap:
        shape = self._shapes.get(name)
        axis = None if shape is None else _channel_axis(len(shape), name in self._convolved)
        sizes = tuple(size for size in shape or () if size)
        rows = _rows(sizes, self._images)
        stride = stride_for(prod(sizes) // rows)
        if shape is None or len(sizes) < len(shape) or stride == 1 or name not in self._floats:
            if name not in self._present:
                self._graph.output.add(name=name)
            return Tap(name, axis, None)
        low, high, elements = (f"{self._prefix}{index}_{part}" for part in ("low", "high", "elements"))
        others = [one for one in range(len(sizes)) if one != axis]
        self._reduce("ReduceMin", name, low, others)
        self._reduce("ReduceMax", name, high, others)
        self._sample(name, elements, rows, stride)
        for output in (low, high, elements):
            self._graph.output.add(name=output)  # ONNX Runtime works out its type
        return Tap(name, axis, (low, high, elements))

    def tap_silu(self, index: int, name: str, source: Tap | None) -> Tap:
        """Tap x * sigmoid(x) where x is tapped too: what was taken of x tells all, and the product stays fused and out of memory.

        The function falls to its minimum and then rises. So the largest result is that of x's smallest or largest value, and the smallest is
        that of the point between these nearest to the minimum. This is below what the images really gave, by next to nothing, where none of
        them meets the minimum; no image can go below it.
        """
        if source is None or source.outputs is None:
            return self.tap(index, name)
        low, high, elements = (f"{self._prefix}{index}_{part}" for part in ("low", "high", "elements"))
        left, right, chosen = source.outputs
        ends = [self._silu(left, f"{high}_left"), self._silu(right, f"{high}_right")]
        self._add("Max", ends, high)
        self._add("Min", [self._add("Max", [left, self._float(SILU_LOWEST_AT)], f"{low}_above"), right], f"{low}_at")
        self._silu(f"{low}_at", low)
        self._silu(chosen, elements)
        for output in (low, high, elements):
            self._graph.output.add(name=output)
        return Tap(name, source.axis, (low, high, elements))

    def _silu(self, name: str, output: str) -> str:
        return self._add("Mul", [name, self._add("Sigmoid", [name], f"{output}_gate")], output)

    def _add(self, kind: str, inputs: Sequence[str], output: str) -> str:
        self._graph.node.append(onnx.helper.make_node(kind, inputs, [output]))
        return output

    def _float(self, value: float) -> str:
        name = f"{self._prefix}{value}"
        if name not in self._present:
            self._graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, np.float32), name))
            self._present.add(name)
        return name

    def _reduce(self, kind: str, name: str, output: str, axes: Sequence[int]) -> None:
        if self._opset < _AXES_ARE_AN_INPUT:
            self._graph.node.append(onnx.helper.make_node(kind, [name], [output], axes=axes, keepdims=0))
        else:
            self._graph.node.append(onnx.helper.make_node(kind, [name, self._constant(*axes)], [output], keepdims=0))

    def _sample(self, name: str, output: str, rows: int, stride: int) -> None:
        flat = f"{output}_flat"
        self._graph.node.append(onnx.helper.make_node("Reshape", [name, self._constant(rows, -1)], [flat]))
        bounds = [self._constant(0), self._constant(2**62), self._constant(1), self._constant(stride)]  # start, end, axis, step
        self._graph.node.append(onnx.helper.make_node("Slice", [flat, *bounds], [output]))

    def _constant(self, *values: int) -> str:
        name = self._prefix + "_".join(str(value) for value in values)
        if name not in self._present:
            self._graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, np.int64), name))
            self._present.add(name)
        return name


def _rows(shape: Sequence[int], images: int) -> int:
    return images if shape and shape[0] == images else 1


def _channel_axis(rank: int, is_convolved: bool) -> int | None:
    if rank < 2:
        return None
    return 2 if rank == 3 and not is_convolved else 1


def _touched(graph: onnx.GraphProto, kinds: Collection[str]) -> set[str]:
    """Return the data inputs and the outputs of nodes of these kinds."""
    return {name for node in graph.node if node.op_type in kinds for name in (node.input[0], *node.output[:1])}


def _fix_shapes_(graph: onnx.GraphProto, feeds: Mapping[str, Array]) -> None:
    for value in graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, feeds[value.name].shape, strict=True):
            dim.dim_value = size


def _unused_prefix(graph: onnx.GraphProto) -> str:
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    prefix = "tap_"
    while any(name.startswith(prefix) for name in names):
        prefix = "_" + prefix
    return prefix
