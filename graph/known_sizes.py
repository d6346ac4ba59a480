"""What can be said about tensors that are worked out from shapes before the model runs, where some sizes are free."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .editing import constant, is_op, operand, sizes

_LARGEST = 1024  # elements; tensors of sizes and paddings are far smaller


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """A tensor of which some elements are known.

    Attributes:
        values: The elements; what stands where one is not known means nothing.
        known: Which are known, of the same shape.
    """

    values: npt.NDArray[np.generic]
    known: npt.NDArray[np.bool_]

    @property
    def is_whole(self) -> bool:
        """Whether every element is known."""
        return bool(self.known.all())


def known_sizes(graph: ir.Graph) -> dict[ir.Value, Partial]:
    """Return what follows from the shapes in the graph: each entry holds for every input that fits the model.

    Followed are the operators that exporters write between a `Shape` and what it is for. Where both the values and the way they go depend
    on free sizes, nothing is said.
    """
    found: dict[ir.Value, Partial] = {}

    def look_up(value: ir.Value | None) -> Partial | None:
        array = constant(value)
        if array is not None and array.size <= _LARGEST:
            return Partial(array, np.ones(array.shape, np.bool_))
        return found.get(value) if value is not None else None

    for node in graph:
        if is_op(node, *_RULES) and len(node.outputs) == 1:
            inputs = [look_up(value) for value in node.inputs]
            result = _RULES[node.op_type](node, inputs)
            if result is not None:
                found[node.outputs[0]] = result
    return found


_Inputs = list[Partial | None]


def _shape(node: ir.Node, inputs: _Inputs) -> Partial | None:
    known = sizes(operand(node, 0))
    if known is None:
        return None
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(known))
    part = known[start:end]
    return Partial(np.array([size or 0 for size in part], np.int64), np.array([size is not None for size in part], np.bool_))


def _gather(node: ir.Node, inputs: _Inputs) -> Partial | None:
    data, index = inputs
    if data is None or index is None or not index.is_whole or data.values.ndim != 1:
        return None
    return _moved(data, lambda one: np.take(one, index.values.astype(np.int64)))


def _slice(node: ir.Node, inputs: _Inputs) -> Partial | None:
    data, start, end = inputs[:3]
    step = inputs[4] if len(inputs) > 4 else None
    if data is None or start is None or end is None or data.values.ndim != 1 or not (start.is_whole and end.is_whole):
        return None
    if len(inputs) > 4 and (step is None or not step.is_whole):
        return None
    part = slice(int(start.values.item()), int(end.values.item()), int(step.values.item()) if step is not None else 1)
    return _moved(data, lambda one: one[part])


def _concat(node: ir.Node, inputs: _Inputs) -> Partial | None:
    parts = [one for one in inputs if one is not None]
    if len(parts) != len(inputs) or any(one.values.ndim != 1 for one in parts):
        return None
    return Partial(np.concatenate([one.values for one in parts]), np.concatenate([one.known for one in parts]))


def _flattened(node: ir.Node, inputs: _Inputs) -> Partial | None:
    """Unsqueeze of a number, Squeeze of a single element."""
    data = inputs[0]
    if data is None or data.values.size != 1 or data.values.ndim > 1:
        return None
    shape = (1,) if node.op_type == "Unsqueeze" else ()
    return _moved(data, lambda one: one.reshape(shape)) if data.values.shape != shape else None


def _cast(node: ir.Node, inputs: _Inputs) -> Partial | None:
    target = ir.DataType(node.attributes.get_int("to", 0))
    if inputs[0] is None or target not in (ir.DataType.INT64, ir.DataType.INT32):
        return None
    return Partial(inputs[0].values.astype(target.numpy()), inputs[0].known)


def _arithmetic(node: ir.Node, inputs: _Inputs) -> Partial | None:
    left, right = inputs
    if left is None or right is None or left.values.dtype != right.values.dtype or not np.issubdtype(left.values.dtype, np.integer):
        return None
    known = left.known & right.known
    divisor = np.where(right.known, right.values, 1)
    if node.op_type == "Div" and not divisor.all():
        return None
    values = _ARITHMETIC[node.op_type](left.values, divisor if node.op_type == "Div" else right.values)
    return Partial(np.asarray(values, left.values.dtype), np.asarray(known))


def _same(node: ir.Node, inputs: _Inputs) -> Partial | None:
    return inputs[0]


def _moved(data: Partial, move: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]]) -> Partial:
    return Partial(np.asarray(move(data.values)), np.asarray(move(data.known), np.bool_))


_ARITHMETIC: dict[str, Callable[[npt.NDArray[np.generic], npt.NDArray[np.generic]], npt.NDArray[np.generic]]] = {
    "Add": np.add,
    "Div": lambda left, right: np.trunc(np.true_divide(left, right)),  # ONNX cuts towards zero; sizes are exact in float64
    "Mul": np.multiply,
    "Sub": np.subtract,
}
_RULES: dict[str, Callable[[ir.Node, _Inputs], Partial | None]] = {
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Squeeze": _flattened,
    "Unsqueeze": _flattened,
    "Cast": _cast,
    "Identity": _same,
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
}
