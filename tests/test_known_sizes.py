"""What is said of sizes holds: what is known equals what the model computes, for every size that is left free."""

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from edgerec.graph.execution import open_model
from edgerec.graph.known_sizes import Partial, known_sizes

WEIGHTS = "<int64 i = {1}, int64[2] pair = {-1, 0}, int64[1] one = {1}, int64[1] three = {3}, int64[1] minus = {-2}, int64[1] zero = {0}, int64 odd = {-3}>"


def model(body: str) -> ModelProto:
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[N, 7, W, 5] x) => (int64[K] y) {WEIGHTS} {{ s = Shape (x) {body} }}'
    return onnx.parser.parse_model(text)


def known(one: ModelProto) -> dict[str, Partial]:
    graph = ir.from_proto(one)
    passes.ShapeInferencePass()(graph)
    return {value.name or "": found for value, found in known_sizes(graph.graph).items()}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Identity (s)", [None, 7, None, 5]),
        ("y = Slice (s, one, three)", [7, None]),
        ("y = Slice (s, three, zero, zero, minus)", [5, 7]),
        ("y = Gather (s, pair)", [5, None]),
        ("y = Concat <axis = 0> (one, s)", [1, None, 7, None, 5]),
        ("a = Gather (s, i) y = Unsqueeze (a, zero)", [7]),
        ("a = Slice (s, one, three) y = Mul (a, three)", [21, None]),
        ("a = Gather (s, i) b = Div (a, odd) y = Unsqueeze (b, zero)", [-2]),
        ("a = Cast <to = 6> (s) y = Cast <to = 7> (a)", [None, 7, None, 5]),
        ("a = Shape <start = -2> (x) y = Sub (a, a)", [None, 0]),
    ],
)
@settings(max_examples=5, deadline=None)
@given(n=st.integers(1, 9), w=st.integers(1, 9))
def test_what_is_known_is_what_the_model_computes(body: str, expected: list[int | None], n: int, w: int) -> None:
    one = model(body)
    found = known(one)["y"]
    assert [value if known else None for value, known in zip(found.values.tolist(), found.known, strict=True)] == expected
    computed = open_model(one, threads=1, optimise=False).run({"x": np.zeros((n, 7, w, 5), np.float32)})["y"]
    np.testing.assert_array_equal(found.values[found.known], computed[found.known])


@pytest.mark.parametrize(
    "body", ["y = Where (c, s, s)", "a = Slice (s, zero, one) y = Slice (s, zero, a)", "b = NonZero (x) y = Shape (b)"]
)
def test_what_depends_on_free_sizes_in_other_ways_is_not_known(body: str) -> None:
    one = model(body)
    found = known(one).get("y")
    assert found is None or not found.is_whole
