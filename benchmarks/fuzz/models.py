"""ONNX files: loaded by the runtime, then by the tools that edit graphs."""

from functools import cache
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from ...graph.file import load_onnx
from ...graph.shapes import infer_shapes
from ...runtime.session import open_session
from ...runtime.spec import InputSpec, ModelSpec

SPEC = ModelSpec((InputSpec(8, 8, name="x"),), labels=("a", "b"))


def _model(opset: int, *, quantized: bool) -> bytes:
    draws = np.random.default_rng(0)
    weight = draws.normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["q" if quantized else "x", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(draws.normal(size=(4, 2)).astype(np.float32), "m")]
    if quantized:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["i"]),
            helper.make_node("DequantizeLinear", ["i", "s", "z"], ["q"]),
            *nodes,
        ]
        tensors += [numpy_helper.from_array(np.array(0.02, np.float32), "s"), numpy_helper.from_array(np.array(128, np.uint8), "z")]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(model, {"edgerec": SPEC.to_json()})
    return model.SerializeToString()


def _external() -> bytes:
    """A model whose weights lie in another file: the damage hits the path and the offsets too."""
    import onnx

    model = onnx.load_from_string(_model(13, quantized=False))
    for tensor in model.graph.initializer:
        values = tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", str(len(values)))):
            tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


@cache
def samples() -> dict[str, bytes]:
    """Return small intact files by name."""
    return {"float": _model(13, quantized=False), "int8": _model(17, quantized=True), "external": _external()}


def attempt(name: str, data: bytes, folder: Path) -> None:
    """Load one damaged file, run it, and infer its shapes.

    Raises:
        EdgerecError: It is refused.
    """
    del name
    path = folder / "model.onnx"
    path.write_bytes(data)
    (folder / "weights.bin").write_bytes(bytes(1024))
    session = open_session(path, threads=1)
    session.run({"x": np.zeros((1, 3, 8, 8), np.float32)})
    infer_shapes(load_onnx(path))
