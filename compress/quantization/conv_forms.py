"""Other spellings of a convolution that compute the same integers: more input channels, or several pixels at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from .indexing import attribute
from .rewriting import Edit, Scene, Shape, attribute_list, chain_kernel, make_node, set_attribute_, with_operands
from .scheme import Grid, IntegerWeight

T = TypeVar("T", bound=np.generic)

_QUAD = 4  # ONNX Runtime's fast int8 convolutions take input channels four at a time ...
_LANES = 16  # ... and output channels sixteen at a time
_NHWC, _NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


def conv_edits(scene: Scene) -> Iterator[list[Edit]]:
    """Yield, for every int8 convolution whose channels miss the fast kernels, the spellings that do not.

    - Zero channels are put behind the input's, with zero weights.
    - A convolution gives `pixels` neighbours of a row as channels of one pixel: its kernel is wider by the distance of these neighbours, with the
      weights once in each place, and its stride is as many times larger. Channels lie last in int8, so a Reshape makes pixels of them again.
    """
    for node in scene.graph.nodes:
        conv = _conv(scene, node)
        if conv is None:
            continue
        quads, lanes = conv.weight.shape[1] % _QUAD == 0, len(conv.weight) % _LANES == 0
        if not (quads and lanes):
            width = scene.shapes[conv.output][3]
            several = [pixels for pixels in (1, 2, 4) if width % pixels == 0 and (pixels == 1 or pixels * len(conv.weight) <= 4 * _LANES)]
            fitting = [pixels for pixels in several if pixels * len(conv.weight) % _LANES == 0 and (pixels > 1 or not quads)]
            yield [_edit(scene, conv, pixels) for pixels in fitting]


@dataclass(frozen=True, slots=True)
class _Conv:
    """An int8 convolution with the activation that its kernel takes over."""

    node: NodeProto
    follower: NodeProto | None
    output: str
    weight: npt.NDArray[np.float32]
    integers: IntegerWeight
    bias: npt.NDArray[np.float32] | None
    grid: Grid


def _conv(scene: Scene, node: NodeProto) -> _Conv | None:
    if node.op_type != "Conv" or not scene.is_int8(node) or node.input[1] not in scene.scheme.weights or attribute(node, "group", 1) != 1:
        return None
    follower = scene.absorbed_by(node)
    output = node.output[0] if follower is None else follower.output[0]
    grid, shape = scene.grid(output), scene.shapes.get(output, ())
    weight = scene.array(node.input[1]).astype(np.float32)
    is_plain = not any(one.name == "auto_pad" and one.s not in (b"", b"NOTSET") for one in node.attribute)
    if grid is None or len(shape) != 4 or node.input[0] not in scene.shapes or not is_plain:
        return None
    if attribute_list(node, "dilations", (1, 1)) != (1, 1) or output in scene.graph.outputs:
        return None
    bias = scene.array(node.input[2]).astype(np.float32) if len(node.input) > 2 and node.input[2] else None
    return _Conv(node, follower, output, weight, scene.scheme.weights[node.input[1]], bias, grid)


def _edit(scene: Scene, conv: _Conv, pixels: int) -> Edit:
    source, quads = conv.node.input[0], -conv.weight.shape[1] % _QUAD
    nodes: list[NodeProto] = []
    constants: dict[str, npt.NDArray[np.generic]] = {}
    activations: dict[str, Grid] = {}
    shapes: dict[str, Shape] = {}
    if quads:
        n, c, h, w = scene.shapes[source]
        padded = f"{conv.node.name}_padded"
        constants[f"{padded}_pads"] = np.array([0, 0, 0, 0, 0, quads, 0, 0], np.int64)
        nodes.append(make_node("Pad", [source, f"{padded}_pads"], padded))
        activations[padded] = scene.scheme.activations[source]
        shapes[padded], source = (n, c + quads, h, w), padded
    step = attribute_list(conv.node, "strides", (1, 1))[1]
    weight_name, bias_name = f"{conv.node.name}_weight_{pixels}", f"{conv.node.name}_bias_{pixels}"
    constants[weight_name] = spread_weight(conv.weight, pixels, step, quads)
    values = spread_weight(conv.integers.values, pixels, step, quads)
    scale = conv.integers.scale if conv.integers.axis is None else np.tile(conv.integers.scale, pixels)
    if conv.bias is not None:
        constants[bias_name] = np.tile(conv.bias, pixels)
    inputs = [source, weight_name, *([bias_name] if conv.bias is not None else [])]
    nodes += _convolution(conv, inputs, pixels, step)
    if pixels > 1:
        nodes += _unfolding(scene, conv, pixels, constants, activations, shapes)
    old = [conv.node] if conv.follower is None else [conv.node, conv.follower]
    return Edit(
        f"{pixels} pixels at a time" if pixels > 1 else f"{quads} zero channels more",
        {old[0].name: tuple(nodes), **{one.name: () for one in old[1:]}},
        constants,
        activations,
        {weight_name: IntegerWeight(values, scale, conv.integers.axis)},
        before=(chain_kernel(scene, old),),
        after=(chain_kernel(scene, nodes, shapes, constants),),
    )


def spread_weight(weight: npt.NDArray[T], pixels: int, step: int, zero_channels: int = 0) -> npt.NDArray[T]:
    """Return the weight of a convolution that computes `pixels` neighbours of a row at once.

    Args:
        weight: Shape (out, in, kh, kw).
        pixels: How many neighbours.
        step: Distance of their windows: the convolution's stride along the row.
        zero_channels: Input channels to add, with zero weights.

    Returns:
        Shape (pixels * out, in + zero_channels, kh, kw + (pixels - 1) * step).
    """
    parts = [
        np.pad(weight, ((0, 0), (0, zero_channels), (0, 0), (number * step, (pixels - 1 - number) * step))) for number in range(pixels)
    ]
    return np.concatenate(parts)


def _convolution(conv: _Conv, inputs: list[str], pixels: int, step: int) -> list[NodeProto]:
    """Return the new convolution, and its activation behind it."""
    suffix = "_wide" if pixels > 1 else ""
    node = with_operands(conv.node, inputs, conv.node.output[0] + suffix)
    kh, kw = conv.weight.shape[2:]
    set_attribute_(node, "kernel_shape", [kh, kw + (pixels - 1) * step])
    set_attribute_(node, "strides", [attribute_list(conv.node, "strides", (1, 1))[0], step * pixels])
    if conv.follower is None:
        return [node]
    return [node, with_operands(conv.follower, [node.output[0], *conv.follower.input[1:]], conv.output + suffix)]


def _unfolding(
    scene: Scene,
    conv: _Conv,
    pixels: int,
    constants: dict[str, npt.NDArray[np.generic]],
    activations: dict[str, Grid],
    shapes: dict[str, Shape],
) -> list[NodeProto]:
    """Return the nodes that make pixels of channels: two transpositions, which ONNX Runtime takes out again, and a Reshape that moves nothing."""
    n, c, h, w = scene.shapes[conv.output]
    wide, last, rows = f"{conv.output}_wide", f"{conv.output}_wide_last", f"{conv.output}_rows"
    shapes[conv.node.output[0] + "_wide"] = shapes[wide] = (n, pixels * c, h, w // pixels)
    shapes[last], shapes[rows] = (n, h, w // pixels, pixels * c), (n, h, w, c)
    activations |= dict.fromkeys((wide, last, rows), conv.grid)
    constants[f"{rows}_shape"] = np.array([0, h, w, c], np.int64)  # 0 keeps the batch
    return [
        make_node("Transpose", [wide], last, perm=_NHWC),
        make_node("Reshape", [last, f"{rows}_shape"], rows),
        make_node("Transpose", [rows], conv.output, perm=_NCHW),
    ]
