"""The clean-up as a whole: every kind of file keeps its answers, what fails is undone, and what cannot be helped is refused."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from edgerec.graph.cleanup import REWRITES, Normalised, _attempt, normalise
from edgerec.graph.execution import open_model
from edgerec.graph.file import IR_VERSION, OPSET
from edgerec.graph.random_inputs import random_feeds
from edgerec.graph.reference import Reference
from edgerec.runtime.errors import DataError, ModelError, OutputError

DRAW = np.random.default_rng(0)


def model(text: str, head: str = 'ir_version: 8, opset_import: ["" : 17]', **weights: np.ndarray) -> ModelProto:
    parsed = onnx.parser.parse_model(f"<{head}> {text}")
    parsed.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return parsed


def normal(*shape: int) -> np.ndarray:
    return DRAW.standard_normal(shape).astype(np.float32)


def ops(graph: ModelProto) -> list[str]:
    return [node.op_type for node in graph.graph.node]


def normalised(before: ModelProto) -> Normalised:
    """Clean a model up; hold it to everything that is promised of any model."""
    bytes_before = before.SerializeToString(deterministic=True)
    result = normalise(before)
    assert before.SerializeToString(deterministic=True) == bytes_before, "the input is never edited"
    assert normalise(before).model.SerializeToString(deterministic=True) == result.model.SerializeToString(deterministic=True)
    assert normalise(result.model).applied == (), "there is nothing left to do"
    assert result.undone == ()
    onnx.checker.check_model(result.model, full_check=True)
    feeds = next(iter(random_feeds(before)))
    expected, found = (open_model(one, threads=1).run(feeds) for one in (before, result.model))
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5)
    names = [node.name for node in result.model.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    return result


OLD = """g (float[1, 3, 8, 8] x, float[4, 3, 3, 3] w, float[4] gamma, float[4] beta, float[4] mean, float[4] var) => (float[1, 16, 1, 1] y) {
    c = Conv <auto_pad = "SAME_UPPER", kernel_shape = [3, 3]> (x, w)
    b = BatchNormalization (c, gamma, beta, mean, var)
    r = Relu (b) d = Dropout <ratio = 0.5> (r) p = MaxPool <kernel_shape = [4, 4], strides = [4, 4]> (d)
    i = Identity (p) t = Constant <value = int64[4] {1, 16, 1, 1}> () y = Reshape (i, t) }"""


def old() -> ModelProto:
    weights = {"w": normal(4, 3, 3, 3), "gamma": normal(4), "beta": normal(4), "mean": normal(4), "var": normal(4) ** 2 + 1}
    return model(OLD, 'ir_version: 3, opset_import: ["" : 8]', **weights)


def test_an_old_file_comes_out_plain_at_the_pinned_versions() -> None:
    result = normalised(old())
    assert ops(result.model) == ["Conv", "Relu", "MaxPool", "Reshape"]
    assert (result.model.opset_import[0].version, result.model.ir_version) == (OPSET, IR_VERSION)
    assert [value.name for value in result.model.graph.input] == ["x"]
    assert {"fix-weights", "pin-versions", "fold-batch-norms", "number-auto-pads"} <= set(result.applied)
    inferred = {value.name for value in (*result.model.graph.value_info, *result.model.graph.output)}
    assert inferred >= {name for node in result.model.graph.node for name in node.output}


def test_paddings_that_follow_from_the_input_size_become_the_convolutions_own() -> None:
    # As torch writes F.pad, after working the sizes out from the input's shape.
    text = """g (float[N, 3, 9, 8] x) => (float[N, 4, 5, 4] y) <int64 h = {2}, int64 two = {2}, int64[4] none = {0, 0, 0, 0}, int64[1] axis = {0}> {
        s = Shape (x) a = Gather (s, h) m = Div (a, two) n = Mul (m, two) r = Sub (a, n)
        u = Unsqueeze (r, axis) z = Concat <axis = 0> (none, axis, axis, u, axis)
        p = Pad (x, z) y = Conv <kernel_shape = [2, 2], strides = [2, 2]> (p, w) }"""
    result = normalised(model(text, w=normal(4, 3, 2, 2)))
    assert ops(result.model) == ["Conv"]
    pads = next(one.ints for one in result.model.graph.node[0].attribute if one.name == "pads")
    assert list(pads) == [0, 0, 1, 0]


def test_control_flow_several_ends_and_other_types_go_through() -> None:
    text = """g (float[N, L] x, int64[N, L] token, bool flag) => (float[N, L] y, int64[N, L] doubled) {
        doubled = Add (token, token)
        y = If (flag) <then_branch = yes () => (float[N, L] a) { a = Relu (x) }, else_branch = no () => (float[N, L] b) { b = Neg (x) }> }"""
    result = normalised(model(text))
    assert ops(result.model) == ["Add", "If"]
    assert result.applied == ("name-nodes",) or set(result.applied) <= {"name-nodes", "infer-shapes"}


def test_a_loop_and_a_constant_that_only_a_subgraph_reads_go_through() -> None:
    text = """g (int64 n, float[2] x) => (float[2] y) <bool go = {1}> {
        one = Constant <value = float {1.0}> ()
        y = Loop (n, go, x) <body = step (int64 i, bool c, float[2] v) => (bool d, float[2] w) { d = Identity (c) w = Add (v, one) }> }"""
    result = normalised(model(text))
    assert ops(result.model) == ["Loop"]


def test_functions_of_the_file_are_inlined() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "mine" : 1]> g (float[N, 4] x) => (float[N, 4] y) { y = mine.twice (x) }
        <domain: "mine", opset_import: ["" : 17]> twice (a) => (b) { c = Identity (a) b = Add (c, c) }"""
    result = normalised(onnx.parser.parse_model(text))
    assert ops(result.model) == ["Add"]
    assert not result.model.functions
    assert [one.domain for one in result.model.opset_import] == [""]


def test_free_sizes_without_a_name_do_not_count_as_equal() -> None:
    before = model("g (float[N, 3, A, B] x) => (float[M, 4, C, D] y) { y = Conv (x, w) }", w=normal(4, 3, 3, 3))
    for axis, dim in enumerate(before.graph.input[0].type.tensor_type.shape.dim):
        if axis == 0:
            dim.dim_value = -1
        elif axis > 1:
            dim.dim_param = "?"
    dims = normalised(before).model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param for dim in dims] == ["x_0", "", "x_2", "x_3"]


def test_weights_with_the_same_values_are_stored_once() -> None:
    w = normal(4, 4, 1, 1)
    result = normalised(model("g (float[1, 4, 2, 2] x) => (float[1, 4, 2, 2] y) { a = Conv (x, v) y = Conv (a, w) }", v=w, w=w))
    assert len(result.model.graph.initializer) == 1


def test_what_changes_an_answer_is_undone_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def double(one: ModelProto) -> ModelProto:
        return model("g (float[N, 4] x) => (float[N, 4] y) { y = Add (x, x) }")

    def fail(one: ModelProto) -> ModelProto:
        raise KeyError("no such thing")

    monkeypatch.setattr("edgerec.graph.cleanup.REWRITES", {"double": double, "fail": fail, **REWRITES})
    result = normalise(model("g (float[N, 4] x) => (float[N, 4] y) { a = Identity (x) y = Relu (a) }"))
    assert [name for name, _ in result.undone] == ["double", "fail"]
    assert "values differ by" in result.undone[0][1]
    assert result.undone[1][1] == "KeyError: 'no such thing'"
    assert ops(result.model) == ["Relu"]


def test_a_full_disk_is_no_fault_of_the_rewrite() -> None:
    def fail(one: ModelProto) -> ModelProto:
        raise OutputError("the disk is full")

    before = model("g (float[N, 4] x) => (float[N, 4] y) { y = Relu (x) }")
    with pytest.raises(OutputError):
        _attempt(fail, before, Reference.of(before))


def test_real_inputs_are_what_is_compared_on() -> None:
    before = model("g (float[N, 4] x) => (float[N, 4] y) { y = Relu (x) }")
    assert normalise(before, {"x": normal(5, 4)}).undone == ()
    with pytest.raises(DataError, match="refuses this input"):
        normalise(before, {"x": normal(5, 3)})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("q = QuantizeLinear (x, s) y = DequantizeLinear (q, s)", "quantized already: it contains DequantizeLinear, QuantizeLinear"),
        ("y = acme.Blur (x)", "unknown domain: acme::Blur"),
        ("y = Relu (nowhere)", "cannot load this model"),
        ("a = Sub (x, x) b = Div (a, a) y = Relu (b)", "computes NaN: node 'Div' gives it first, in tensor 'b'"),
    ],
)
def test_what_cannot_be_helped_is_refused_with_its_reason(body: str, reason: str) -> None:
    head = 'ir_version: 8, opset_import: ["" : 17, "acme" : 1]'
    with pytest.raises(ModelError, match=reason):
        normalise(model(f"g (float[2, 4] x) => (float[2, 4] y) <float s = {{0.1}}> {{ {body} }}", head))


def test_a_file_that_onnx_cannot_raise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(one: ModelProto) -> ModelProto:
        raise RuntimeError("No Adapter To Version 9 for Scan")

    monkeypatch.setattr("edgerec.graph.cleanup.REWRITES", {"pin-versions": fail})
    with pytest.raises(ModelError, match="cannot be raised to opset 13: RuntimeError: No Adapter To Version 9 for Scan"):
        normalise(old())
