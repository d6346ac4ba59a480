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
    - Such a convolution reads the rows of its input as they lie, four values at a time, whatever pixel these belong to: no channel is added,
      and a window of grey pixels is read in a quarter of the steps.
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
            tokens = [_token_edit(scene, conv, pixels) for pixels in fitting if not quads and pixels > 1]
            yield [*(_edit(scene, conv, pixels) for pixels in fitting), *(one for one in tokens if one is not None)]


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
    weights = spread_weight(conv.weight, pixels, step, quads), spread_weight(conv.integers.values, pixels, step, quads)
    new = _Spelled(f"{pixels} pixels at a time" if pixels > 1 else f"{quads} zero channels more", nodes, constants, activations, shapes)
    return _finished(scene, conv, new, source, weights, pixels, _Row(step * pixels))


def _token_edit(scene: Scene, conv: _Conv, pixels: int) -> Edit | None:
    """Return the convolution that reads rows as tokens of four values; None where rows or strides are no whole number of them."""
    source = conv.node.input[0]
    n, c, h, w = scene.shapes[source]
    step, pads = attribute_list(conv.node, "strides", (1, 1))[1], attribute_list(conv.node, "pads", (0, 0, 0, 0))
    if w * c % _QUAD or pixels * step * c % _QUAD:
        return None
    before, stride, tokens = -(-pads[1] * c // _QUAD), pixels * step * c // _QUAD, w * c // _QUAD
    lead = before * _QUAD - pads[1] * c  # values of the first token that no window reads
    weights = tokens_of(spread_weight(conv.weight, pixels, step), lead), tokens_of(spread_weight(conv.integers.values, pixels, step), lead)
    behind = (scene.shapes[conv.output][3] // pixels - 1) * stride + weights[0].shape[3] - before - tokens
    if behind < 0:
        return None  # the last columns are never read
    last, rows, result = (f"{conv.node.name}_{part}" for part in ("pixels", "tokens_last", "tokens"))
    shapes: dict[str, Shape] = {last: (n, h, w, c), rows: (n, h, tokens, _QUAD), result: (n, _QUAD, h, tokens)}
    nodes = [
        make_node("Transpose", [source], last, perm=_NHWC),
        make_node("Reshape", [last, f"{rows}_shape"], rows),
        make_node("Transpose", [rows], result, perm=_NCHW),
    ]
    constants: dict[str, npt.NDArray[np.generic]] = {f"{rows}_shape": np.array([0, h, tokens, _QUAD], np.int64)}
    activations = dict.fromkeys((last, rows, result), scene.scheme.activations[source])
    new = _Spelled(f"{pixels} pixels at a time, rows four values at a time", nodes, constants, activations, shapes)
    return _finished(scene, conv, new, result, weights, pixels, _Row(stride, (before, behind)))


def tokens_of(weight: npt.NDArray[T], lead: int = 0) -> npt.NDArray[T]:
    """Return the weight of a convolution whose input's rows are cut into tokens of four values, pixel after pixel, channels last.

    Args:
        weight: Shape (out, in, kh, kw).
        lead: Values of the first token before the first pixel of a window.

    Returns:
        Shape (out, 4, kh, tokens), with zeros where a token reaches beyond the window.
    """
    out, c, kh, kw = weight.shape
    row = weight.transpose(0, 2, 3, 1).reshape(out, kh, kw * c)  # values as they lie
    filled = np.pad(row, ((0, 0), (0, 0), (lead, -(lead + kw * c) % _QUAD)))
    return np.ascontiguousarray(filled.reshape(out, kh, -1, _QUAD).transpose(0, 3, 1, 2))


@dataclass(frozen=True, slots=True)
class _Row:
    """How a spelled convolution walks along a row: its stride, and its pads (before, behind) where they are not the old ones."""

    stride: int
    pads: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Spelled:
    """What stands in front of a spelled convolution, and what comes with it."""

    what: str
    nodes: list[NodeProto]
    constants: dict[str, npt.NDArray[np.generic]]
    activations: dict[str, Grid]
    shapes: dict[str, Shape]


def _finished(
    scene: Scene,
    conv: _Conv,
    new: _Spelled,
    source: str,
    weights: tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]],
    pixels: int,
    row: _Row,
) -> Edit:
    """Return the edit with the convolution itself, and what makes pixels of its channels again."""
    weight_name, bias_name = f"{conv.node.name}_weight_{pixels}", f"{conv.node.name}_bias_{pixels}"
    new.constants[weight_name] = weights[0]
    scale = conv.integers.scale if conv.integers.axis is None else np.tile(conv.integers.scale, pixels)
    if conv.bias is not None:
        new.constants[bias_name] = np.tile(conv.bias, pixels)
    inputs = [source, weight_name, *([bias_name] if conv.bias is not None else [])]
    nodes = [*new.nodes, *_convolution(conv, inputs, weights[0].shape, row, "_wide" if pixels > 1 else "")]
    if pixels > 1:
        nodes += _unfolding_(scene, conv, pixels, new)
    old = [conv.node] if conv.follower is None else [conv.node, conv.follower]
    return Edit(
        new.what,
        {old[0].name: tuple(nodes), **{one.name: () for one in old[1:]}},
        new.constants,
        new.activations,
        {weight_name: IntegerWeight(weights[1], scale, conv.integers.axis)},
        before=(chain_kernel(scene, old),),
        after=(chain_kernel(scene, nodes, new.shapes, new.constants),),
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


def _convolution(conv: _Conv, inputs: list[str], shape: Shape, row: _Row, suffix: str) -> list[NodeProto]:
    """Return the new convolution, with a weight of this shape, and its activation behind it."""
    node = with_operands(conv.node, inputs, conv.node.output[0] + suffix)
    set_attribute_(node, "kernel_shape", shape[2:])
    set_attribute_(node, "strides", [attribute_list(conv.node, "strides", (1, 1))[0], row.stride])
    if row.pads is not None:
        pads = attribute_list(conv.node, "pads", (0, 0, 0, 0))
        set_attribute_(node, "pads", [pads[0], row.pads[0], pads[2], row.pads[1]])
    if conv.follower is None:
        return [node]
    return [node, with_operands(conv.follower, [node.output[0], *conv.follower.input[1:]], conv.output + suffix)]


def _unfolding_(scene: Scene, conv: _Conv, pixels: int, new: _Spelled) -> list[NodeProto]:
    """Return the nodes that make pixels of channels: two transpositions, which ONNX Runtime takes out again, and a Reshape that moves nothing."""
    n, c, h, w = scene.shapes[conv.output]
    wide, last, rows = f"{conv.output}_wide", f"{conv.output}_wide_last", f"{conv.output}_rows"
    new.shapes[conv.node.output[0] + "_wide"] = new.shapes[wide] = (n, pixels * c, h, w // pixels)
    new.shapes.update({last: (n, h, w // pixels, pixels * c), rows: (n, h, w, c)})
    new.activations.update(dict.fromkeys((wide, last, rows), conv.grid))
    new.constants[f"{rows}_shape"] = np.array([0, h, w, c], np.int64)  # 0 keeps the batch
    return [
        make_node("Transpose", [wide], last, perm=_NHWC),
        make_node("Reshape", [last, f"{rows}_shape"], rows),
        make_node("Transpose", [rows], conv.output, perm=_NCHW),
    ]
