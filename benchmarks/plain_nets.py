"""Nets of a known size with random weights, written with onnx alone: for measuring what does not depend on what a net has learnt."""

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ..runtime.spec import InputSpec, ModelSpec


def residual_net(size: int = 224, width: int = 64, classes: int = 1000) -> ModelProto:
    """Return a ResNet-18 (11.7 million parameters at width 64), as an exporter leaves it: batch norms folded, the spec inside.

    Args:
        size: Pixels of the square input.
        width: Channels of the first stage.
        classes: Of the classifier.
    """
    net = _Net(np.random.default_rng(0))
    at = net.conv("input", 3, width, 7, 2)
    at = net.node("MaxPool", [at], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = width
    for stage in range(4):
        for block in range(2):
            stride = 2 if block == 0 and stage else 1
            at, channels = net.block(at, channels, width << stage, stride), width << stage
    at = net.node("Flatten", [net.node("GlobalAveragePool", [at])])
    net.node("Gemm", [at, net.weight((channels, classes), channels), net.weight((classes,), 0)], "logits")
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, size, size])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])
    graph = helper.make_graph(net.nodes, "residual", [image], [logits], net.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"edgerec": ModelSpec((InputSpec(size, size),)).to_json()})
    return model


def plain_network(channels: int, depth: int, size: int, classes: int = 10) -> bytes:
    """Return a float ONNX file with its spec: 3x3 convolutions, the first two of stride 2, then the mean and one product.

    Args:
        channels: Of every convolution.
        depth: Convolutions.
        size: Height and width of the image.
        classes: Logits.
    """
    draws = np.random.default_rng(0)
    nodes, tensors, name = [], [], "input"
    for number in range(depth):
        shape = (channels, channels if number else 3, 3, 3)
        weight = (draws.normal(size=shape) / np.sqrt(9 * shape[1] / 2)).astype(np.float32)
        tensors.append(numpy_helper.from_array(weight, f"w{number}"))
        stride = 2 if number < 2 else 1
        nodes += [
            helper.make_node("Conv", [name, f"w{number}"], [f"c{number}"], strides=[stride, stride], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{number}"], [f"r{number}"]),
        ]
        name = f"r{number}"
    tensors.append(numpy_helper.from_array(draws.normal(size=(channels, classes)).astype(np.float32), "head"))
    nodes += [
        helper.make_node("GlobalAveragePool", [name], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "plain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"edgerec": ModelSpec((InputSpec(size, size),)).to_json()})
    return model.SerializeToString()


class _Net:
    """The nodes and weights so far."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def weight(self, shape: tuple[int, ...], fan_in: int) -> str:
        """Add a weight that keeps the size of what goes through; zeros for a fan-in of 0."""
        values = self.generator.standard_normal(shape) * (2 / fan_in) ** 0.5 if fan_in else np.zeros(shape)
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def node(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """Add a node; return its output."""
        name = output or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def conv(self, at: str, wide: int, channels: int, kernel: int, stride: int, *, relu: bool = True) -> str:
        """Add a convolution with a bias."""
        operands = [at, self.weight((channels, wide, kernel, kernel), wide * kernel**2), self.weight((channels,), 0)]
        at = self.node("Conv", operands, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4)
        return self.node("Relu", [at]) if relu else at

    def block(self, at: str, wide: int, channels: int, stride: int) -> str:
        """Add a basic residual block (He et al. 2015, figure 2)."""
        inner = self.conv(self.conv(at, wide, channels, 3, stride), channels, channels, 3, 1, relu=False)
        shortcut = at if stride == 1 and wide == channels else self.conv(at, wide, channels, 1, stride, relu=False)
        return self.node("Relu", [self.node("Add", [inner, shortcut])])
