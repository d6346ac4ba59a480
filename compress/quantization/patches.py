"""Layers as matrix products: the patches of input that a convolution multiplies its weights with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import onnx

from .indexing import Graph, attribute

Array = npt.NDArray[np.float64]
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or matrix product with constant weights.

    Attributes:
        node: Its node's name.
        op_type: Conv, Gemm or MatMul.
        input: The activation that it reads.
        output: The activation that it writes, before any function.
        weight: Its weight's initializer.
        bias: Its bias's initializer, or "".
        axis: The weight's axis of output channels.
        groups: Groups of a convolution.
        kernel: Kernel height and width, and the like for each spatial dimension; empty for a product.
        strides: As `kernel`.
        dilations: As `kernel`.
        pads: Zeros before each spatial dimension, then behind each.
    """

    node: str
    op_type: str
    input: str
    output: str
    weight: str
    bias: str = ""
    axis: int = 0
    groups: int = 1
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()

    def rows(self, weight: Array) -> Array:
        """Return the weight as (groups, output channels of a group, inputs of a group)."""
        return np.moveaxis(weight, self.axis, 0).reshape(self.groups, weight.shape[self.axis] // self.groups, -1)

    def unrows(self, rows: Array, shape: Sequence[int]) -> Array:
        """Undo `rows` for a weight of this shape."""
        others = [size for index, size in enumerate(shape) if index != self.axis]
        return np.moveaxis(rows.reshape(shape[self.axis], *others), 0, self.axis)


def layers_of(model: onnx.ModelProto) -> list[Layer]:
    """Return the layers of a prepared model in order; convolutions with automatic padding are left out."""
    graph = Graph.of(model)
    return [layer for node in graph.nodes if (layer := _layer(node, graph)) is not None]


def patches(layer: Layer, array: npt.NDArray[np.generic], per_image: int) -> Array:
    """Return input vectors of a layer, at positions spread evenly over each image.

    Args:
        layer: A layer.
        array: What it reads, (images, channels, height, width) for a convolution, (..., inputs) or (inputs,) for a product.
        per_image: Positions taken from each image, at most.

    Returns:
        Shape (groups, vectors, inputs of a group).
    """
    if layer.op_type != "Conv":
        vectors = array.reshape(len(array) if array.ndim > 1 else 1, -1, array.shape[-1])
        return vectors[:, _spread(vectors.shape[1], per_image)].reshape(1, -1, array.shape[-1]).astype(np.float64)
    rank = len(layer.kernel)
    pads = list(zip(layer.pads[:rank], layer.pads[rank:], strict=True))
    views = windows(array, layer.kernel, layer.strides, layer.dilations, pads)
    places = views.shape[2 : 2 + rank]
    chosen = np.unravel_index(_spread(int(np.prod(places)), per_image), places)
    taken = views[(slice(None), slice(None), *chosen)]  # (N, C, P, kernel..)
    images, channels, count = taken.shape[:3]
    grouped = taken.reshape(images, layer.groups, channels // layer.groups, count, -1).transpose(1, 0, 3, 2, 4)  # (G, N, P, C/G, kernel)
    return grouped.reshape(layer.groups, images * count, -1).astype(np.float64)


def windows(
    array: npt.NDArray[T],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[tuple[int, int]],
    padding: int = 0,
) -> npt.NDArray[T]:
    """Return what a convolution's kernel meets at each place, as a view of the padded array.

    Args:
        array: Shape (N, C, ...).
        kernel: Size along each spatial dimension.
        strides: Distance of two places.
        dilations: Distance of two taps.
        pads: How much is put before and behind.
        padding: What is put there.

    Returns:
        Shape (N, C, places..., kernel...).
    """
    padded = np.pad(array, [(0, 0), (0, 0), *pads], constant_values=padding)
    spans = tuple((size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True))
    views = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(2, 2 + len(spans))))
    return views[(slice(None), slice(None), *(slice(None, None, step) for step in (*strides, *dilations)))]


def _spread(total: int, wanted: int) -> npt.NDArray[np.intp]:
    # An irrational-looking step visits rows and columns alike; a plain stride would walk along one column.
    if wanted >= total:
        return np.arange(total)
    return np.sort((np.arange(wanted) * 0.6180339887498949 % 1 * total).astype(np.intp))


def _layer(node: onnx.NodeProto, graph: Graph) -> Layer | None:
    if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in graph.constants or node.input[0] in graph.constants:
        return None
    shape = tuple(graph.constants[node.input[1]].dims)
    bias = node.input[2] if len(node.input) > 2 and node.input[2] in graph.constants else ""
    if node.op_type != "Conv":
        if len(shape) != 2 or (node.op_type == "Gemm" and attribute(node, "transA", 0)):
            return None
        axis = 0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 1
        return Layer(node.name, node.op_type, node.input[0], node.output[0], node.input[1], bias, axis)
    given = {one.name: tuple(one.ints) for one in node.attribute}
    if any(one.name == "auto_pad" and one.s not in (b"NOTSET", b"VALID") for one in node.attribute):
        return None
    kernel, ones = shape[2:], (1,) * len(shape[2:])
    pads = given.get("pads", (0,) * 2 * len(kernel))
    return Layer(
        *(node.name, node.op_type, node.input[0], node.output[0], node.input[1], bias, 0, attribute(node, "group", 1), kernel),
        *(given.get("strides", ones), given.get("dilations", ones), pads),
    )
