"""Paddings: bit-equal answers where a Pad goes into a window, and no change where they would differ."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
import pytest
from onnx import ModelProto, numpy_helper

from edgerec.graph.execution import open_model
from edgerec.graph.padding import fold_pads_, number_auto_pads_


def model(body: str, height: str = "7") -> ModelProto:
    head = f'<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3, {height}, 6] x) => (float[A, B, C, D] y)'
    weights = "<int64[8] p = {0, 0, 1, 2, 0, 0, 0, 1}, int64[8] cut = {0, 0, -1, 0, 0, 0, 0, 0}, int64[8] deep = {0, 1, 0, 0, 0, 0, 0, 0},"
    more = "int64[2] few = {1, 1}, int64[1] axis = {2}, float zero = {0.0}, float one = {1.0}, float low = {-3.4e38}, float six = {6.0}>"
    parsed = onnx.parser.parse_model(f"{head} {weights} {more} {{ {body} }}")
    draw = np.random.default_rng(0)
    kernels = {"w": draw.standard_normal((4, 3, 3, 3)), "v": draw.standard_normal((4, 4, 3, 3)), "inf": np.array(-np.inf)}
    parsed.graph.initializer.extend(numpy_helper.from_array(one.astype(np.float32), name) for name, one in kernels.items())
    return parsed


def ops_after(rule_: Callable[[ir.Model], bool], before: ModelProto) -> list[str]:
    edited = ir.from_proto(before)
    rule_(edited)
    passes.RemoveUnusedNodesPass()(edited)
    after = ir.to_proto(edited)
    onnx.checker.check_model(after, full_check=True)
    for height in (7, 8):
        shape = (2, 3, before.graph.input[0].type.tensor_type.shape.dim[2].dim_value or height, 6)
        feeds = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
        expected, found = (open_model(one, threads=1, optimise=False).run(feeds)["y"] for one in (before, after))
        np.testing.assert_array_equal(found, expected)
    return [node.op_type for node in after.graph.node]


WINDOW = "kernel_shape = [3, 3]"


@pytest.mark.parametrize(
    "body",
    [
        "t = Pad (x, p) y = Conv (t, w)",
        "t = Pad (x, p, zero) y = Conv <pads = [1, 0, 0, 2], strides = [2, 2]> (t, w)",
        "t = Pad (x, p) y = Conv <auto_pad = 'VALID'> (t, w)",
        f"t = Pad (x, p) y = AveragePool <{WINDOW}> (t)",
        f"t = Pad (x, p) y = AveragePool <{WINDOW}, pads = [1, 0, 1, 0], count_include_pad = 1> (t)",
        f"t = Pad (x, p, inf) y = MaxPool <{WINDOW}> (t)",
        f"r = Relu (x) t = Pad (r, p) y = MaxPool <{WINDOW}> (t)",
        f"r = Clip (x, zero, six) s = Transpose <perm = [0, 1, 2, 3]> (r) t = Pad (s, p) y = MaxPool <{WINDOW}> (t)",
        f"r = Sigmoid (x) t = Pad (r, p) y = MaxPool <{WINDOW}, pads = [1, 0, 0, 0]> (t)",
    ],
)
def test_a_pad_goes_into_the_window_after_it(body: str) -> None:
    before = model(body.replace("'", '"'))
    assert ops_after(fold_pads_, before) == [node.op_type for node in before.graph.node if node.op_type != "Pad"]


@pytest.mark.parametrize(
    "body",
    [
        "t = Pad (x, p, one) y = Conv (t, w)",
        "t = Pad (x, cut) y = Conv (t, w)",
        "t = Pad (x, deep) y = Conv (t, v)",
        "t = Pad <mode = 'reflect'> (x, p) y = Conv (t, w)",
        f"t = Pad (x, p) y = AveragePool <{WINDOW}, pads = [1, 1, 1, 1]> (t)",
        f"t = Pad (x, p) y = AveragePool <{WINDOW}, ceil_mode = 1, strides = [2, 2]> (t)",
        "t = Pad (x, p) y = AveragePool <kernel_shape = [2, 2]> (t)",  # a window of nothing but padding
        f"t = Pad (x, p) y = MaxPool <{WINDOW}> (t)",  # zeros win against negative numbers
        f"r = Clip (x, low, six) t = Pad (r, p) y = MaxPool <{WINDOW}> (t)",
        f"r = Clip (x, , six) t = Pad (r, p) y = MaxPool <{WINDOW}> (t)",
        f"r = Relu (x) s = Sub (r, one) t = Pad (s, p) y = MaxPool <{WINDOW}> (t)",
        f"r = Relu (x) t = Pad (r, p) y = MaxPool <{WINDOW}, dilations = [2, 2]> (t)",
    ],
)
def test_a_pad_that_the_window_cannot_make_stays(body: str) -> None:
    before = model(body.replace("'", '"'))
    assert ops_after(fold_pads_, before) == [node.op_type for node in before.graph.node]


def test_a_pad_that_something_else_reads_stays_for_it() -> None:
    body = f"t = Pad (x, p) u = Conv (t, w) a = AveragePool <{WINDOW}> (t) s = ReduceMean <keepdims = 1> (t) b = Mul (u, s) y = Concat <axis = 1> (a, b)"
    assert ops_after(fold_pads_, model(body)).count("Pad") == 1


def test_two_pads_become_one() -> None:
    assert ops_after(fold_pads_, model("s = Pad (x, p) t = Pad (s, p) y = Relu (t)")) == ["Pad", "Relu"]


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("settings", ["", "strides = [2, 2]", "strides = [1, 2]"])
@pytest.mark.parametrize(
    "node", ["Conv <{}> (x, w)", "MaxPool <kernel_shape = [3, 2], {}> (x)", "AveragePool <kernel_shape = [2, 3], {}> (x)"]
)
def test_auto_pads_become_numbers(node: str, settings: str, auto_pad: str) -> None:
    inside = ", ".join(filter(None, [f'auto_pad = "{auto_pad}"', settings]))
    before = model(f"y = {node.format(inside)}")
    edited = ir.from_proto(before)
    assert number_auto_pads_(edited)
    assert "auto_pad" not in next(iter(edited.graph)).attributes
    ops_after(number_auto_pads_, before)


def test_a_dilated_window_that_pads_itself_stays() -> None:
    before = model('y = MaxPool <kernel_shape = [3, 2], auto_pad = "SAME_UPPER", dilations = [2, 1]> (x)')
    assert not number_auto_pads_(ir.from_proto(before))


@pytest.mark.parametrize(("stride", "numbered"), [(1, True), (2, False)])
def test_a_free_size_matters_only_to_a_stride(stride: int, numbered: bool) -> None:
    before = model(f'y = Conv <auto_pad = "SAME_UPPER", strides = [{stride}, 1]> (x, w)', height="H")
    assert number_auto_pads_(ir.from_proto(before)) is numbered
    ops_after(number_auto_pads_, before)
