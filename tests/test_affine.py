"""Per-channel arithmetic folded into products: fewer nodes, the same answers, and what cannot be folded is left alone."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
import pytest
from onnx import ModelProto, numpy_helper

from edgerec.graph.affine import fold_arithmetic_, fold_batch_norms_
from edgerec.graph.execution import open_model

DRAW = np.random.default_rng(0)
CONV = "float[N, 4, 6, 6] x"
ROW = "float[N, 4] x"


def model(takes: str, body: str, **weights: np.ndarray) -> ModelProto:
    parsed = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g ({takes}) => (float[A, B, C, D] y) {{ {body} }}')
    rank = takes.count(",") + 1
    del parsed.graph.output[0].type.tensor_type.shape.dim[rank:]
    parsed.graph.initializer.extend(numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items())
    return parsed


def ops_after(rule_: Callable[[ir.Model], bool], before: ModelProto) -> list[str]:
    """Apply a rule, compare the answers, return the operators."""
    copy = ModelProto()
    copy.CopyFrom(before)
    edited = ir.from_proto(copy)
    passes.ShapeInferencePass()(edited)
    changed = rule_(edited)
    after = ir.to_proto(edited)
    onnx.checker.check_model(after, full_check=True)
    shape = [dim.dim_value or 3 for dim in before.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    expected, found = (open_model(one, threads=1, optimise=False).run(feeds)["y"] for one in (before, after))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert changed == ([node.op_type for node in before.graph.node] != [node.op_type for node in after.graph.node])
    return [node.op_type for node in after.graph.node]


def normal(*shape: int) -> np.ndarray:
    return DRAW.standard_normal(shape)


def norm(channels: int) -> dict[str, np.ndarray]:
    return {"gamma": normal(channels), "beta": normal(channels), "mean": normal(channels), "var": DRAW.uniform(0.5, 2, channels)}


BN = "BatchNormalization <epsilon = 0.01> ({}, gamma, beta, mean, var)"


@pytest.mark.parametrize(
    ("takes", "product", "weights", "channels"),
    [
        (CONV, "Conv <pads = [1, 1, 1, 1]> (x, w)", {"w": normal(6, 4, 3, 3)}, 6),
        (CONV, "Conv <group = 2> (x, w, b)", {"w": normal(6, 2, 3, 3), "b": normal(6)}, 6),
        (CONV, "ConvTranspose <strides = [2, 2]> (x, w, b)", {"w": normal(4, 6, 3, 3), "b": normal(6)}, 6),
        (CONV, "ConvTranspose <group = 2> (x, w)", {"w": normal(4, 3, 2, 2)}, 6),
        (ROW, "Gemm <alpha = 0.5, beta = 2.0> (x, w, b)", {"w": normal(4, 6), "b": normal(1, 6)}, 6),
        (ROW, "Gemm <transB = 1> (x, w)", {"w": normal(6, 4)}, 6),
        ("float[N, 4, 9] x", "Conv (x, w)", {"w": normal(6, 4, 3)}, 6),
    ],
)
def test_a_batch_norm_goes_into_the_product_before_it(takes: str, product: str, weights: dict[str, np.ndarray], channels: int) -> None:
    before = model(takes, f"t = {product} y = {BN.format('t')}", **weights, **norm(channels))
    assert ops_after(fold_batch_norms_, before) == [product.split(maxsplit=1)[0]]


@pytest.mark.parametrize(
    ("takes", "product", "weights", "channels"),
    [
        (CONV, "Conv <group = 2> (t, w)", {"w": normal(6, 2, 3, 3)}, 4),
        (ROW, "Gemm <transB = 1, alpha = 0.5> (t, w, b)", {"w": normal(6, 4), "b": normal(6)}, 4),
        (ROW, "Gemm (t, w)", {"w": normal(4, 6)}, 4),
    ],
)
def test_a_batch_norm_goes_into_the_product_after_it(takes: str, product: str, weights: dict[str, np.ndarray], channels: int) -> None:
    before = model(takes, f"t = {BN.format('x')} y = {product}", **weights, **norm(channels))
    assert ops_after(fold_batch_norms_, before) == [product.split(maxsplit=1)[0]]


def test_padding_keeps_a_shift_out_of_the_convolution() -> None:
    # The padding is 0 whatever the shift was: folding it would be wrong at the border.
    before = model(CONV, f"t = {BN.format('x')} y = Conv <pads = [1, 1, 1, 1]> (t, w)", w=normal(6, 4, 3, 3), **norm(4))
    assert ops_after(fold_batch_norms_, before) == ["Mul", "Add", "Conv"]


def test_a_batch_norm_alone_becomes_a_product_and_a_sum() -> None:
    assert ops_after(fold_batch_norms_, model(CONV, f"y = {BN.format('x')}", **norm(4))) == ["Mul", "Add"]


def test_a_convolution_that_something_else_reads_keeps_its_weights() -> None:
    body = f"t = Conv (x, w) u = {BN.format('t')} y = Add (t, u)"
    assert ops_after(fold_batch_norms_, model(CONV, body, w=normal(6, 4, 1, 1), **norm(6))) == ["Conv", "Mul", "Add", "Add"]


def test_weights_that_two_convolutions_share_are_folded_for_one_only() -> None:
    body = f"a = Conv (x, w) b = {BN.format('a')} c = Conv (x, w) y = Add (b, c)"
    assert ops_after(fold_batch_norms_, model(CONV, body, w=normal(6, 4, 1, 1), **norm(6))) == ["Conv", "Conv", "Add"]


@pytest.mark.parametrize(
    ("step", "shape", "left"),
    [
        ("Mul (t, c)", (6, 1, 1), 0),
        ("Add (c, t)", (1, 6, 1, 1), 0),
        ("Sub (t, c)", (), 0),
        ("Sub (c, t)", (6, 1, 1), 0),
        ("Div (t, c)", (1,), 0),
        ("Div (c, t)", (6, 1, 1), 1),  # no factor and shift does that
        ("Mul (t, c)", (6, 6), 1),  # a number for each pixel, not for each channel
        ("Add (t, c)", (1, 1, 1, 1, 1), 1),  # a fifth dimension
    ],
)
def test_arithmetic_goes_into_the_convolution_before_it(step: str, shape: tuple[int, ...], left: int) -> None:
    before = model(CONV, f"t = Conv <pads = [1, 1, 1, 1]> (x, w, b) y = {step}", w=normal(6, 4, 3, 3), b=normal(6), c=normal(*shape))
    if len(shape) > 4:
        before.graph.output[0].type.tensor_type.shape.dim.add()
    assert len(ops_after(fold_arithmetic_, before)) == 1 + left


def test_a_scale_before_a_padded_convolution_goes_into_it_and_a_shift_does_not() -> None:
    body = "s = Sub (x, mean) t = Div (s, std) y = Conv <pads = [1, 1, 1, 1]> (t, w)"
    weights = {"w": normal(6, 4, 3, 3), "mean": normal(4, 1, 1), "std": DRAW.uniform(1, 2, (4, 1, 1))}
    assert ops_after(fold_arithmetic_, model(CONV, body, **weights)) == ["Sub", "Conv"]


def test_one_channel_that_a_constant_turns_into_three_stays() -> None:
    before = model("float[N, 1, 6, 6] x", "t = Mul (x, c) y = Conv (t, w)", c=normal(3, 1, 1), w=normal(6, 3, 1, 1))
    assert ops_after(fold_arithmetic_, before) == ["Mul", "Conv"]


def test_a_division_by_zero_stays() -> None:
    before = model(CONV, "t = Conv (x, w) d = Div (t, c) y = Sign (d)", w=normal(2, 4, 1, 1), c=np.array([1.0, 0.0]).reshape(2, 1, 1))
    assert ops_after(fold_arithmetic_, before) == ["Conv", "Div", "Sign"]


def test_the_result_keeps_its_name() -> None:
    edited = ir.from_proto(model(CONV, f"t = Conv (x, w) u = {BN.format('t')} y = Relu (u)", w=normal(6, 4, 1, 1), **norm(6)))
    fold_batch_norms_(edited)
    assert [value.name for node in edited.graph for value in node.outputs] == ["u", "y"]
