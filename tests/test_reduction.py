"""The kernels' order of products, against ONNX Runtime's float convolution and by hand."""

import numpy as np
import onnx.parser
import pytest

from edgerec.benchmarks.int8_products import Product, products, reference
from edgerec.compress.quantization.reduction import columns, has_pairs, rows
from edgerec.runtime.session import open_session


@pytest.mark.parametrize("product", products(), ids=lambda one: one.name)
def test_the_sum_over_the_order_is_the_product(product: Product) -> None:
    lines = columns(product.node, product.weight.shape, product.values, product.zero_point).astype(np.int64) - product.zero_point
    sums = np.einsum("gpk,gok->gop", lines, rows(product.node, product.weight).astype(np.int64)).reshape(len(product.scale), -1)
    job = reference(product)
    right = open_session(job.model, threads=1).run(job.feeds)["y"]
    channels_first = right.reshape(right.shape[1], -1) if product.node.op_type == "Conv" else right.T
    np.testing.assert_array_equal(product.requantize(sums, 0), channels_first)


def test_taps_come_before_channels() -> None:
    node = onnx.parser.parse_node("y = Conv (x, w)")
    weight = np.arange(12).reshape(1, 3, 2, 2)  # channel 0 holds taps 0 to 3
    assert rows(node, weight).tolist() == [[[0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]]]
    assert columns(node, weight.shape, weight, 0).tolist() == rows(node, weight).tolist()


def test_padding_holds_the_zero_point() -> None:
    node = onnx.parser.parse_node("y = Conv <pads = [1, 0]> (x, w)")
    lines = columns(node, (1, 1, 2), np.array([[[5, 6]]], np.uint8), 7)
    assert lines.tolist() == [[[7, 5], [5, 6]]]


def test_a_transposed_gemm_is_read_by_rows() -> None:
    weight = np.arange(6).reshape(2, 3)
    assert rows(onnx.parser.parse_node("y = Gemm <transB = 1> (x, w)"), weight).tolist() == [weight.tolist()]
    assert rows(onnx.parser.parse_node("y = Gemm (x, w)"), weight).tolist() == [weight.T.tolist()]


@pytest.mark.parametrize(
    ("attributes", "shape", "expected"),
    [
        ("group = 16", (16, 1, 3, 3), False),
        ("group = 4", (8, 1, 3, 3), True),
        ("group = 1", (8, 1, 3, 3), True),
        ("group = 2", (4, 2, 1, 1), True),
    ],
)
def test_only_depthwise_has_no_pairs(attributes: str, shape: tuple[int, ...], expected: bool) -> None:
    assert has_pairs(onnx.parser.parse_node(f"y = Conv <{attributes}> (x, w)"), shape) is expected
