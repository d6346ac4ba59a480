"""Matrix products: MatMul and Add as Gemm where they are one, factors inside the constants, biases as rows."""

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
import pytest
from onnx import ModelProto, numpy_helper

from edgerec.graph.execution import open_model
from edgerec.graph.gemm import join_bias_, plain_gemm_

DRAW = np.random.default_rng(0)


def edited(body: str, takes: str = "float[N, 4] x", **weights: np.ndarray) -> ModelProto:
    """Apply both rules, compare the answers."""
    dims = ", ".join("ABCD"[: takes.count(",") + 1])
    before = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g ({takes}) => (float[{dims}] y) {{ {body} }}')
    before.graph.initializer.extend(numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items())
    graph = ir.from_proto(before)
    passes.ShapeInferencePass()(graph)
    join_bias_(graph)
    plain_gemm_(graph)
    assert not join_bias_(graph)
    assert not plain_gemm_(graph)
    after = ir.to_proto(graph)
    onnx.checker.check_model(after, full_check=True)
    x = DRAW.standard_normal([dim.dim_value or 3 for dim in before.graph.input[0].type.tensor_type.shape.dim]).astype(np.float32)
    expected, found = (open_model(one, threads=1, optimise=False).run({"x": x})["y"] for one in (before, after))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    return after


def normal(*shape: int) -> np.ndarray:
    return DRAW.standard_normal(shape)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (1,), ()])
@pytest.mark.parametrize("add", ["Add (t, b)", "Add (b, t)"])
def test_a_product_and_its_bias_become_one_node(add: str, shape: tuple[int, ...]) -> None:
    after = edited(f"t = MatMul (x, w) y = {add}", w=normal(4, 5), b=normal(*shape))
    assert [node.op_type for node in after.graph.node] == ["Gemm"]
    assert {tuple(one.dims) for one in after.graph.initializer if one.name in after.graph.node[0].input} == {(4, 5), (5,)}


@pytest.mark.parametrize(
    ("body", "takes", "bias"),
    [
        ("t = MatMul (x, w) y = Add (t, b)", "float[N, 2, 4] x", (5,)),  # three dimensions
        ("t = MatMul (x, w) y = Add (t, b)", "float[3, 4] x", (3, 5)),  # a bias for each row
        ("t = MatMul (x, w) u = Add (t, b) y = Mul (t, u)", "float[N, 4] x", (5,)),  # something else reads the product
    ],
)
def test_other_products_stay(body: str, takes: str, bias: tuple[int, ...]) -> None:
    assert "MatMul" in [node.op_type for node in edited(body, takes, w=normal(4, 5), b=normal(*bias)).graph.node]


@pytest.mark.parametrize("shape", [None, (5,), (1, 5), (1,), ()])
@pytest.mark.parametrize("factors", ["", "alpha = 0.5", "beta = 2.0, transB = 1", "alpha = 3.0, beta = 0.25"])
def test_factors_go_into_the_constants(factors: str, shape: tuple[int, ...] | None) -> None:
    weights = {"w": normal(5, 4) if "transB" in factors else normal(4, 5)} | ({} if shape is None else {"b": normal(*shape)})
    after = edited(f"y = Gemm <{factors}> ({', '.join(['x', *weights])})".replace("<>", ""), **weights)
    (node,) = after.graph.node
    assert {one.name for one in node.attribute} <= {"transB"}
    read = {one.name: tuple(one.dims) for one in after.graph.initializer}
    assert [read[name] for name in node.input[2:]] == ([] if shape is None else [(5,)])


def test_a_bias_for_each_row_keeps_its_factor() -> None:
    after = edited("y = Gemm <beta = 2.0> (x, w, b)", "float[3, 4] x", w=normal(4, 5), b=normal(3, 5))
    assert [one.name for one in after.graph.node[0].attribute] == ["beta"]
