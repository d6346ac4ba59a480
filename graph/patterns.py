"""The same arithmetic, spelled the way ONNX Runtime has a kernel for; each rule edits one node's surroundings in place."""

import onnx_ir as ir

from .editing import only_user, replace_
from .shapes import Shape, infer_shapes

Shapes = dict[str, Shape]


def spell_for_kernels_(model: ir.Model) -> bool:
    """Apply every rule of this module wherever it fits."""
    shapes = infer_shapes(ir.to_proto(model), 2)
    changed = False
    for node in tuple(model.graph):
        if node.graph is None or node.domain:  # a rule before it took it out
            continue
        if node.op_type == "Transpose":
            changed |= transpose_key_(node, shapes)
        elif node.op_type == "ReduceMean":
            changed |= pool_(node, shapes)
        elif node.op_type == "Erf":
            changed |= gelu_(node)
    return changed


def pool_(node: ir.Node, shapes: Shapes) -> bool:
    """Turn a mean over the pixels of (N, C, H, W) into `GlobalAveragePool`, and a Flatten where the dimensions go away.

    The pool has blocked float and int8 kernels; `ReduceMean` has neither, and makes the runtime reorder the whole feature map first.
    """
    image = node.inputs[0]
    if image is None or len(_shape(image, shapes)) != 4 or _axes(node) not in ([2, 3], [-2, -1]):
        return False
    output = node.outputs[0]
    pool = ir.Node("", "GlobalAveragePool", [image], name=f"{node.name}_pool")
    steps = [pool]
    if not node.attributes.get_int("keepdims", 1):
        pool.outputs[0].name = f"{output.name}_pooled"
        steps.append(ir.Node("", "Flatten", [pool.outputs[0]], [ir.AttrInt64("axis", 1)], name=f"{node.name}_flatten"))
    replace_([node], steps)
    return True


def transpose_key_(node: ir.Node, shapes: Shapes) -> bool:
    """Transpose attention's keys at once: torch's exporter merges two dimensions, swaps the last two and splits them again.

    ONNX Runtime joins a Transpose with the MatMul after it, not through a Reshape: with `gelu_` 8 % of vit_tiny's time.
    """
    split = only_user(node)
    merge = node.inputs[0].producer() if node.inputs[0] is not None else None
    if (
        merge is None
        or split is None
        or {merge.op_type, split.op_type} != {"Reshape"}
        or list(node.attributes.get_ints("perm", ())) != [0, 2, 1]
    ):
        return False
    source = merge.inputs[0]
    before, middle, after = (_shape(value, shapes) for value in (source, node.outputs[0], split.outputs[0]))
    known = len(before) == 4 and None not in before and len(middle) == 3
    if not known or after != (*before[:2], before[3], before[2]) or middle[1:] != after[2:]:
        return False
    swapped = ir.Node("", "Transpose", [source], [ir.AttrInt64s("perm", [0, 1, 3, 2])], name=node.name)
    replace_([split], [swapped])
    return True


def gelu_(node: ir.Node) -> bool:
    """Turn x * (0.5 * (1 + erf(..))) into (x * (1 + erf(..))) * 0.5, the order that ONNX Runtime knows as one Gelu.

    A product with a power of two is exact, so no value changes (short of underflow).
    """
    one_plus = only_user(node)
    half = only_user(one_plus) if one_plus is not None and one_plus.op_type == "Add" else None
    product = only_user(half) if half is not None and half.op_type == "Mul" else None
    if half is None or product is None or product.op_type != "Mul":
        return False
    constant = next((index for index, value in enumerate(half.inputs) if _is_half(value)), None)
    other = next((index for index, value in enumerate(product.inputs) if value is not half.outputs[0]), None)
    if constant is None or other is None:
        return False
    point_five, x = half.inputs[constant], product.inputs[other]
    half.replace_input_with(constant, x)
    product.replace_input_with(other, point_five)
    return True


def _shape(value: ir.Value | None, shapes: Shapes) -> Shape:
    return shapes.get(value.name or "", ()) if value is not None else ()


def _axes(node: ir.Node) -> list[int]:
    if "axes" in node.attributes:  # before opset 18
        return sorted(node.attributes.get_ints("axes", ()))
    value = ir.convenience.get_const_tensor(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else None
    return sorted(value.numpy().tolist()) if value is not None else []


def _is_half(value: ir.Value | None) -> bool:
    return (
        value is not None
        and value.const_value is not None
        and value.const_value.size == 1
        and float(value.const_value.numpy().item()) == 0.5
    )
