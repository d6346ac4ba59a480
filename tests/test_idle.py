"""Nodes that change nothing go, look-alikes that do something stay, and no name of the model's ends is lost."""

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
import pytest

from edgerec.graph.execution import open_model
from edgerec.graph.idle import drop_idle_


def ops_after(body: str, takes: str = "float[N, 3, 4] x") -> list[str]:
    """Drop what is idle between a Neg and a Relu; compare the answers; return the operators in between."""
    numbers = "int64[3] same = {0, -1, 4}, int64[3] other = {0, 4, 3}, int64[2] flat = {-1, 12}, int64[3] back = {-1, 3, 4}, bool yes = {1}, bool no = {0}"
    more = "int64[6] none = {0, 0, 0, 0, 0, 0}, int64[6] some = {0, 0, 0, 0, 0, 1}, float half = {0.5}, int64[2] turned = {12, -1}, int64[3] kept = {0, -1, 1}"
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({takes}) => (float[A, B, C] y) <{numbers}, {more}> {{ a = Neg (x) {body} y = Relu (b) }}'
    before = onnx.parser.parse_model(text)
    if takes.count(",") == 1:
        del before.graph.output[0].type.tensor_type.shape.dim[2]
    edited = ir.from_proto(before)
    passes.ShapeInferencePass()(edited)
    drop_idle_(edited)
    passes.RemoveUnusedNodesPass()(edited)
    after = ir.to_proto(edited)
    onnx.checker.check_model(after, full_check=True)
    shape = [dim.dim_value or 2 for dim in before.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    expected, found = (open_model(one, threads=1, optimise=False).run(feeds)["y"] for one in (before, after))
    np.testing.assert_array_equal(found, expected)
    assert after.graph.node[0].op_type == "Neg"
    return [node.op_type for node in after.graph.node[1:-1]]


@pytest.mark.parametrize(
    "body",
    [
        "b = Identity (a)",
        "b = Dropout (a)",
        "b, mask = Dropout (a, half, no)",
        "b = Cast <to = 1> (a)",
        "b = Reshape (a, same)",
        "b = Pad (a, none)",
        "b = Concat <axis = 1> (a)",
        "b = Max (a)",
        "b = Transpose <perm = [0, 1, 2]> (a)",
        "c = Transpose <perm = [0, 2, 1]> (a) b = Transpose <perm = [0, 2, 1]> (c)",
        "c = Identity (a) d = Dropout (c) b = Identity (d)",
    ],
)
def test_what_changes_nothing_goes(body: str) -> None:
    assert ops_after(body) == []


@pytest.mark.parametrize(
    "body",
    [
        "b = Reshape (a, other)",
        "b = Pad (a, some)",
        "b = Transpose <perm = [0, 2, 1]> (a)",
        "b = Concat <axis = 1> (a, a)",
        "b = Transpose (a)",
    ],
)
def test_what_changes_something_stays(body: str) -> None:
    assert len(ops_after(body)) == 1


def test_two_orders_become_one() -> None:
    body = "c = Transpose <perm = [1, 2, 0]> (a) b = Transpose <perm = [0, 2, 1]> (c)"
    assert ops_after(body) == ["Transpose"]


def test_a_chain_of_reshapes_becomes_one_or_none() -> None:
    assert ops_after("c = Reshape (a, flat) b = Reshape (c, back)") == []
    assert ops_after("c = Flatten (a) b = Reshape (c, back)") == []


def test_a_target_that_copies_a_size_of_the_reshape_before_keeps_it() -> None:
    # The 0 stands for the 12 rows that the first Reshape made.
    assert ops_after("c = Reshape (a, turned) b = Reshape (c, kept)") == ["Reshape", "Reshape"]


def test_flattening_rows_changes_nothing() -> None:
    assert ops_after("b = Flatten (a)", "float[N, 3] x") == []


def test_a_dropout_whose_mask_is_read_stays() -> None:
    assert "Dropout" in ops_after("c, m = Dropout (a) f = Cast <to = 1> (m) b = Mul (c, f)")


def test_the_ends_of_a_model_keep_their_names() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y, float[2] z, float[2] copy) {
        a = Neg (x) y = Identity (a) z = Identity (y) copy = Identity (x) }"""
    edited = ir.from_proto(onnx.parser.parse_model(text))
    drop_idle_(edited)
    after = ir.to_proto(edited)
    onnx.checker.check_model(after, full_check=True)
    assert [value.name for value in after.graph.output] == ["y", "z", "copy"]
    found = open_model(after, threads=1).run({"x": np.ones(2, np.float32)})
    assert [found[name].tolist() for name in ("y", "z", "copy")] == [[-1, -1], [-1, -1], [1, 1]]
    assert [node.op_type for node in after.graph.node] == ["Neg", "Identity", "Identity"]
