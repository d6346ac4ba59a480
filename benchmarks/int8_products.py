"""One small model for each int8 kernel that multiplies activations by weights, and the same arithmetic in float as its exact answer.

Beside them additions, which are not exact: their kernels round in fixed point.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper
import onnx.parser
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from .emulation import Arrays, Job

# One unit of every grid: the largest sums of these small layers are some millions, which float32 holds exactly.
_ZERO_POINT = 100
_OUTPUT_ZERO_POINT = 128
_OPSETS = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]


@dataclass(frozen=True, slots=True)
class Product:
    """A quantized product with random operands that fill their ranges.

    Attributes:
        name: What is special about it.
        node: The float node (Conv, Gemm or MatMul) that it stands for, reading `x`, `w` and perhaps `b`.
        values: Its uint8 input; 100 means 0.
        weight: Its int8 weight.
        bias: int32, one value an output channel.
        scale: From a sum to the output's grid, one value an output channel; the output's zero point is 128.
    """

    name: str
    node: NodeProto
    values: npt.NDArray[np.uint8]
    weight: npt.NDArray[np.int8]
    bias: npt.NDArray[np.int32]
    scale: npt.NDArray[np.float32]

    @property
    def zero_point(self) -> int:
        """The input's integer that means 0."""
        return _ZERO_POINT

    def requantize(self, sums: npt.NDArray[np.integer], axis: int) -> npt.NDArray[np.uint8]:
        """Return what the kernel writes for these sums of products, bias not yet added.

        Args:
            sums: Any shape.
            axis: The output channels' axis.
        """
        shape = [-1 if one == axis else 1 for one in range(sums.ndim)]
        scaled = (sums + self.bias.reshape(shape)).astype(np.float32) * self.scale.reshape(shape)
        return np.clip(np.rint(scaled) + _OUTPUT_ZERO_POINT, 0, 255).astype(np.uint8)


def products(seed: int = 0) -> list[Product]:
    """Return one of each kind: indirect and im2col convolutions, groups, depthwise, one and three dimensions, Gemm and MatMul."""
    random = np.random.default_rng(seed)
    three, pads = (3, 3), "pads = [1, 1, 1, 1]"
    return [
        _conv(random, "3x3, 16 to 16 channels", (1, 16, 9, 9), (16, 16, *three), pads),
        _conv(random, "3x3, 4 to 16 channels", (1, 4, 9, 9), (16, 4, *three), pads),
        _conv(random, "3x3, 3 to 8 channels", (1, 3, 9, 9), (8, 3, *three), pads),
        _conv(random, "3x3, 1 to 8 channels", (1, 1, 9, 9), (8, 1, *three), pads),
        _conv(random, "3x3, 3 to 16 channels, stride 2", (1, 3, 9, 9), (16, 3, *three), "pads = [1, 1, 0, 0], strides = [2, 2]"),
        _conv(random, "1x1, 16 to 32 channels", (1, 16, 5, 5), (32, 16, 1, 1)),
        _conv(random, "1x1, 5 to 10 channels, stride 2", (1, 5, 5, 5), (10, 5, 1, 1), "strides = [2, 2]"),
        _conv(random, "3x3, 2 groups of 4 channels", (1, 8, 6, 6), (16, 4, *three), f"{pads}, group = 2"),
        _conv(random, "3x3, 4 groups of 1 channel, 2 outputs each", (1, 4, 6, 6), (8, 1, *three), f"{pads}, group = 4"),
        _conv(random, "3x3, depthwise, 16 channels", (1, 16, 6, 6), (16, 1, *three), f"{pads}, group = 16"),
        _conv(random, "3x3, depthwise, 12 channels", (1, 12, 6, 6), (12, 1, *three), f"{pads}, group = 12"),
        _conv(random, "5x5, depthwise, 32 channels", (1, 32, 6, 6), (32, 1, 5, 5), "pads = [2, 2, 2, 2], group = 32"),
        _conv(random, "one dimension, dilation 2", (1, 6, 20), (8, 6, 3), "pads = [2, 2], dilations = [2]"),
        _conv(random, "three dimensions", (1, 3, 5, 5, 5), (8, 3, 3, 3, 3), "pads = [1, 1, 1, 1, 1, 1]"),
        _conv(random, "SAME_UPPER, stride 2", (1, 3, 10, 11), (8, 3, *three), 'auto_pad = "SAME_UPPER", strides = [2, 2]'),
        *(_matmul(random, kind, lines, wide) for kind in ("MatMul", "Gemm") for lines in (1, 5) for wide in (16, 27)),
    ]


def quantized(product: Product) -> Job:
    """Return the product as ONNX Runtime's int8 operator."""
    channels = len(product.scale)
    arrays: Arrays = {
        "x_scale": np.array(1, np.float32),
        "x_zero": np.array(_ZERO_POINT, np.uint8),
        "w": product.weight,
        "w_scale": product.scale,
        "w_zero": np.zeros(channels, np.int8),
        "y_scale": np.array(1, np.float32),
        "y_zero": np.array(_OUTPUT_ZERO_POINT, np.uint8),
        "b": product.bias,
    }
    operands = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero"]
    output = ["y_scale", "y_zero"]
    if product.node.op_type == "Gemm":
        node = onnx.helper.make_node("QGemm", [*operands, "b", *output], ["y"], domain="com.microsoft")
    elif product.node.op_type == "Conv":
        node = onnx.helper.make_node("QLinearConv", [*operands, *output, "b"], ["y"])
    else:
        node = onnx.helper.make_node("QLinearMatMul", [*operands, *output], ["y"])
    node.attribute.extend(product.node.attribute)
    return _job([node], arrays, product.values)


def reference(product: Product) -> Job:
    """Return the same arithmetic on whole numbers in float32, which holds them exactly."""
    shape = [-1, *[1] * (product.weight.ndim - 2)] if product.node.op_type == "Conv" else [-1]
    arrays: Arrays = {
        "zero": np.array(_ZERO_POINT, np.float32),
        "w": product.weight.astype(np.float32),
        "bias": product.bias.astype(np.float32).reshape(shape),
        "scale": product.scale.reshape(shape),
        "y_zero": np.array(_OUTPUT_ZERO_POINT, np.float32),
        "lowest": np.array(0, np.float32),
        "highest": np.array(255, np.float32),
    }
    product_node = onnx.NodeProto.FromString(product.node.SerializeToString())
    del product_node.input[:], product_node.output[:]
    product_node.input.extend(["centred", "w"])
    product_node.output.append("sums")
    make = onnx.helper.make_node
    nodes = [
        make("Cast", ["x"], ["real"], to=TensorProto.FLOAT),
        make("Sub", ["real", "zero"], ["centred"]),
        product_node,
        make("Add", ["sums", "bias"], ["biased"]),
        make("Mul", ["biased", "scale"], ["scaled"]),
        make("Round", ["scaled"], ["rounded"]),
        make("Add", ["rounded", "y_zero"], ["shifted"]),
        make("Clip", ["shifted", "lowest", "highest"], ["clipped"]),
        make("Cast", ["clipped"], ["y"], to=TensorProto.UINT8),
    ]
    return _job(nodes, arrays, product.values)


def additions(count: int, seed: int = 0) -> list[Job]:
    """Return additions of two quantized tensors of 16,384 values, each on random grids.

    Args:
        count: How many.
        seed: Where the random numbers start.
    """
    random = np.random.default_rng(seed)
    jobs: list[Job] = []
    for _ in range(count):
        scales = random.uniform(0.005, 0.05, 3).astype(np.float32)
        zeros = random.integers(0, 256, 3, np.uint8)
        model = onnx.parser.parse_model("""
            <ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
            addition (uint8[16384] a, uint8[16384] b) => (uint8[16384] y) {
                y = com.microsoft.QLinearAdd (a, s0, z0, b, s1, z1, s2, z2)
            }
        """)
        arrays = {f"s{one}": scales[one] for one in range(3)} | {f"z{one}": zeros[one] for one in range(3)}
        model.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items())
        jobs.append(Job(model.SerializeToString(), {name: random.integers(0, 256, 16384, np.uint8) for name in ("a", "b")}))
    return jobs


def _conv(random: np.random.Generator, name: str, shape: tuple[int, ...], kernel: tuple[int, ...], attributes: str = "") -> Product:
    node = onnx.parser.parse_node(f"y = Conv <{attributes or 'group = 1'}> (x, w, b)")
    return _product(random, f"Conv {name}", node, shape, kernel, kernel[0])


def _matmul(random: np.random.Generator, kind: str, lines: int, wide: int) -> Product:
    outputs, is_gemm = 32, kind == "Gemm"
    node = onnx.parser.parse_node("y = Gemm <transB = 1> (x, w, b)" if is_gemm else "y = MatMul (x, w)")
    kernel = (outputs, wide) if is_gemm else (wide, outputs)
    return _product(random, f"{kind} {lines} x {wide} x {outputs}", node, (lines, wide), kernel, outputs)


def _product(
    random: np.random.Generator, name: str, node: NodeProto, shape: tuple[int, ...], kernel: tuple[int, ...], outputs: int
) -> Product:
    deviation = 60 * 100 * np.sqrt(np.prod(kernel) / outputs)  # of a sum, roughly
    return Product(
        name,
        node,
        random.integers(0, 256, shape, np.uint8),
        random.integers(-127, 128, kernel, np.int8),
        random.integers(-5000, 5000, outputs, np.int32) * np.int32(node.op_type != "MatMul"),  # a MatMul has no bias
        (random.uniform(0.5, 1.5, outputs) * 64 / deviation).astype(np.float32),
    )


def _job(nodes: list[NodeProto], arrays: Arrays, values: npt.NDArray[np.uint8]) -> Job:
    graph = onnx.helper.make_graph(
        nodes,
        "product",
        [onnx.helper.make_tensor_value_info("x", TensorProto.UINT8, values.shape)],
        [onnx.helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    model: ModelProto = onnx.helper.make_model(graph, opset_imports=_OPSETS, ir_version=8)
    return Job(model.SerializeToString(), {"x": values})
