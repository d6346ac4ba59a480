"""Every rule of the clean-up: the graph gets plainer, ONNX Runtime's answers stay the same, and what does not fit is left alone."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import ModelProto, helper, numpy_helper

from edgerec.graph.exported import clean
from edgerec.graph.file import IR_VERSION, OPSET
from edgerec.graph.opset import lower_opset_
from edgerec.runtime.session import open_session


def model(text: str, **weights: np.ndarray) -> ModelProto:
    parsed = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]>\n{text}')
    parsed.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return parsed


def ops(graph: ModelProto) -> list[str]:
    return [node.op_type for node in graph.graph.node]


def _cleaned(before: ModelProto, *shape: int) -> ModelProto:
    """Clean a model, check it in full, and compare its answers at three batch sizes with the original's."""
    after = clean(before)
    onnx.checker.check_model(after, full_check=True)
    sessions = [open_session(one.SerializeToString(), threads=1) for one in (before, after)]
    for batch in (1, 2, 5):
        x = np.random.default_rng(batch).standard_normal((batch, *shape)).astype(np.float32)
        expected, found = (session.run({"x": x})["y"] for session in sessions)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    return after


KEEPS = "g (float[N, 3, 8, 6] x) => (float[N, 3, 1, 1] y) <int64[2] axes = {2, 3}> { y = ReduceMean <keepdims = 1> (x, axes) }"
DROPS = "g (float[N, 3, 8, 6] x) => (float[N, 3] y) <int64[2] axes = {-1, -2}> { y = ReduceMean <keepdims = 0> (x, axes) }"


def test_a_mean_over_pixels_becomes_a_pool() -> None:
    assert ops(_cleaned(model(KEEPS), 3, 8, 6)) == ["GlobalAveragePool"]
    assert ops(_cleaned(model(DROPS), 3, 8, 6)) == ["GlobalAveragePool", "Flatten"]


@pytest.mark.parametrize("axes", ["{1, 2}", "{3}", "{-2}"])
def test_other_means_stay(axes: str) -> None:
    size = axes.count(",") + 1
    text = f"g (float[N, 3, 8, 6] x) => (float[A, B, C, D] y) <int64[{size}] axes = {axes}> {{ y = ReduceMean (x, axes) }}"
    after = _cleaned(model(text), 3, 8, 6)
    assert ops(after) == ["ReduceMean"]
    assert after.opset_import[0].version == OPSET
    assert list(after.graph.node[0].input) == ["x"], "before opset 18 the axes are an attribute"


def test_target_shapes_become_constants() -> None:
    text = """g (float[N, 3, 8, 8] x) => (float[A, B] y) <int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {-1}>
    { s = Shape (x) n = Slice (s, zero, one) t = Concat <axis = 0> (n, rest) y = Reshape (x, t) }"""
    after = _cleaned(model(text), 3, 8, 8)
    assert ops(after) == ["Reshape"]
    assert numpy_helper.to_array(after.graph.initializer[0]).tolist() == [-1, 192]


def test_a_target_with_two_free_sizes_stays() -> None:
    text = """g (float[N, 4] x) => (float[A, B, C] y) <int64[2] tail = {2, -1}>
    { t = MatMul (x, w) s = Shape <start = 0, end = 1> (x) p = Concat <axis = 0> (s, tail) r = Reshape (t, p)
      u = Transpose <perm = [1, 0, 2]> (r) z = Shape <start = 1, end = 2> (u) q = Concat <axis = 0> (z, s, two) y = Expand (one, q) }"""
    after = _cleaned(model(text, w=np.eye(4, dtype=np.float32), one=np.ones((1, 1, 1), np.float32), two=np.array([2])), 4)
    assert "Expand" in ops(after)


def test_a_reshape_that_changes_nothing_goes() -> None:
    text = "g (float[N, 3] x) => (float[N, 3] y) <int64[2] t = {-1, 3}> { a = Reshape (x, t) y = Relu (a) }"
    assert ops(_cleaned(model(text), 3)) == ["Relu"]


def test_a_reshape_that_is_the_output_stays() -> None:
    text = "g (float[N, 3] x) => (float[N, 3] y) <int64[2] t = {-1, 3}> { a = Relu (x) y = Reshape (a, t) }"
    assert ops(_cleaned(model(text), 3)) == ["Relu", "Reshape"]


@pytest.mark.parametrize(("start", "kept"), [(0.0, 0), (0.5, 1)])
def test_initial_states_of_zeros_go_and_others_stay(start: float, kept: int) -> None:
    text = """g (float[N, 5, 4] x) => (float[S, D, N, 3] y) <int64[1] one = {1}, int64[1] three = {3}>
    { t = Transpose <perm = [1, 0, 2]> (x) n = Shape <start = 0, end = 1> (x) s = Concat <axis = 0> (one, n, three)
      h = Expand (value, s) y = LSTM <hidden_size = 3> (t, w, r, , , h, h) }"""
    draw = np.random.default_rng(0)
    weights = {"w": draw.standard_normal((1, 12, 4)), "r": draw.standard_normal((1, 12, 3)), "value": np.array(start)}
    after = _cleaned(model(text, **{name: one.astype(np.float32) for name, one in weights.items()}), 5, 4)
    assert ops(after).count("Expand") == kept


def test_gelu_is_spelled_as_the_runtime_knows_it() -> None:
    text = """g (float[N, 8] x) => (float[N, 8] y) <float root = {1.4142135}, float one = {1.0}, float half = {0.5}>
    { a = Div (x, root) b = Erf (a) c = Add (b, one) d = Mul (half, c) y = Mul (x, d) }"""
    after = _cleaned(model(text), 8)
    last, before_last = after.graph.node[-1], after.graph.node[-2]
    assert "half" in last.input
    assert "x" in before_last.input


def test_an_erf_outside_a_gelu_stays() -> None:
    text = "g (float[N, 8] x) => (float[N, 8] y) <float one = {1.0}> { a = Erf (x) b = Add (a, one) c = Mul (b, b) y = Mul (x, c) }"
    assert ops(_cleaned(model(text), 8)) == ["Erf", "Add", "Mul", "Mul"]


def test_attention_transposes_its_keys_at_once() -> None:
    text = """g (float[N, 3, 5, 4] x) => (float[N, 3, 5, 5] y) <int64[3] merged = {-1, 5, 4}, int64[4] split = {-1, 3, 4, 5}>
    { a = Reshape (x, merged) b = Transpose <perm = [0, 2, 1]> (a) k = Reshape (b, split) y = MatMul (x, k) }"""
    assert ops(_cleaned(model(text), 3, 5, 4)) == ["Transpose", "MatMul"]


def test_another_transpose_between_reshapes_stays() -> None:
    # The second Reshape mixes heads and features: no single Transpose does that.
    text = """g (float[N, 3, 5, 4] x) => (float[N, 4, 3, 5] y) <int64[3] merged = {-1, 5, 4}, int64[4] split = {-1, 4, 3, 5}>
    { a = Reshape (x, merged) b = Transpose <perm = [0, 2, 1]> (a) y = Reshape (b, split) }"""
    assert ops(_cleaned(model(text), 3, 5, 4)) == ["Reshape", "Transpose", "Reshape"]


def test_no_note_is_left_anywhere_and_the_argument_keeps_its_own() -> None:
    noted = model("g (float[N, 3] x) => (float[N, 3] y) { a = Relu (x) y = Sigmoid (a) }")
    secret = "/home/somebody/project/model.py"
    noted.doc_string = noted.graph.doc_string = secret
    for node in noted.graph.node:
        node.doc_string = secret
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=secret)
    noted.graph.value_info.append(helper.make_tensor_value_info("a", 1, ["N", 3], doc_string=secret))
    noted.graph.value_info[0].metadata_props.add(key="trace", value=secret)
    noted.graph.input[0].metadata_props.add(key="trace", value=secret)
    noted.graph.metadata_props.add(key="trace", value=secret)
    noted.metadata_props.add(key="trace", value=secret)
    assert secret.encode() not in clean(noted).SerializeToString()
    assert noted.doc_string == secret


def test_the_versions_are_the_pinned_ones() -> None:
    after = clean(model(KEEPS))
    assert (after.opset_import[0].version, after.ir_version) == (OPSET, IR_VERSION)


@pytest.mark.parametrize(
    ("node", "lowered"),
    [
        ("y = Relu (x)", True),
        ("y = ReduceMax <noop_with_empty_axes = 0> (x, two)", True),
        ("y = ReduceMax (x, shape)", False),  # axes that are known only at run time
        ("y = Pad (x, pads)", True),
        ("y = Pad (x, pair, , two)", False),  # opset 17 pads every axis
        ("y, z = Split <axis = 1, num_outputs = 2> (x)", True),
        ("y, z = Split <axis = 2, num_outputs = 2> (x)", False),  # 5 does not split evenly
        ("y, z = Split <axis = 1> (x, parts)", True),
        ("y = Resize <mode = 'linear'> (x, , scales)", True),
        ("y = Resize <mode = 'linear', antialias = 1> (x, , scales)", False),
        ("y = Mish (x)", False),
    ],
)
def test_the_opset_goes_down_where_every_node_allows_it(node: str, lowered: bool) -> None:
    text = f"""g (float[2, 4, 5, 6] x, int64[1] shape) => (float[A, B, C, D] y)
    <int64[1] two = {{2}}, int64[8] pads = {{0, 0, 1, 1, 0, 0, 1, 1}}, int64[2] pair = {{1, 1}}, int64[2] parts = {{1, 3}}, float[4] scales = {{1.0, 1.0, 2.0, 2.0}}>
    {{ {node.replace("'", '"')} }}"""
    before = model(text)
    edited = ir.from_proto(before)
    assert lower_opset_(edited) is lowered
    after = ir.to_proto(edited)
    assert after.opset_import[0].version == (17 if lowered else 18)
    onnx.checker.check_model(after, full_check=True)
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(np.float32), "shape": np.array([2])}
    expected, found = (open_session(one.SerializeToString(), threads=1).run(feeds)["y"] for one in (before, after))
    np.testing.assert_array_equal(found, expected)
