"""Which channels of a network can be rescaled together without changing what it computes.

A positive factor passes through ReLU, pools, sums and slices: relu(s * x) = s * relu(x). So the channels that such operators link, over whole
residual streams, carry one common factor; the layers that write them divide their weights by it, and the layers that read them multiply.
Nagel et al. 2019 (arXiv 1906.04721) do it for pairs of layers; here a set of linked channels may span any number of them.
"""

import math

import numpy as np
import onnx

from .indexing import attribute
from .linking import Coupling, Linker


def couple(model: onnx.ModelProto) -> Coupling:
    """Link the channels of a prepared model.

    An operator that is not known here, or a shape that is not, keeps the channels it touches as they are.

    Args:
        model: Prepared float model with inferred shapes; it is not changed.
    """
    linker = Linker(model)
    for node in model.graph.node:
        rule = _RULES.get(node.op_type, Linker.fix_all) if linker.knows_shapes(node) else Linker.fix_all
        rule(linker, node)
    for one in model.graph.output:
        linker.fix(one.name)
    return linker.finish()


def _conv(linker: Linker, node: onnx.NodeProto) -> None:
    weight, groups = linker.constants.get(node.input[1]), attribute(node, "group", 1)
    if weight is None:
        return linker.fix_all(node)
    transposed = node.op_type == "ConvTranspose"
    per_group = weight.shape[1]
    inputs, outputs = (len(weight), per_group * groups) if transposed else (per_group * groups, len(weight))
    read, written = linker.read(node.input[0], 1, inputs), linker.fresh(outputs)
    narrow, wide = (written, read) if transposed else (read, written)
    linker.absorb(node.input[1], wide, 0, writes=not transposed)
    linker.absorb(node.input[1], narrow.reshape(groups, per_group), 1, writes=transposed)
    if len(node.input) > 2 and node.input[2]:
        linker.absorb(node.input[2], written, 0, writes=True)
        linker.fix(node.input[2])
    return linker.write(node.output[0], 1, written)


def _gemm(linker: Linker, node: onnx.NodeProto) -> None:
    weight = linker.constants.get(node.input[1])
    if weight is None or attribute(node, "transA", 0):
        return linker.fix_all(node)
    output_axis = 0 if attribute(node, "transB", 0) else 1
    read, written = linker.read(node.input[0], 1, weight.shape[1 - output_axis]), linker.fresh(weight.shape[output_axis])
    linker.absorb(node.input[1], written, output_axis, writes=True)
    linker.absorb(node.input[1], read, 1 - output_axis, writes=False)
    if len(node.input) > 2 and node.input[2]:
        linker.absorb(node.input[2], written, -1, writes=True)
        linker.fix(node.input[2])  # no constant but an activation
    return linker.write(node.output[0], 1, written)


def _matmul(linker: Linker, node: onnx.NodeProto) -> None:
    weight, rank = linker.constants.get(node.input[1]), len(linker.shapes.get(node.input[0], ()))
    if weight is None or weight.ndim != 2 or not rank:
        return linker.fix_all(node)
    read, written = linker.read(node.input[0], rank - 1, len(weight)), linker.fresh(weight.shape[1])
    linker.absorb(node.input[1], written, 1, writes=True)
    linker.absorb(node.input[1], read, 0, writes=False)
    return linker.write(node.output[0], rank - 1, written)


def _layer_norm(linker: Linker, node: onnx.NodeProto) -> None:
    linker.fix_all(node)
    rank, scale = len(linker.shapes.get(node.input[0], ())), linker.constants.get(node.input[1])
    if attribute(node, "axis", -1) not in (-1, rank - 1) or scale is None or scale.ndim != 1 or not rank:
        return
    written = linker.fresh(len(scale))
    for name in node.input[1:3]:
        linker.absorb(name, written, 0, writes=True)
    linker.write(node.output[0], rank - 1, written)


def _same(linker: Linker, node: onnx.NodeProto) -> None:
    """An operator that treats all channels alike and keeps their places; a slope or a size that is computed keeps its scale."""
    for name in node.input[1:]:
        linker.fix(name)
    if node.input[0] in linker.channels:
        linker.write(node.output[0], *linker.channels[node.input[0]])


def _clip(linker: Linker, node: onnx.NodeProto) -> None:
    bounds = [linker.constants.get(name) for name in node.input[1:3]]
    if len(bounds) == 2 and bounds[0] is not None and bounds[1] is not None and bounds[0].item() == 0 < bounds[1].item():
        linker.ceilings[node.output[0]] = bounds[1].item()
        return _same(linker, node)
    if len(bounds) == 1 and bounds[0] is not None and bounds[0].item() == 0:
        return _same(linker, node)
    return linker.fix_all(node)


def _add(linker: Linker, node: onnx.NodeProto) -> None:
    known = [linker.channels[name] for name in node.input if name in linker.channels]
    rank = max((len(linker.shapes.get(name, ())) for name in node.input), default=0)
    fits = len({(axis, len(ids)) for axis, ids in known}) == 1
    fits = fits and all(len(linker.shapes[name]) == rank for name in node.input if name in linker.channels)
    if not fits or not all(name in linker.channels or name in linker.constants for name in node.input):
        return linker.fix_all(node)
    axis, ids = known[0]
    for _, others in known[1:]:
        linker.join(ids, others)
    for name in node.input:
        if name in linker.constants:
            linker.absorb(name, ids, axis - rank, writes=True)
    return linker.write(node.output[0], axis, ids)


def _mul(linker: Linker, node: onnx.NodeProto) -> None:
    """A product passes the factor of one operand: the one that is no constant and no gate."""
    constants = [name in linker.constants for name in node.input]
    first, second = node.input
    if node.op_type == "Div" or constants[1]:
        gated, gate = first, second
    elif constants[0] or first not in linker.channels or _is_gate(linker, first, second):
        gated, gate = second, first
    else:
        gated, gate = first, second
    linker.fix(gate)
    if gated in linker.channels and linker.shapes.get(gated) == linker.shapes.get(node.output[0], ()):
        linker.write(node.output[0], *linker.channels[gated])
    else:
        linker.fix(gated)


def _is_gate(linker: Linker, first: str, second: str) -> bool:
    return math.prod(linker.shapes.get(first, ())[1:]) < math.prod(linker.shapes.get(second, ())[1:])


def _concat(linker: Linker, node: onnx.NodeProto) -> None:
    known = next((linker.channels[name] for name in node.input if name in linker.channels), None)
    shapes = [linker.shapes.get(name, ()) for name in node.input]
    if known is None or not all(len(shape) > known[0] and shape[known[0]] for shape in shapes):
        return linker.fix_all(node)
    axis = known[0]
    along = attribute(node, "axis", 0) % len(shapes[0]) == axis
    ids = [linker.read(name, axis, shape[axis]) for name, shape in zip(node.input, shapes, strict=True)]
    if not along:
        for others in ids[1:]:
            linker.join(ids[0], others)
    return linker.write(node.output[0], axis, np.concatenate(ids) if along else ids[0])


def _split(linker: Linker, node: onnx.NodeProto) -> None:
    if node.input[0] not in linker.channels:
        return
    axis, ids = linker.channels[node.input[0]]
    along, start = attribute(node, "axis", 0) % len(linker.shapes[node.input[0]]) == axis, 0
    counts = [linker.shapes[name][axis] for name in node.output]
    if along and sum(counts) != len(ids):  # the sizes are computed
        linker.fix_all(node)
        return
    for name, count in zip(node.output, counts, strict=True):
        linker.write(name, axis, ids[start : start + count] if along else ids)
        start += count


def _slice(linker: Linker, node: onnx.NodeProto) -> None:
    if node.input[0] not in linker.channels:
        return None
    arrays = [linker.constants.get(name) for name in node.input[1:]]
    if len(arrays) < 3 or any(array is None for array in arrays):
        return linker.fix_all(node)
    axis, ids = linker.channels[node.input[0]]
    rank = len(linker.shapes[node.input[0]])
    starts, ends, axes, steps = [[int(one) for one in array.ravel()] for array in (*arrays, np.ones_like(arrays[0]))[:4]]  # type: ignore[union-attr]
    for start, end, along, step in zip(starts, ends, axes, steps, strict=True):
        if along % rank == axis:
            ids = ids[slice(start, end if step > 0 or end >= -len(ids) else None, step)]
    return linker.write(node.output[0], axis, ids)


def _pad(linker: Linker, node: onnx.NodeProto) -> None:
    if node.input[0] not in linker.channels:
        return None
    axis, ids = linker.channels[node.input[0]]
    pads, value = (linker.constants.get(name) for name in (*node.input[1:3], "")[:2])
    rank = len(linker.shapes[node.input[0]])
    has_value, has_axes = (len(node.input) > index and node.input[index] != "" for index in (2, 3))
    if pads is None or has_axes or pads.size != 2 * rank or (has_value and (value is None or value.any())):
        return linker.fix_all(node)
    before, after = int(pads[axis]), int(pads[axis + rank])
    is_constant = all(one.s == b"constant" for one in node.attribute if one.name == "mode")
    if min(before, after) < 0 or (max(before, after) > 0 and not is_constant):  # other modes copy channels
        return linker.fix_all(node)
    # Channels of zeros take any factor.
    return linker.write(node.output[0], axis, np.concatenate([linker.fresh(before), ids, linker.fresh(after)]))


def _flatten(linker: Linker, node: onnx.NodeProto) -> None:
    """(N, C, H, W) to (N, C*H*W): each channel becomes H*W features."""
    if node.input[0] not in linker.channels:
        return None
    axis, ids = linker.channels[node.input[0]]
    before, after = linker.shapes[node.input[0]], linker.shapes.get(node.output[0], [])
    if axis == 1 and len(after) == 2 and 0 < after[1] == math.prod(before[1:]):
        return linker.write(node.output[0], 1, np.repeat(ids, after[1] // len(ids)))
    if axis == 1 and len(after) > 1 and after[1] == len(ids) and math.prod(after[1:]) == math.prod(before[1:]):
        return linker.write(node.output[0], 1, ids)
    return linker.fix_all(node)


def _transpose(linker: Linker, node: onnx.NodeProto) -> None:
    if node.input[0] in linker.channels:
        axis, ids = linker.channels[node.input[0]]
        rank = len(linker.shapes[node.input[0]])
        order = next((list(one.ints) for one in node.attribute if one.name == "perm"), [*range(rank)][::-1])
        linker.write(node.output[0], order.index(axis), ids)


_RULES = {
    **dict.fromkeys(
        ("Relu", "LeakyRelu", "PRelu", "Identity", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize"), _same
    ),
    **dict.fromkeys(("Conv", "ConvTranspose"), _conv),
    **dict.fromkeys(("Add", "Sum", "Sub"), _add),
    **dict.fromkeys(("Mul", "Div"), _mul),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _flatten),
    "Clip": _clip,
    "Concat": _concat,
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Transpose": _transpose,
}
