"""Shapes and multiply-accumulates against the formulas of a textbook, on graphs written as text."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from edgerec.graph.shapes import count_macs, infer_shapes
from edgerec.runtime.errors import ConfigError, ModelError


def model(text: str) -> ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')


CONV = """g (float[N, 16, 28, 28] x, float[32, 16, 3, 3] w) => (float[N, 32, 14, 14] y)
{ y = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w) }"""
DEPTHWISE = """g (float[N, 16, 28, 28] x, float[16, 1, 3, 3] w) => (float[N, 16, 28, 28] y)
{ y = Conv <group = 16, pads = [1, 1, 1, 1]> (x, w) }"""
GROUPED = """g (float[N, 16, 28, 28] x, float[32, 4, 3, 3] w) => (float[N, 32, 26, 26] y)
{ y = Conv <group = 4> (x, w) }"""
TRANSPOSED = """g (float[N, 16, 7, 7] x, float[16, 8, 2, 2] w) => (float[N, 8, 14, 14] y)
{ y = ConvTranspose <strides = [2, 2]> (x, w) }"""
GEMM = """g (float[N, 64] x, float[10, 64] w) => (float[N, 10] y)
{ y = Gemm <transB = 1> (x, w) }"""
GEMM_PLAIN = """g (float[N, 64] x, float[64, 10] w) => (float[N, 10] y)
{ y = Gemm (x, w) }"""
ATTENTION = """g (float[N, 3, 49, 64] q, float[N, 3, 64, 49] k) => (float[N, 3, 49, 49] y)
{ y = MatMul (q, k) }"""
VECTOR = """g (float[N, 64] x, float[64] w) => (float[N] y)
{ y = MatMul (x, w) }"""
LSTM = """g (float[N, 28, 20] x, float[1, 256, 20] w, float[1, 256, 64] r) => (float[28, 1, N, 64] y)
{ t = Transpose <perm = [1, 0, 2]> (x) y = LSTM <hidden_size = 64> (t, w, r) }"""
GRU_BOTH_WAYS = """g (float[N, 28, 20] x, float[2, 192, 20] w, float[2, 192, 64] r) => (float[28, 2, N, 64] y)
{ t = Transpose <perm = [1, 0, 2]> (x) y = GRU <hidden_size = 64, direction = "bidirectional"> (t, w, r) }"""
QLINEAR = """g (uint8[N, 16, 8, 8] x, float s, uint8 z, int8[32, 16, 1, 1] w, int8 wz) => (uint8[N, 32, 8, 8] y)
{ y = QLinearConv (x, s, z, w, s, wz, s, z) }"""


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize(
    ("text", "macs"),
    [
        (CONV, 14 * 14 * 32 * 16 * 3 * 3),
        (DEPTHWISE, 28 * 28 * 16 * 3 * 3),
        (GROUPED, 26 * 26 * 32 * (16 // 4) * 3 * 3),
        (TRANSPOSED, 7 * 7 * 16 * 8 * 2 * 2),
        (GEMM, 64 * 10),
        (GEMM_PLAIN, 64 * 10),
        (ATTENTION, 3 * 49 * 49 * 64),
        (VECTOR, 64),
        (LSTM, 28 * 4 * 64 * (20 + 64)),
        (GRU_BOTH_WAYS, 28 * 2 * 3 * 64 * (20 + 64)),
        (QLINEAR, 8 * 8 * 32 * 16),
    ],
)
def test_macs_follow_the_formula(text: str, macs: int, batch: int) -> None:
    assert count_macs(model(text), batch) == {"y": macs * batch}


def test_nodes_are_named_and_the_rest_counts_nothing() -> None:
    graph = model("g (float[N, 4] x, float[4, 4] w) => (float[N, 4] y) { a = MatMul (x, w) b = Relu (a) y = MatMul (b, w) }")
    graph.graph.node[0].name = "first"
    assert count_macs(graph) == {"first": 16, "y": 16}


def test_every_tensor_has_its_shape_and_the_argument_is_left_alone() -> None:
    graph = model(
        "g (float[N, 3, 8, 8] x) => (float[N, M] y) { a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) y = Flatten (a) }"
    )
    before = graph.SerializeToString()
    assert infer_shapes(graph, 7) == {"x": (7, 3, 8, 8), "a": (7, 3, 4, 4), "y": (7, 48)}
    assert graph.SerializeToString() == before


def test_shapes_flow_through_arithmetic_on_shapes() -> None:
    # What torch writes for x.reshape(n, -1) when the batch is free.
    text = """g (float[N, 3, 8, 8] x) => (float[A, B] y)
    <int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {-1}>
    { s = Shape (x) n = Slice (s, zero, one) t = Concat <axis = 0> (n, rest) y = Reshape (x, t) }"""
    assert infer_shapes(model(text), 3)["y"] == (3, 192)


def test_a_fixed_batch_stays() -> None:
    assert infer_shapes(model("g (float[2, 3] x) => (float[2, 3] y) { y = Relu (x) }"), 9)["y"] == (2, 3)


def test_a_batch_without_a_name_and_a_name_used_twice() -> None:
    graph = model("g (float[N, 3] a, float[N, 3] b, float[3, N] c) => (float[M, K] y) { s = Add (a, b) y = MatMul (s, c) }")
    graph.graph.input[1].type.tensor_type.shape.dim[0].ClearField("dim_param")
    assert infer_shapes(graph, 4)["y"] == (4, 4)


def test_large_weights_do_not_travel_through_shape_inference() -> None:
    graph = model("g (float[N, 1000] x) => (float[N, 1000] y) { y = MatMul (x, w) }")
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1000, 1000), np.float32), "w"))
    assert infer_shapes(graph)["w"] == (1000, 1000)
    assert count_macs(graph) == {"y": 1_000_000}


def test_an_unknown_shape_is_named() -> None:
    with pytest.raises(ModelError, match="not known") as caught:
        count_macs(model("g (float[N, 3, H, W] x, float[8, 3, 3, 3] w) => (float[N, 8, A, B] y) { y = Conv (x, w) }"))
    assert "y" in caught.value.given


def test_a_graph_without_its_operator_set_is_refused() -> None:
    with pytest.raises(ModelError, match="refuses the graph"):
        infer_shapes(model("g (float[N, 3] x) => (float[N, 3] y) { y = some.where.Relu (x) }"))


def test_no_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        infer_shapes(model(GEMM), 0)
