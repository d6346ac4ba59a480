"""Operator sets: old files go up, 18 goes down, newer ones stay; the answers are the same, and large weights are not copied through onnx."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from edgerec.graph.execution import open_model
from edgerec.graph.file import IR_VERSION, OPSET
from edgerec.graph.versions import opset_of, pin_versions


def model(body: str, opset: int, ir_version: int = 8) -> ModelProto:
    text = f'<ir_version: {ir_version}, opset_import: ["" : {opset}]> g (float[N, 4] x) => (float[A, B] y) {{ {body} }}'
    parsed = onnx.parser.parse_model(text)
    weights = {"w": np.eye(4, 300), "c": np.ones((1, 4))}
    parsed.graph.initializer.extend(numpy_helper.from_array(one.astype(np.float32), name) for name, one in weights.items())
    parsed.metadata_props.add(key="note", value="kept")
    return parsed


@pytest.mark.parametrize(
    ("opset", "body", "reached"),
    [
        (8, "a = Unsqueeze <axes = [1]> (x) b = Squeeze <axes = [1]> (a) y = MatMul (b, w)", OPSET),
        (11, "a = Clip (x) d = Dropout <ratio = 0.5> (a) y = MatMul (d, w)", OPSET),
        (13, "s = Softmax (x) y = Add (s, c)", OPSET),
        (18, "y = MatMul (x, w)", OPSET),
        (18, "a = Mish (x) y = Add (a, c)", 18),
        (21, "y = MatMul (x, w)", 21),
    ],
)
def test_the_opset_that_is_reached(opset: int, body: str, reached: int) -> None:
    before = model(body, opset, 10 if opset > 18 else 8)
    after = pin_versions(before) or before
    assert opset_of(after) == reached
    assert [(one.key, one.value) for one in after.metadata_props] == [("note", "kept")]
    assert [value.name for value in after.graph.input] == ["x"]
    assert {one.name for one in after.graph.initializer} >= {"w", "c"}
    onnx.checker.check_model(after, full_check=True)
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    expected, found = (open_model(one, threads=1, optimise=False).run({"x": x})["y"] for one in (before, after))
    np.testing.assert_array_equal(found, expected)


def test_the_ir_version_is_the_oldest_that_the_opset_allows() -> None:
    after = pin_versions(model("y = MatMul (x, w)", 17, 10))
    assert after is not None
    assert after.ir_version == IR_VERSION
    assert pin_versions(after) is None, "nothing is left to do"
    newer = pin_versions(model("y = MatMul (x, w)", 21, 11))
    assert newer is not None
    assert newer.ir_version == 10  # onnx's table: opset 21 came with IR 10
