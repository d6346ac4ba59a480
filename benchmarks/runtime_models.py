"""Networks for timing the runtime, made here: any weights take the same time."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from ..runtime.spec import InputSpec, ModelSpec


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
