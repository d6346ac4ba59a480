"""Hard sigmoid and hard swish in every usual spelling, and near misses that are neither."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgerec.graph.execution import open_model
from edgerec.graph.hard_swish import name_hard_sigmoids_

X = np.linspace(-5, 5, 101, dtype=np.float32).reshape(1, -1)
HARD_SIGMOID = np.clip(X + 3, 0, 6) / 6


def run(body: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the operators after the rule, and the answers before and after it."""
    numbers = {"zero": 0.0, "one": 1.0, "three": 3.0, "six": 6.0, "five": 5.0, "sixth": 1 / 6, "half": 0.5}
    weights = ", ".join(f"float {name} = {{{value}}}" for name, value in numbers.items())
    before = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[N, M] x) => (float[N, M] y) <{weights}> {{ {body} }}'
    )
    edited = ir.from_proto(before)
    name_hard_sigmoids_(edited)
    after = ir.to_proto(edited)
    onnx.checker.check_model(after, full_check=True)
    answers = [open_model(one, threads=1, optimise=False).run({"x": X})["y"] for one in (before, after)]
    return [node.op_type for node in after.graph.node], answers[0], answers[1]


@pytest.mark.parametrize(
    "body",
    [
        "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Div (m, six)",
        "a = Add (three, x) c = Clip (a, zero, six) m = Mul (c, x) y = Mul (m, sixth)",
        "a = Add (x, three) c = Clip (a, zero, six) d = Div (c, six) y = Mul (x, d)",
        "a = Add (x, three) c = Clip (a, zero, six) d = Mul (sixth, c) y = Mul (d, x)",
        "s = Mul (x, sixth) a = Add (s, half) c = Clip (a, zero, one) y = Mul (x, c)",
        "y = HardSwish (x)",
    ],
)
def test_hard_swish_is_named(body: str) -> None:
    ops, expected, found = run(body)
    assert ops == ["HardSigmoid", "Mul"]
    np.testing.assert_allclose(expected, X * HARD_SIGMOID, atol=1e-6)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        "a = Add (x, three) c = Clip (a, zero, six) y = Div (c, six)",
        "d = Div (x, six) a = Add (half, d) y = Clip (a, zero, one)",
    ],
)
def test_hard_sigmoid_is_named(body: str) -> None:
    ops, expected, found = run(body)
    assert ops == ["HardSigmoid"]
    np.testing.assert_allclose(expected, HARD_SIGMOID, atol=1e-6)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        "a = Add (x, three) c = Clip (a, zero, five) m = Mul (x, c) y = Div (m, six)",
        "a = Add (x, half) c = Clip (a, zero, six) m = Mul (x, c) y = Div (m, six)",
        "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Div (m, five)",
        "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Div (six, m)",
        "a = Add (x, three) c = Clip (a, zero, six) y = Mul (x, c)",
        "a = Add (x, three) c = Clip (a, zero, six) d = Div (c, six) y = Mul (c, d)",  # something else reads the clip
        "d = Div (six, x) a = Add (half, d) y = Clip (a, zero, one)",
    ],
)
def test_others_stay(body: str) -> None:
    ops, expected, found = run(body)
    assert "HardSigmoid" not in ops
    np.testing.assert_array_equal(found, expected)
