"""Roundings to float16 put into a float32 graph: bit by bit against numpy's own float16, which rounds after every operation."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import ModelProto, numpy_helper

from edgerec.graph.execution import open_model
from edgerec.graph.half_rounding import rounding_like_half
from edgerec.graph.precision import half_inputs_outputs, half_precision


def model(body: str, **weights: np.ndarray) -> ModelProto:
    parsed = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4] x) => (float[N, M] y) {{ {body} }}')
    parsed.graph.initializer.extend(numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items())
    return parsed


def run(model: ModelProto, x: np.ndarray) -> np.ndarray:
    return open_model(model, optimise=False).run({"x": x})["y"]


ADDED = model("a = Add (x, k) b = Sub (a, k) y = Relu (b)", k=np.array([1000.0]))


def by_hand(x: np.ndarray) -> np.ndarray:
    k = np.float16(1000)
    return np.maximum((x.astype(np.float16) + k) - k, np.float16(0)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (2, 4), elements=st.floats(2**-10, 2**14, width=32)))
def test_every_step_is_rounded_as_numpy_does(x: np.ndarray) -> None:
    rounding = rounding_like_half(half_precision(ADDED).model)
    np.testing.assert_array_equal(run(rounding, x), by_hand(x))


def test_the_cpu_provider_alone_would_not_have_rounded() -> None:
    x = np.array([[0.1, 0.2, 0.3, 0.26]], np.float32)
    half = half_precision(ADDED).model
    assert np.abs(run(half, x) - x).max() < 1e-3
    assert np.abs(run(rounding_like_half(half), x) - x).max() > 0.1


def test_sums_inside_a_product_stay_float32() -> None:
    w = np.ones((4, 1))
    x = np.array([[2048.0, 1.0, 1.0, 2.0]], np.float32)  # in float16, 2048 + 1 is 2048
    assert run(rounding_like_half(half_precision(model("y = MatMul (x, w)", w=w)).model), x) == 2052


def test_infinity_passes() -> None:
    masked = model("a = Add (x, m) y = Softmax <axis = -1> (a)", m=np.array([[0.0, -np.inf, 0.0, 0.0]]))
    found = run(rounding_like_half(half_precision(masked).model), np.zeros((1, 4), np.float32))
    np.testing.assert_allclose(found, [[1 / 3, 0, 1 / 3, 1 / 3]], atol=2**-11)


@pytest.mark.parametrize("body", ["a = Relu (x) y = Identity (a)", "y = Add (x, k)", "a = Add (x, k) y = Pow (a, k)", "y = Pow (x, k)"])
def test_inputs_and_outputs_turn_to_float16_whatever_reads_them(body: str) -> None:
    before = model(body, k=np.array([2.0]))
    after = half_inputs_outputs(
        half_precision(model(f"r = Mul (x, one) {body.replace('(x', '(r')}", k=np.array([2.0]), one=np.ones(1))).model
    )
    onnx.checker.check_model(after, full_check=True)
    assert [one.type.tensor_type.elem_type for one in (*after.graph.input, *after.graph.output)] == [onnx.TensorProto.FLOAT16] * 2
    assert [one.name for one in (*after.graph.input, *after.graph.output)] == ["x", "y"]
    x = np.array([[0.5, 1, 2, 3]], np.float32)
    np.testing.assert_allclose(run(after, x.astype(np.float16)), run(before, x), rtol=2**-9)


def test_a_float_node_at_the_input_keeps_its_float() -> None:
    after = half_inputs_outputs(half_precision(model("p = Pow (x, k) q = Add (x, k) y = Mul (p, q)", k=np.array([2.0]))).model)
    onnx.checker.check_model(after, full_check=True)
    x = np.array([[0.5, 1, 2, 3]], np.float32)
    np.testing.assert_allclose(run(after, x.astype(np.float16)), x**2 * (x + 2), rtol=2**-9)
