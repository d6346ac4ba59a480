"""Paddings: written as numbers, and folded into the convolution or pool that they were made for.

A Pad node before a convolution stays float in a quantized graph and costs a pass over the tensor: without nine of them, MLPerf Tiny's
ResNet-8 takes 0.230 instead of 0.381 ms in float32 on one core of Zen 4.
"""

import math

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .editing import add_initializer, integers, is_op, main_graph, operand, rank, scalar, sizes

_WINDOWS = ("AveragePool", "Conv", "MaxPool")
# What gives no negative number; Clip does where its lower end is 0 or more, and what only moves values does where its input does.
_NOT_NEGATIVE = ("Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus")
_MOVING = ("AveragePool", "Dropout", "Flatten", "GlobalAveragePool", "Identity", "MaxPool", "Pad", "Reshape", "Slice", "Transpose")


def number_auto_pads_(model: ir.Model) -> bool:
    """Replace `auto_pad` by the numbers it stands for, where the sizes that these follow from are known."""
    changed = False
    for node in model.graph:
        if is_op(node, *_WINDOWS):
            pads = _auto_pads(node)
            if pads is not None:
                node.attributes.pop("auto_pad", None)
                node.attributes["pads"] = ir.AttrInt64s("pads", pads)
                changed = True
    return changed


def number_pad_axes_(model: ir.Model) -> bool:
    """Give every Pad the numbers of all axes instead of a list of some: ONNX Runtime 1.32 moves transpositions past a Pad as if it had none."""
    changed = False
    for node in model.graph:
        table = _table(node) if is_op(node, "Pad") and operand(node, 3) is not None else None
        if table is not None:
            node.replace_input_with(1, add_initializer(main_graph(node), f"{node.outputs[0].name}_pads", table.ravel()))
            node.replace_input_with(3, None)
            changed = True
    return changed


def fold_pads_(model: ir.Model) -> bool:
    """Let convolutions and pools pad their input themselves, where that gives the same numbers; join a Pad with the Pad before it."""
    changed = False
    for node in tuple(model.graph):
        source = operand(node, 0)
        pad = source.producer() if source is not None else None
        if pad is not None and is_op(pad, "Pad") and pad.graph is node.graph and is_op(node, "Pad", *_WINDOWS):
            changed |= _join_(pad, node) if node.op_type == "Pad" else _fold_(pad, node)
    return changed


def _fold_(pad: ir.Node, node: ir.Node) -> bool:
    amounts, own = _spatial(pad), _own_pads(node)
    if amounts is None or own is None or len(amounts) != len(own):
        return False
    pads = [a + b for a, b in zip(amounts, own, strict=True)]
    if not _is_exact(pad, node, own, pads):
        return False
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    node.attributes.pop("auto_pad", None)  # VALID at most
    if node.op_type == "AveragePool":
        node.attributes["count_include_pad"] = ir.AttrInt64("count_include_pad", 1)
    node.replace_input_with(0, pad.inputs[0])
    return True


def _is_exact(pad: ir.Node, node: ir.Node, own: list[int], pads: list[int]) -> bool:
    """Tell whether a window that pads by itself sees what the Pad node gave it."""
    value = _value(pad)
    if node.op_type == "Conv":
        return value == 0
    window = tuple(node.attributes.get_ints("kernel_shape", ())) * 2
    # In a pool each window must meet at least one real element; ONNX Runtime refuses other pools.
    is_plain = not node.attributes.get_int("ceil_mode", 0) and all(one == 1 for one in node.attributes.get_ints("dilations", ()))
    if not is_plain or any(amount >= size for amount, size in zip(pads, window, strict=True)):
        return False
    if node.op_type == "AveragePool":
        return value == 0 and (not any(own) or bool(node.attributes.get_int("count_include_pad", 0)))
    return value == -math.inf or (value == 0 and _is_not_negative(pad.inputs[0]))


def _join_(first: ir.Node, second: ir.Node) -> bool:
    one, other = integers(operand(first, 1)), integers(operand(second, 1))
    is_alike = _is_constant_mode(first) and _is_constant_mode(second) and _value(first) == _value(second) is not None
    if one is None or other is None or not is_alike or len(one) != len(other) or min(one + other) < 0:
        return False
    if operand(first, 3) is not None or operand(second, 3) is not None:
        return False
    total = np.add(one, other).astype(np.int64)
    second.replace_input_with(1, add_initializer(main_graph(second), f"{second.outputs[0].name}_pads", total))
    second.replace_input_with(0, first.inputs[0])
    return True


def _spatial(pad: ir.Node) -> list[int] | None:
    """Return how much a Pad adds, (begins..., ends...) of the spatial axes; None if it does anything else, or what is not known."""
    table = _table(pad) if _is_constant_mode(pad) else None
    return None if table is None or table.min() < 0 or table[:, :2].any() else [int(amount) for amount in table[:, 2:].ravel()]


def _table(pad: ir.Node) -> npt.NDArray[np.int64] | None:
    """Return how much a Pad adds before and behind each axis, shape (2, axes); None where that is not known."""
    amounts, axes = integers(operand(pad, 1)), integers(operand(pad, 3))
    dimensions = len(amounts) // 2 if amounts is not None and operand(pad, 3) is None else rank(operand(pad, 0))
    if amounts is None or dimensions is None or (operand(pad, 3) is not None and axes is None):
        return None
    table = np.zeros((2, dimensions), np.int64)
    table[:, list(axes) if axes is not None else slice(None)] = np.reshape(amounts, (2, -1))
    return table


def _is_constant_mode(pad: ir.Node) -> bool:
    return pad.attributes.get_string("mode", "constant") == "constant"


def _value(pad: ir.Node) -> float | None:
    """Return the number that a Pad puts in; None where it is not known."""
    return 0.0 if operand(pad, 2) is None else scalar(operand(pad, 2))


def _own_pads(node: ir.Node) -> list[int] | None:
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    kernel = _kernel(node)
    return list(node.attributes.get_ints("pads", (0,) * (2 * len(kernel)))) if kernel is not None else None


def _kernel(node: ir.Node) -> tuple[int, ...] | None:
    shape = tuple(node.attributes.get_ints("kernel_shape", ()))
    array_shape = sizes(operand(node, 1)) if node.op_type == "Conv" else None
    known = tuple(size for size in (array_shape or ())[2:] if size is not None)
    return shape or known or None


def _auto_pads(node: ir.Node) -> list[int] | None:
    """Return what `auto_pad` comes to, (begins..., ends...); None where it is not used or not known."""
    kind, kernel, image = node.attributes.get_string("auto_pad", "NOTSET"), _kernel(node), sizes(operand(node, 0))
    if kind == "NOTSET" or kernel is None or node.attributes.get_int("ceil_mode", 0):
        return None
    if kind == "VALID":
        return [0] * (2 * len(kernel))
    if any(one != 1 for one in node.attributes.get_ints("dilations", ())):
        return None  # ONNX Runtime 1.32 refuses such a convolution, and pads such a pool as if there were no dilation
    strides = node.attributes.get_ints("strides", (1,) * len(kernel))
    extents = image[2:] if image is not None else (None,) * len(kernel)
    totals = [_same(*one) for one in zip(extents, kernel, strides, strict=True)]
    known = [total for total in totals if total is not None]
    if len(known) != len(totals):
        return None
    less, more = [total // 2 for total in known], [total - total // 2 for total in known]
    return less + more if kind == "SAME_UPPER" else more + less


def _same(extent: int | None, kernel: int, stride: int) -> int | None:
    """Return how much padding keeps ceil(extent / stride) positions; with a stride of 1 that does not depend on the extent."""
    if stride == 1:
        return kernel - 1
    return None if extent is None else max((math.ceil(extent / stride) - 1) * stride + kernel - extent, 0)


def _is_not_negative(value: ir.Value | None) -> bool:
    """Tell whether no element of a tensor can be below 0, going up through nodes that only choose or average elements."""
    while value is not None and (node := value.producer()) is not None and value is node.outputs[0]:
        if is_op(node, *_NOT_NEGATIVE):
            return True
        if is_op(node, "Clip"):
            low = scalar(operand(node, 1))
            return low is not None and low >= 0
        if not is_op(node, *_MOVING) or (node.op_type == "Pad" and not (_is_constant_mode(node) and (_value(node) or 0) >= 0)):
            return False
        value = operand(node, 0)
    return False
