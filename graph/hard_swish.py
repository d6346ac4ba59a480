"""Hard sigmoid and hard swish, which exporters spell out in up to four nodes, as one HardSigmoid and at most one product.

Left in pieces, a quantizer puts a grid of its own on each; PaddleOCR's direction classifier has 18 of them.
"""

import onnx_ir as ir

from .editing import constant, is_op, only_user, operand, replace_, scalar

_CLOSE = 1e-4  # exporters write 1 / 6 with as few as four digits


def name_hard_sigmoids_(model: ir.Model) -> bool:
    """Turn clip(x + 3, 0, 6) / 6, and x * clip(x + 3, 0, 6) / 6, into HardSigmoid(x) and x * HardSigmoid(x).

    So is clip(a * x + b, 0, 1), and the operator HardSwish. The factor may be written as a division or a product, before or after that with x.
    """
    changed = False
    for node in tuple(model.graph):
        changed |= is_op(node, "Clip") and (_name_unit_(node) or _name_sixths_(node))
        changed |= is_op(node, "HardSwish") and _split_(node)
    return changed


def _split_(node: ir.Node) -> bool:
    """Write HardSwish, for which ONNX Runtime has no kernel, as the two operators that it runs instead."""
    x = node.inputs[0]
    if x is None:
        return False
    sigmoid = _hard_sigmoid(x, 1 / 6, 0.5, node)
    sigmoid.name, sigmoid.outputs[0].name = f"{node.name}_gate", f"{node.outputs[0].name}_gate"
    replace_([node], [sigmoid, ir.Node("", "Mul", [x, sigmoid.outputs[0]], name=node.name)])
    return True


def _name_sixths_(clip: ir.Node) -> bool:
    """Rewrite from a Clip between 0 and 6 on."""
    add, user = _maker(clip, "Add"), only_user(clip)
    x, three = _operands(add) if add is not None else (None, None)
    if add is None or user is None or x is None or three is None or abs(three - 3) > _CLOSE or _limits(clip) != (0, 6):
        return False
    if _is_sixth(user):
        replace_([add, clip, user], [_hard_sigmoid(x, 1 / 6, 0.5, clip)])
        return True
    last = only_user(user)
    other = next((value for value in user.inputs if value is not clip.outputs[0]), None)
    if not is_op(user, "Mul") or last is None or other is None or not _is_sixth(last):
        return False
    sigmoid = _hard_sigmoid(x, 1 / 6, 0.5, clip)
    sigmoid.outputs[0].name = f"{last.outputs[0].name}_gate"
    replace_([add, clip, user, last], [sigmoid, ir.Node("", "Mul", [other, sigmoid.outputs[0]], name=user.name)])
    return True


def _name_unit_(clip: ir.Node) -> bool:
    """Rewrite a Clip between 0 and 1 of a * x + b."""
    add = _maker(clip, "Add")
    scaled, beta = _operands(add) if add is not None else (None, None)
    product = scaled.producer() if scaled is not None else None
    if add is None or beta is None or product is None or only_user(product) is not add or _limits(clip) != (0, 1):
        return False
    x, factor = _factor(product)
    if x is None or factor is None:
        return False
    replace_([product, add, clip], [_hard_sigmoid(x, factor, beta, clip)])
    return True


def _hard_sigmoid(x: ir.Value, alpha: float, beta: float, named_as: ir.Node) -> ir.Node:
    return ir.Node("", "HardSigmoid", [x], [ir.AttrFloat32("alpha", alpha), ir.AttrFloat32("beta", beta)], name=named_as.name)


def _limits(clip: ir.Node) -> tuple[float, float] | None:
    low, high = (constant(operand(clip, index)) for index in (1, 2))
    return (float(low.item()), float(high.item())) if low is not None and high is not None and low.size == high.size == 1 else None


def _maker(clip: ir.Node, kind: str) -> ir.Node | None:
    node = clip.inputs[0].producer() if clip.inputs[0] is not None else None
    return node if node is not None and is_op(node, kind) and only_user(node) is clip else None


def _operands(node: ir.Node) -> tuple[ir.Value | None, float | None]:
    """Return what a sum or product of a tensor and a number is made of; (None, None) for any other."""
    for index, value in enumerate(node.inputs):
        number, other = scalar(value), operand(node, 1 - index)
        if number is not None and other is not None and len(node.inputs) == 2:
            return other, number
    return None, None


def _factor(node: ir.Node) -> tuple[ir.Value | None, float | None]:
    """Return what a node multiplies, and by how much; (None, None) if it does something else."""
    x, number = _operands(node)
    if is_op(node, "Mul"):
        return x, number
    if is_op(node, "Div") and x is operand(node, 0) and number:
        return x, 1 / number
    return None, None


def _is_sixth(node: ir.Node) -> bool:
    factor = _factor(node)[1]
    return factor is not None and abs(factor - 1 / 6) < _CLOSE
