"""What a kernel's time depends on: operators, attributes, shapes and precision, as a value that can be compared, stored and looked up."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, cast

import numpy as np
import onnx.helper
import onnx.numpy_helper
from onnx import NodeProto, TensorProto

Precision = Literal["fp32", "int8", "island"]
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]

_PLAIN = frozenset({1, 2, 3, 6, 7, 8})  # AttributeProto's FLOAT, INT, STRING and the lists of these
_ENDS_OF_A_GRID = frozenset({"Clip", "HardSigmoid", "Relu"})
_FEW = 16  # values that decide what a node does (axes, paddings, bounds) are few; of weights only the shape counts


@dataclass(frozen=True, slots=True)
class Operand:
    """An input of an operator.

    Attributes:
        shape: Its sizes.
        constant: Whether it is in the file.
        integer: Whether it holds int64 and not float32.
        values: Its numbers, flat, where what the operator does follows from them.
    """

    shape: tuple[int, ...]
    constant: bool = False
    integer: bool = False
    values: tuple[int, ...] | tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Operator:
    """A node without its name: what it computes and what it reads; an operand that is left out is None."""

    op_type: str
    operands: tuple[Operand | None, ...]
    attributes: tuple[tuple[str, Attribute], ...] = ()


@dataclass(frozen=True, slots=True)
class Kernel:
    """An operator, and what follows it so closely that one kernel may compute both.

    Attributes:
        operators: The first one, and those that each take the result of the one before as their first operand.
        precision: What it computes on. `int8` is u8 activations in the layout that int8 layers have between each other. Of QuantizeLinear and
            DequantizeLinear it names the neighbour on the float side: `fp32` a layer with its own layout, `int8` an input or output of the model;
            a QuantizeLinear with other operators behind it is where the model begins. `island` is float between int8 neighbours: it includes the
            steps to float and back.
    """

    operators: tuple[Operator, ...]
    precision: Precision

    @property
    def first(self) -> Operator:
        """The operator that gives the kernel its name."""
        return self.operators[0]

    def to_json(self) -> dict[str, object]:
        """Return plain lists, numbers and texts."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, object]) -> "Kernel":
        """Read a kernel back; whoever calls turns a KeyError or TypeError into what the file is called."""
        steps = cast("list[dict[str, object]]", raw["operators"])
        return cls(tuple(_operator(one) for one in steps), cast("Precision", raw["precision"]))


def conversion(shape: Sequence[int], *, to_int8: bool, at_edge: bool = False) -> Kernel:
    """Return the kernel that turns a tensor into integers or back.

    Args:
        shape: The tensor's sizes.
        to_int8: Quantize instead of dequantize.
        at_edge: The float side is an input or an output of the model, and not a layer.
    """
    op_type = "QuantizeLinear" if to_int8 else "DequantizeLinear"
    return Kernel((Operator(op_type, (Operand(tuple(shape)),)),), "int8" if at_edge else "fp32")


def kernel_of(
    nodes: Sequence[NodeProto], shapes: Mapping[str, Sequence[int | None]], constants: Mapping[str, TensorProto], precision: Precision
) -> Kernel | None:
    """Return the kernel of a node and of the activations behind it, or None where a shape is not known or a node has a body of its own.

    Args:
        nodes: The node, then those that each read the result of the one before.
        shapes: Sizes of every tensor.
        constants: Initializers by name.
        precision: What the kernel computes on; in int8 an activation behind a node is the ends of a grid, and costs nothing.
    """
    steps: list[Operator] = []
    result = ""
    for node in nodes:
        if precision == "int8" and steps and node.op_type in _ENDS_OF_A_GRID:
            result = node.output[0]
            continue
        operands = [_operand(name, shapes, constants) for name in node.input]
        if result and result in node.input:
            index = list(node.input).index(result)
            operands.insert(0, operands.pop(index))
        fits = all(one is not None or not name for one, name in zip(operands, node.input, strict=True))
        if node.op_type == "Split" and fits and operands[1:] in ([], [None]):
            operands[1:] = [_equal_parts(node, operands[0])]
        if not fits or any(one.type not in _PLAIN for one in node.attribute):
            return None
        steps.append(Operator(node.op_type, tuple(operands), tuple(sorted((one.name, _value(one)) for one in node.attribute))))
        result = node.output[0]
    return Kernel(tuple(steps), precision)


def _equal_parts(node: NodeProto, operand: Operand | None) -> Operand | None:
    """Return the sizes of a Split that names none: a kernel has them as an operand."""
    if operand is None:
        return None
    axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
    parts, size = len(node.output), operand.shape[axis]
    each = -(-size // parts)
    return Operand((parts,), constant=True, integer=True, values=(*(each for _ in range(parts - 1)), size - each * (parts - 1)))


def _operand(name: str, shapes: Mapping[str, Sequence[int | None]], constants: Mapping[str, TensorProto]) -> Operand | None:
    if not name:
        return None
    if name not in constants:
        shape = shapes.get(name)
        sizes = tuple(size for size in shape or () if size)
        return Operand(sizes) if shape is not None and len(sizes) == len(shape) else None
    tensor = constants[name]
    is_integer = tensor.data_type != TensorProto.FLOAT
    array = onnx.numpy_helper.to_array(tensor) if is_integer or np.prod(tensor.dims) <= _FEW else None
    is_weight = not is_integer and len(tensor.dims) > 1  # however small
    values = None if array is None or is_weight else tuple(array.ravel().tolist())
    return Operand(tuple(tensor.dims), constant=True, integer=is_integer, values=values)


def _value(attribute: onnx.AttributeProto) -> Attribute:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (int, float)):
        return value
    return cast("Attribute", tuple(one.decode() if isinstance(one, bytes) else one for one in value))


def _operator(raw: Mapping[str, object]) -> Operator:
    operands = cast("list[dict[str, object] | None]", raw["operands"])
    attributes = cast("list[tuple[str, object]]", raw["attributes"])
    return Operator(
        str(raw["op_type"]),
        tuple(None if one is None else _operand_from(one) for one in operands),
        tuple(
            (name, cast("Attribute", tuple(cast("list[int]", value)) if isinstance(value, list) else value)) for name, value in attributes
        ),
    )


def _operand_from(raw: Mapping[str, object]) -> Operand:
    values = cast("list[int] | list[float] | None", raw["values"])
    return Operand(
        tuple(cast("list[int]", raw["shape"])), bool(raw["constant"]), bool(raw["integer"]), None if values is None else tuple(values)
    )
