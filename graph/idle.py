"""Nodes that change nothing, or undo one another."""

from collections.abc import Callable

import onnx_ir as ir

from .editing import bypass_, integers, is_op, operand, rank, scalar, sizes

_RESHAPING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


def drop_idle_(model: ir.Model) -> bool:
    """Take out what gives its input back: Identity, Dropout, casts to the same type, reshapes to the same shape, and the like.

    Two Transposes, and a chain of reshapes, become one or none.
    """
    changed = False
    for node in tuple(model.graph):
        if is_op(node, "Transpose"):
            changed |= _join_transposes_(node)
        elif is_op(node, "Reshape"):
            changed |= _join_reshapes_(node)
        source = operand(node, 0)
        if source is not None and is_op(node, *_IDLE) and _IDLE[node.op_type](node) and not _extra_outputs(node):
            changed |= bypass_(node, source)
    return changed


def _extra_outputs(node: ir.Node) -> bool:
    return any(value.uses() or value.is_graph_output() for value in node.outputs[1:])


def _always(node: ir.Node) -> bool:
    return True


def _has_one_input(node: ir.Node) -> bool:
    return len(node.inputs) == 1


def _is_inference(node: ir.Node) -> bool:
    """Tell whether a Dropout is one of a finished model: its third input switches training on."""
    return operand(node, 2) is None or scalar(operand(node, 2)) == 0


def _keeps_type(node: ir.Node) -> bool:
    source = node.inputs[0]
    return source is not None and source.dtype is not None and source.dtype == node.attributes.get_int("to", 0)


def _keeps_order(node: ir.Node) -> bool:
    order = node.attributes.get_ints("perm", ())
    return bool(order) and list(order) == sorted(order)


def _is_flat(node: ir.Node) -> bool:
    return rank(node.inputs[0]) == 2 and node.attributes.get_int("axis", 1) in (1, -1)


def _adds_nothing(node: ir.Node) -> bool:
    amounts = integers(operand(node, 1))
    return amounts is not None and not any(amounts)


def _keeps_shape(node: ir.Node) -> bool:
    """Tell whether a Reshape's target says what the input has: each size itself, 0 for "as it is", and -1 for at most one."""
    shape, target = sizes(node.inputs[0]), integers(operand(node, 1))
    if shape is None or target is None or len(shape) != len(target) or node.attributes.get_int("allowzero", 0):
        return False
    return sum(wanted == -1 for wanted in target) <= 1 and all(wanted in (0, -1, size) for size, wanted in zip(shape, target, strict=True))


_IDLE: dict[str, Callable[[ir.Node], bool]] = {
    "Cast": _keeps_type,
    "Concat": _has_one_input,
    "Dropout": _is_inference,
    "Flatten": _is_flat,
    "Identity": _always,
    "Max": _has_one_input,
    "Min": _has_one_input,
    "Pad": _adds_nothing,
    "Reshape": _keeps_shape,
    "Sum": _has_one_input,
    "Transpose": _keeps_order,
}


def _join_transposes_(node: ir.Node) -> bool:
    """Read past the Transpose before, and turn both orders into one."""
    first = node.inputs[0].producer() if node.inputs[0] is not None else None
    if first is None or not is_op(first, "Transpose") or "perm" not in first.attributes or "perm" not in node.attributes:
        return False
    before, after = first.attributes.get_ints("perm", ()), node.attributes.get_ints("perm", ())
    node.attributes["perm"] = ir.AttrInt64s("perm", [before[axis] for axis in after])
    node.replace_input_with(0, first.inputs[0])
    return True


def _join_reshapes_(node: ir.Node) -> bool:
    """Read past reshapes before, unless the target copies one of their sizes (0)."""
    first = node.inputs[0].producer() if node.inputs[0] is not None else None
    target = integers(operand(node, 1))
    if first is None or not is_op(first, *_RESHAPING) or target is None or 0 in target:
        return False
    node.replace_input_with(0, first.inputs[0])
    return True
