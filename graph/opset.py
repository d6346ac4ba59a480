"""From opset 18, which torch's exporter writes, to 17, which older runtimes read."""

from collections.abc import Callable

import onnx_ir as ir
from onnx.defs import SchemaError, get_schema

from .file import OPSET

_EXPORTED = 18


def lower_opset_(model: ir.Model) -> bool:
    """Rewrite an opset 18 model to opset 17 in place; leave it alone when an operator of it needs 18.

    The numbers stay the same: an operator is either defined alike in both versions, or written differently (its axes as an attribute, say).

    Returns:
        Whether the model is at opset 17 now.
    """
    if model.opset_imports.get("") != _EXPORTED:
        return model.opset_imports.get("", 0) == OPSET
    nodes = [node for node in model.graph.all_nodes() if node.domain == ""]
    changed = [node for node in nodes if not _is_alike(node)]
    if model.functions or not all(node.op_type in _LOWER and _LOWER[node.op_type](node) for node in changed):
        return False
    for node in changed:
        _rewrite_(node)
    model.opset_imports[""] = OPSET
    return True


def _is_alike(node: ir.Node) -> bool:
    try:
        return get_schema(node.op_type, OPSET).since_version == get_schema(node.op_type, _EXPORTED).since_version
    except SchemaError:  # new in 18
        return False


def _has_constant_axes(node: ir.Node) -> bool:
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    return axes is None or axes.const_value is not None


def _has_no_axes_input(node: ir.Node) -> bool:
    return len(node.inputs) < 4 or node.inputs[3] is None


def _is_even_split(node: ir.Node) -> bool:
    if "num_outputs" not in node.attributes:
        return True
    shape, axis = node.inputs[0].shape if node.inputs[0] else None, node.attributes.get_int("axis", 0)
    length = shape[axis] if shape else None
    return isinstance(length, int) and length % len(node.outputs) == 0


def _is_plain_resize(node: ir.Node) -> bool:
    attributes = node.attributes
    return (
        not attributes.get_int("antialias", 0)
        and "axes" not in attributes
        and attributes.get_string("keep_aspect_ratio_policy", "stretch") == "stretch"
    )


def _is_plain_scatter(node: ir.Node) -> bool:
    return node.attributes.get_string("reduction", "none") in ("none", "add", "mul")


# Operators that 18 changed, and whether 17 can say what this node does.
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
_LOWER: dict[str, Callable[[ir.Node], bool]] = {
    **{f"Reduce{name}": _has_constant_axes for name in _REDUCTIONS},
    "Pad": _has_no_axes_input,
    "Resize": _is_plain_resize,
    "ScatterElements": _is_plain_scatter,
    "ScatterND": _is_plain_scatter,
    "Split": _is_even_split,
}
_NEW_ATTRIBUTES = ("antialias", "keep_aspect_ratio_policy", "noop_with_empty_axes", "num_outputs")


def _rewrite_(node: ir.Node) -> None:
    if node.op_type.startswith("Reduce") and len(node.inputs) > 1:
        axes = node.inputs[1]
        if axes is not None and axes.const_value is not None:
            node.attributes["axes"] = ir.AttrInt64s("axes", axes.const_value.numpy().tolist())
        node.resize_inputs(1)
    for name in _NEW_ATTRIBUTES:
        node.attributes.pop(name, None)
