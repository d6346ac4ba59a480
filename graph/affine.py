"""Batch norms and per-channel arithmetic, folded into the weights of the convolution or matrix product beside them.

All of them are y = factor * x + shift with one factor and one shift a channel, and so is what a convolution does to each of its outputs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .editing import add_initializer, is_op, main_graph, maker, only_user, operand, rank, replace_, set_constant_, sizes, take_over_, weight

Reals = npt.NDArray[np.float64]  # products are formed in double precision: folding then costs one rounding to float32

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm")
_ARITHMETIC = ("Add", "Div", "Mul", "Sub")


@dataclass(frozen=True, slots=True, eq=False)
class _Affine:
    """What a node does to its input: factor * x + shift, both of shape (channels,)."""

    source: ir.Value
    factor: Reals
    shift: Reals


def fold_batch_norms_(model: ir.Model) -> bool:
    """Fold every BatchNormalization into the product before or after it; one that stands alone becomes a Mul and an Add."""
    changed = False
    for node in tuple(model.graph):
        if is_op(node, "BatchNormalization"):
            found = _batch_norm(node)
            changed |= found is not None and (_fold_back_(node, found) or _fold_on_(node, found) or _spell_out_(node, found))
    return changed


def fold_arithmetic_(model: ir.Model) -> bool:
    """Fold Add, Sub, Mul and Div by a constant for each channel into the product before or after it."""
    changed = False
    for node in tuple(model.graph):
        if is_op(node, *_ARITHMETIC):
            before, after = maker(_variable(node), *_PRODUCTS), only_user(node)
            back = _arithmetic(node, before, is_after=True)
            if back is not None and _fold_back_(node, back):
                changed = True
                continue
            on = _arithmetic(node, after, is_after=False)
            changed |= on is not None and _fold_on_(node, on)
    return changed


def _batch_norm(node: ir.Node) -> _Affine | None:
    source = operand(node, 0)
    gamma, beta, mean, variance = (weight(operand(node, index)) for index in range(1, 5))
    if source is None or gamma is None or beta is None or mean is None or variance is None:
        return None
    is_training = node.attributes.get_int("training_mode", 0)
    if is_training or any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return None
    factor = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + node.attributes.get_float("epsilon", 1e-5))
    return _Affine(source, factor, beta - mean * factor)


def _variable(node: ir.Node) -> ir.Value | None:
    return next((value for value in node.inputs if value is not None and not value.is_initializer()), None)


def _arithmetic(node: ir.Node, product: ir.Node | None, *, is_after: bool) -> _Affine | None:
    """Read a node as arithmetic on the channels that `product` gives (`is_after`) or takes."""
    source = _variable(node)
    kernel = weight(operand(product, 1)) if product is not None and is_op(product, *_PRODUCTS) else None
    index = next((index for index, value in enumerate(node.inputs) if weight(value) is not None), None)
    if product is None or kernel is None or source is None or index is None or len(node.inputs) != 2:
        return None
    channels = _outputs_of(product, kernel) if is_after else _inputs_of(product, kernel)
    if not is_after and (sizes(source) or ())[1:2] != (channels,):  # one channel times three constants gives three
        return None
    array = weight(node.inputs[index])
    values = _per_channel(array, kernel.ndim, channels) if array is not None else None
    if values is None or (node.op_type == "Div" and (index == 0 or not values.all())):
        return None
    one, zero = np.ones(channels), np.zeros(channels)
    factor, shift = {
        "Add": (one, values),
        "Sub": (one, -values) if index == 1 else (-one, values),
        "Mul": (values, zero),
        "Div": (1 / np.where(values == 0, 1, values), zero),
    }[node.op_type]
    return _Affine(source, factor, shift)


def _per_channel(array: npt.NDArray[np.float32], dimensions: int, channels: int) -> Reals | None:
    """Return one number a channel if that is what a constant says to a tensor of (N, channels, ...); None if it says more."""
    if array.ndim > dimensions:
        return None
    shape = (1,) * (dimensions - array.ndim) + array.shape
    if shape[1] not in (1, channels) or any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    return np.broadcast_to(array.astype(np.float64).ravel(), (channels,))


def _outputs_of(product: ir.Node, kernel: npt.NDArray[np.float32]) -> int:
    if product.op_type == "ConvTranspose":  # (C, M / groups, ...)
        return kernel.shape[1] * product.attributes.get_int("group", 1)
    return kernel.shape[1] if product.op_type == "Gemm" and not product.attributes.get_int("transB", 0) else kernel.shape[0]


def _inputs_of(product: ir.Node, kernel: npt.NDArray[np.float32]) -> int:
    if product.op_type == "Conv":  # (M, C / groups, ...)
        return kernel.shape[1] * product.attributes.get_int("group", 1)
    return kernel.shape[1] if product.op_type == "Gemm" and product.attributes.get_int("transB", 0) else kernel.shape[0]


def _fold_back_(node: ir.Node, affine: _Affine) -> bool:
    """Fold into the product that makes the node's input."""
    product = maker(affine.source, *_PRODUCTS)
    kernel = weight(operand(product, 1)) if product is not None else None
    if product is None or kernel is None or _outputs_of(product, kernel) != affine.factor.size:
        return False
    bias = _bias(product, affine.factor.size)
    if bias is None:
        return False
    alpha = product.attributes.get_float("alpha", 1.0)
    _set_(product, kernel * (alpha * _along_outputs(product, kernel, affine.factor)), bias * affine.factor + affine.shift)
    take_over_(product, node)
    return True


def _fold_on_(node: ir.Node, affine: _Affine) -> bool:
    """Fold into the product that reads the node's result: a shift only where no padding, which stays 0, comes between."""
    product = only_user(node)
    if product is None or not is_op(product, "Conv", "Gemm") or operand(product, 0) is not node.outputs[0]:
        return False
    kernel = weight(operand(product, 1))
    if kernel is None or _inputs_of(product, kernel) != affine.factor.size or product.attributes.get_int("transA", 0):
        return False
    bias = _bias(product, _outputs_of(product, kernel))
    if bias is None or (_is_padded(product) and affine.shift.any()):
        return False
    alpha = product.attributes.get_float("alpha", 1.0)
    shifted = (alpha * kernel * _along_inputs(product, kernel, affine.shift)).astype(np.float64)
    outputs = 1 if product.op_type == "Gemm" and not product.attributes.get_int("transB", 0) else 0
    total = shifted.sum(axis=tuple(axis for axis in range(kernel.ndim) if axis != outputs))
    _set_(product, alpha * kernel * _along_inputs(product, kernel, affine.factor), bias + total)
    product.replace_input_with(0, affine.source)
    main_graph(node).remove(node, safe=True)
    return True


def _spell_out_(node: ir.Node, affine: _Affine) -> bool:
    """Write a batch norm as Mul and Add: both have int8 kernels, and runtimes fuse them with what is near."""
    dimensions = rank(affine.source)
    graph, result = main_graph(node), node.outputs[0]
    if dimensions is None or dimensions < 2:
        return False
    shape = (affine.factor.size, *(1,) * (dimensions - 2))
    factor, shift = (
        add_initializer(graph, f"{result.name}_{name}", values.astype(np.float32).reshape(shape))
        for name, values in (("factor", affine.factor), ("shift", affine.shift))
    )
    scaled = ir.Node("", "Mul", [affine.source, factor], name=f"{node.name}_factor" if node.name else None)
    scaled.outputs[0].name = f"{result.name}_scaled"
    scaled.outputs[0].shape, scaled.outputs[0].type = result.shape, result.type
    replace_([node], [scaled, ir.Node("", "Add", [scaled.outputs[0], shift], name=f"{node.name}_shift" if node.name else None)])
    return True


def _bias(product: ir.Node, outputs: int) -> Reals | None:
    """Return what a product adds, shape (outputs,); None where that is no constant for each output."""
    value = operand(product, 2)
    if value is None:
        return np.zeros(outputs)
    array = weight(value)
    if array is None:
        return None
    if product.op_type != "Gemm":
        return array.astype(np.float64)
    row = _per_channel(array, 2, outputs)
    return row * product.attributes.get_float("beta", 1.0) if row is not None else None


def _is_padded(product: ir.Node) -> bool:
    pads, auto = product.attributes.get_ints("pads", ()), product.attributes.get_string("auto_pad", "NOTSET")
    return any(pads) or auto.startswith("SAME")


def _along_outputs(product: ir.Node, kernel: npt.NDArray[np.float32], values: Reals) -> Reals:
    """Spread one number an output over a kernel's shape."""
    if product.op_type == "Gemm":
        return values[:, np.newaxis] if product.attributes.get_int("transB", 0) else values
    if product.op_type == "Conv":
        return values.reshape(-1, *(1,) * (kernel.ndim - 1))
    group = product.attributes.get_int("group", 1)
    rows = np.repeat(values.reshape(group, -1), kernel.shape[0] // group, axis=0)  # (C, M / groups)
    return rows.reshape(*rows.shape, *(1,) * (kernel.ndim - 2))


def _along_inputs(product: ir.Node, kernel: npt.NDArray[np.float32], values: Reals) -> Reals:
    """Spread one number an input over a kernel's shape."""
    if product.op_type == "Gemm":
        return values if product.attributes.get_int("transB", 0) else values[:, np.newaxis]
    group = product.attributes.get_int("group", 1)
    rows = np.repeat(values.reshape(group, -1), kernel.shape[0] // group, axis=0)  # (M, C / groups)
    return rows.reshape(*rows.shape, *(1,) * (kernel.ndim - 2))


def _set_(product: ir.Node, kernel: Reals, bias: Reals) -> None:
    set_constant_(product, 1, kernel.astype(np.float32), f"{product.outputs[0].name}_weight")
    set_constant_(product, 2, bias.astype(np.float32), f"{product.outputs[0].name}_bias")
    for name in ("alpha", "beta"):  # both are in the constants now
        product.attributes.pop(name, None)
