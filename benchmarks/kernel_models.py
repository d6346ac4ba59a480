"""The smallest model in which ONNX Runtime runs a kernel as it would in the middle of a network."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from .kernel import Kernel, Operand, Operator

OPSET = 17
BEFORE, AFTER = "before", "after"  # names of the neighbours, whose time is not the kernel's
_SCALE, _ZERO_POINT = np.float32(0.02), np.uint8(128)
_WEIGHT_SCALE = np.float32(0.001)
_PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})
_WITHOUT_LAYOUT = _PRODUCTS | {"Gather", "LayerNormalization", "Softmax", "Transpose"}


def model_of(kernel: Kernel) -> ModelProto:
    """Return a model that runs the kernel once.

    Convolutions decide the layout of a network's images: channels last in int8, channels in blocks in float. So an operator that works on
    images stands between two thin convolutions of its own precision, and works in their layout or pays for leaving it.

    Args:
        kernel: What to run; the nodes in front of it and behind it have names that begin with `BEFORE` and `AFTER`.
    """
    build = _Build()
    if kernel.first.op_type == "QuantizeLinear" and len(kernel.operators) == 1:
        build.quantize_(kernel)
    elif kernel.first.op_type == "DequantizeLinear":
        build.dequantize_(kernel)
    elif kernel.precision == "fp32":
        build.float_(kernel)
    else:
        build.int8_(kernel)
    return build.model()


@dataclass(slots=True)
class _Build:
    """A graph that grows."""

    nodes: list[NodeProto] = field(default_factory=list[NodeProto])
    inputs: list[ValueInfoProto] = field(default_factory=list[ValueInfoProto])
    constants: list[TensorProto] = field(default_factory=list[TensorProto])
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def model(self) -> ModelProto:
        """Return the graph as a model whose output is the last node's."""
        output = onnx.helper.make_empty_tensor_value_info(self.nodes[-1].output[0])
        graph = onnx.helper.make_graph(self.nodes, "kernel", self.inputs, [output], self.constants)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)

    def quantize_(self, kernel: Kernel) -> None:
        shape = _shape(kernel.first)
        source = self.input_("x", TensorProto.FLOAT, shape)
        if kernel.precision == "fp32" and len(shape) == 4:
            source = self.thin_conv_(source, BEFORE, shape[1])
        result = self.add_("QuantizeLinear", [source, *self.grid_()], "kernel")
        if len(shape) == 4:
            self.int8_conv_(result, AFTER, shape[1])

    def dequantize_(self, kernel: Kernel) -> None:
        shape = _shape(kernel.first)
        source = self.input_("x", TensorProto.UINT8, shape)
        if len(shape) == 4:
            source = self.int8_conv_(source, BEFORE, shape[1])
        result = self.add_("DequantizeLinear", [source, *self.grid_()], "kernel")
        if kernel.precision == "fp32" and len(shape) == 4:
            self.thin_conv_(result, AFTER, shape[1])

    def int8_(self, kernel: Kernel) -> None:
        result = ""
        for number, operator in enumerate(kernel.operators):
            if operator.op_type == "QuantizeLinear":
                source = self.input_("x", TensorProto.FLOAT, _shape(operator))
                result = self.add_("QuantizeLinear", [source, *self.grid_()], f"kernel{number}")
                continue
            if (
                operator.op_type == "HardSigmoid" and kernel.precision == "int8"
            ):  # no kernel of its own; quantization writes it as a sum that a grid clips
                operator = Operator("Add", (operator.operands[0], Operand((), constant=True)))
            result = self.int8_step_(operator, number, result, is_island=kernel.precision == "island")
        shape = _result_shape(operator := kernel.operators[-1])
        if _is_between_convs(operator) and len(shape) == 4:
            self.int8_conv_(result, AFTER, shape[1])

    def int8_step_(self, operator: Operator, number: int, source: str, *, is_island: bool) -> str:
        """Add an operator from integers to integers; its first operand is `source`, or an input where there is none."""
        source = source or self.integers_(operator, 0, number)
        if operator.op_type in ("Pad", "Split") and not is_island:  # move integers as they are
            names = [source, *self.constants_(operator.operands[1:2], str(number))]
            names += [self.grid_()[1]] if operator.op_type == "Pad" else []
            return self.add_(operator.op_type, names, f"kernel{number}", operator)
        names = [self.add_("DequantizeLinear", [source, *self.grid_()], f"kernel{number}_source")]
        for index, operand in enumerate(operator.operands[1:], 1):
            is_float = is_island and operand is not None and operand.constant
            names.append(self.constants_([operand], f"{number}_{index}")[0] if is_float else self.int8_operand_(operator, index, number))
        result = self.add_(operator.op_type, names, f"kernel{number}_raw", operator)
        return self.add_("QuantizeLinear", [result, *self.grid_()], f"kernel{number}")

    def int8_operand_(self, operator: Operator, index: int, number: int) -> str:
        operand, name = operator.operands[index], f"kernel{number}_{index}"
        if operand is None:
            return ""
        if operand.integer:
            return self.constants_([operand], name)[0]
        if operand.constant and operator.op_type in _PRODUCTS:
            return self.weight_(name, operand.shape, _channel_axis(operator) if index == 1 else 0, is_bias=index == 2)
        if operand.constant:
            source = self.constant_(name, self.random.integers(0, 256, operand.shape, np.uint8))
        else:
            source = self.integers_(operator, index, number)
        return self.add_("DequantizeLinear", [source, *self.grid_()], f"{name}_dequantized")

    def integers_(self, operator: Operator, index: int, number: int) -> str:
        """Add an input of integers."""
        shape = _shape(operator, index)
        source = self.input_(f"x{number}_{index}", TensorProto.UINT8, shape)
        return self.int8_conv_(source, f"{BEFORE}{number}_{index}", shape[1]) if _is_between_convs(operator) and len(shape) == 4 else source

    def weight_(self, name: str, shape: Sequence[int], axis: int, *, is_bias: bool = False) -> str:
        """Add int8 weights with one scale an output channel, or the int32 bias that goes with them."""
        dtype, scale = (np.int32, _WEIGHT_SCALE * _SCALE) if is_bias else (np.int8, _WEIGHT_SCALE)
        parts = [
            self.constant_(name, self.random.integers(-100, 100, shape).astype(dtype)),
            self.constant_(f"{name}_scale", np.full(shape[axis], scale, np.float32)),
            self.constant_(f"{name}_zero_point", np.zeros(shape[axis], dtype)),
        ]
        result = self.add_("DequantizeLinear", parts, f"{name}_dequantized")
        self.nodes[-1].attribute.append(onnx.helper.make_attribute("axis", axis))
        return result

    def int8_conv_(self, source: str, name: str, channels: int) -> str:
        """Add the thinnest int8 convolution, from integers to integers."""
        operands = [self.add_("DequantizeLinear", [source, *self.grid_()], f"{name}_dequantized")]
        operands.append(self.weight_(f"{name}_weight", (channels, 1, 1, 1), 0))
        self.add_("Conv", operands, f"{name}_raw")
        self.nodes[-1].attribute.append(onnx.helper.make_attribute("group", channels))
        return self.add_("QuantizeLinear", [f"{name}_raw", *self.grid_()], name)

    def float_(self, kernel: Kernel) -> None:
        between = _is_between_convs(kernel.first)
        result = ""
        for number, operator in enumerate(kernel.operators):
            names = [result] if result else []
            rest = operator.operands[len(names) :]
            names += [self.float_operand_(one, f"{number}_{index}", between=between) for index, one in enumerate(rest)]
            result = self.add_(operator.op_type, names, f"kernel{number}", operator)
        shape = _result_shape(kernel.operators[-1])
        if between and len(shape) == 4:
            self.thin_conv_(result, AFTER, shape[1])

    def float_operand_(self, operand: Operand | None, suffix: str, *, between: bool) -> str:
        if operand is None:
            return ""
        if operand.constant:
            return self.constants_([operand], suffix)[0]
        source = self.input_(f"x{suffix}", TensorProto.FLOAT, operand.shape)
        return self.thin_conv_(source, f"{BEFORE}{suffix}", operand.shape[1]) if between and len(operand.shape) == 4 else source

    def thin_conv_(self, source: str, name: str, channels: int) -> str:
        """Add the thinnest float convolution."""
        weight = self.constant_(f"{name}_weight", np.ones((channels, 1, 1, 1), np.float32))
        self.add_("Conv", [source, weight], name)
        self.nodes[-1].attribute.append(onnx.helper.make_attribute("group", channels))
        return name

    def grid_(self) -> tuple[str, str]:
        """Return the grid of every activation."""
        if not any(one.name == "scale" for one in self.constants):
            self.constant_("scale", np.array(_SCALE))
            self.constant_("zero_point", np.array(_ZERO_POINT))
        return "scale", "zero_point"

    def constants_(self, operands: Sequence[Operand | None], suffix: str = "") -> list[str]:
        """Add operands with their values where they are known, random ones otherwise."""
        names: list[str] = []
        for number, operand in enumerate(operands):
            if operand is None:
                names.append("")
                continue
            array = self.random.standard_normal(operand.shape) if operand.values is None else np.reshape(operand.values, operand.shape)
            names.append(self.constant_(f"c{suffix}_{number}", array.astype(np.int64 if operand.integer else np.float32)))
        return names

    def constant_(self, name: str, array: npt.NDArray[np.generic]) -> str:
        self.constants.append(onnx.numpy_helper.from_array(array, name))
        return name

    def input_(self, name: str, dtype: int, shape: Sequence[int]) -> str:
        self.inputs.append(onnx.helper.make_tensor_value_info(name, dtype, shape))
        return name

    def add_(self, op_type: str, inputs: Sequence[str], output: str, like: Operator | None = None) -> str:
        node = onnx.helper.make_node(op_type, inputs, [output], output)
        for name, value in like.attributes if like is not None else ():
            node.attribute.append(onnx.helper.make_attribute(name, value))
        if op_type == "Split" and like is not None and (sizes := like.operands[1]) is not None:
            node.output.extend(f"{output}_{part}" for part in range(1, len(sizes.values or ())))
        self.nodes.append(node)
        return output


def _is_between_convs(operator: Operator) -> bool:
    """Tell whether an operator takes the layout of the convolutions around it; a convolution has its own, and tokens have none."""
    return operator.op_type not in _WITHOUT_LAYOUT


def _shape(operator: Operator, index: int = 0) -> tuple[int, ...]:
    operand = operator.operands[index]
    assert operand is not None  # the caller knows that it is there
    return operand.shape


def _channel_axis(operator: Operator) -> int:
    """Return the axis of a product's weight that counts output channels."""
    if operator.op_type == "Conv" or dict(operator.attributes).get("transB"):
        return 0
    return len(_shape(operator, 1)) - 1


def _result_shape(operator: Operator) -> tuple[int, ...]:
    """Return the shape of an operator's result, as ONNX infers it."""
    build = _Build()
    names = [build.float_operand_(operand, f"0_{index}", between=False) for index, operand in enumerate(operator.operands)]
    build.add_(operator.op_type, names, "y", operator)
    return tuple(dim.dim_value for dim in build.model().graph.output[0].type.tensor_type.shape.dim)
