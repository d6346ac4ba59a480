"""Constants and sizes: what is known before the model runs is in the file, under its own name, and nothing else is."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import ModelProto, numpy_helper

from edgerec.graph.execution import open_model
from edgerec.graph.folding import fold_constants_


def model(takes: str, body: str, out: str = "float[A, B] y") -> ModelProto:
    weights = (
        "<float[2] w = {1.0, 2.0}, int64[1] one = {1}, int64[1] zero = {0}, int64[1] rest = {-1}, int64 first = {0}, int64 second = {1}>"
    )
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g ({takes}) => ({out}) {weights} {{ {body} }}')


def folded(before: ModelProto) -> ModelProto:
    """Fold, and compare the answers for two batch sizes."""
    edited = ir.from_proto(before)
    fold_constants_(edited)
    after = ir.to_proto(edited)
    onnx.checker.check_model(after, full_check=True)
    for batch in (1, 3):
        feeds = {
            value.name: np.ones([dim.dim_value or batch for dim in value.type.tensor_type.shape.dim], np.float32)
            for value in before.graph.input
        }
        expected, found = (open_model(one, threads=1, optimise=False).run(feeds) for one in (before, after))
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
    return after


def ops(graph: ModelProto) -> list[str]:
    return [node.op_type for node in graph.graph.node]


def constants(graph: ModelProto) -> dict[str, list[float]]:
    return {one.name: numpy_helper.to_array(one).tolist() for one in graph.graph.initializer}


def test_a_chain_of_constants_becomes_one_of_the_same_name() -> None:
    after = folded(model("float[N, 2] x", "a = Exp (w) b = Neg (a) c = Sqrt (w) y = Add (x, b)"))
    assert ops(after) == ["Add"]
    assert constants(after)["b"] == pytest.approx([-np.exp(1), -np.exp(2)])
    assert set(constants(after)) == {"b"}


@pytest.mark.parametrize("axis", ["first", "second"])
def test_a_fixed_size_is_known_and_a_free_one_is_not(axis: str) -> None:
    body = f"s = Shape (x) n = Gather (s, {axis}) f = Cast <to = 1> (n) y = Mul (x, f)"
    assert ops(folded(model("float[N, 2] x", body))) == (["Mul"] if axis == "second" else ["Shape", "Gather", "Cast", "Mul"])


def test_the_one_free_size_of_a_target_is_left_to_the_runtime() -> None:
    body = "s = Shape (x) n = Gather (s, first) u = Unsqueeze (n, zero) c = Gather (s, second) v = Unsqueeze (c, zero) t = Concat <axis = 0> (v, u) y = Reshape (x, t)"
    after = folded(model("float[N, 2] x", body))
    assert ops(after) == ["Reshape"]
    assert list(constants(after).values()) == [[2, -1]]


def test_a_target_with_two_free_sizes_stays() -> None:
    body = "s = Shape (x) y = Reshape (x, s)"
    assert ops(folded(model("float[N, M] x", body))) == ["Shape", "Reshape"]


def test_a_target_that_says_minus_one_itself_stays() -> None:
    body = "s = Shape <start = 0, end = 1> (x) t = Concat <axis = 0> (s, rest) y = Reshape (x, t)"
    assert "Reshape" in ops(folded(model("float[N, 2, 3] x", body)))


def test_sizes_are_divided_towards_zero_as_integers_are() -> None:
    body = "s = Shape (x) n = Gather (s, second) m = Neg (n) p = Sub (n, first) d = Div (p, two) q = Mul (d, p) f = Cast <to = 1> (q) y = Mul (x, f)"
    before = model("float[N, 7] x", body.replace("m = Neg (n) ", ""))
    before.graph.initializer.append(numpy_helper.from_array(np.array(-2), "two"))
    after = folded(before)
    assert ops(after) == ["Mul"]
    assert constants(after)["f"] == -3 * 7


def test_results_of_the_model_and_random_numbers_are_not_folded() -> None:
    after = folded(model("float[N, 2] x", "c = Exp (w) y = Relu (x)", "float[A, B] y, float[2] c"))
    assert sorted(ops(after)) == ["Exp", "Relu"]
    edited = ir.from_proto(model("float[N, 2] x", "r = RandomNormal <shape = [2]> () y = Add (x, r)"))
    assert not fold_constants_(edited)


def test_a_constant_larger_than_what_it_is_made_of_stays_out_of_the_file() -> None:
    before = model(
        "float[1, 2] x",
        "e = Expand (w, big) m = ReduceMax <keepdims = 0> (e) r = ReduceMax <keepdims = 0> (x) s = Add (e, r) y = ReduceMax <axes = [0], keepdims = 1> (s)",
    )
    before.graph.initializer.append(numpy_helper.from_array(np.array([100_000, 2]), "big"))
    assert "Expand" in ops(folded(before))


def test_a_constant_that_a_subgraph_reads_is_folded() -> None:
    body = """c = Exp (w) k = ReduceMax <keepdims = 0> (x) l = Cast <to = 9> (k)
        y = If (l) <then_branch = a () => (float[N, 2] p) { p = Add (x, c) }, else_branch = b () => (float[N, 2] q) { q = Sub (x, c) }>"""
    after = folded(model("float[N, 2] x", body))
    assert "Exp" not in ops(after)
    assert "c" in constants(after)
