"""Matrix products of two dimensions in one form: Gemm with a constant row as bias and no factors."""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .editing import add_initializer, is_op, main_graph, maker, operand, rank, replace_, set_constant_, weight


def join_bias_(model: ir.Model) -> bool:
    """Turn MatMul and Add of constants into Gemm, where the product has two dimensions."""
    changed = False
    for node in tuple(model.graph):
        product = next((found for value in node.inputs if (found := maker(value, "MatMul"))), None) if is_op(node, "Add") else None
        if product is not None:
            changed |= _join_(product, node)
    return changed


def plain_gemm_(model: ir.Model) -> bool:
    """Multiply the factors of every Gemm into its constants, and give its bias the shape (N,)."""
    changed = False
    for node in model.graph:
        changed |= is_op(node, "Gemm") and _plain_(node)
    return changed


def _join_(product: ir.Node, add: ir.Node) -> bool:
    kernel = weight(operand(product, 1))
    value = next((value for value in add.inputs if value is not product.outputs[0]), None)
    bias = weight(value)
    if kernel is None or bias is None or value is None or kernel.ndim != 2 or rank(operand(product, 0)) != 2:
        return False
    row = _row(bias, kernel.shape[1])
    if row is None:
        return False
    if row.shape != bias.shape:
        value = add_initializer(main_graph(add), f"{value.name}_row", row)
    gemm = ir.Node("", "Gemm", [*product.inputs, value], name=product.name)
    replace_([product, add], [gemm])
    return True


def _plain_(node: ir.Node) -> bool:
    kernel, bias = weight(operand(node, 1)), weight(operand(node, 2))
    alpha, beta = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    if kernel is None or (operand(node, 2) is not None and bias is None):
        return False
    outputs = kernel.shape[0 if node.attributes.get_int("transB", 0) else 1]
    row = _row(bias, outputs) if bias is not None else None
    is_bias_plain = bias is None or (row is not None and row.shape == bias.shape)
    if (bias is not None and row is None) or (alpha == beta == 1 and is_bias_plain):
        return False
    if alpha != 1:
        set_constant_(node, 1, kernel * np.float32(alpha), f"{node.outputs[0].name}_weight")
    if row is not None:
        set_constant_(node, 2, row * np.float32(beta), f"{node.outputs[0].name}_bias")
    for name in ("alpha", "beta"):
        node.attributes.pop(name, None)
    return True


def _row(bias: npt.NDArray[np.float32], outputs: int) -> npt.NDArray[np.float32] | None:
    """Return the bias in shape (outputs,) if it is the same for every row; None if it is not."""
    if bias.ndim > 2 or (bias.ndim == 2 and bias.shape[0] != 1) or bias.shape[-1:] not in ((), (1,), (outputs,)):
        return None
    return np.ascontiguousarray(np.broadcast_to(bias.ravel(), (outputs,)))
