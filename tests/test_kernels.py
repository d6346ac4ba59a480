"""Kernel shaping: the written int8 model gives the same bits, and only what wins is applied."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import onnx.shape_inference
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgerec.benchmarks.kernel import Kernel
from edgerec.benchmarks.kernel_times import KernelTimes, this_device
from edgerec.compress.quantization.conv_forms import spread_weight, tokens_of
from edgerec.compress.quantization.kernels import Shaped, shape_kernels
from edgerec.compress.quantization.qdq import write_qdq
from edgerec.compress.quantization.scheme import Grid, Scheme, round_weight
from edgerec.graph.execution import open_model

Price = Callable[[Kernel], float]


def test_a_shortcut_becomes_a_convolution() -> None:
    model = _model(
        [
            *_conv("a", "x", 8),
            helper.make_node("Slice", ["a", "zero", "far", "height", "two"], ["half"], "slice_1"),
            helper.make_node("Slice", ["half", "zero", "far", "width", "two"], ["quarter"], "slice_2"),
            helper.make_node("Pad", ["quarter", "pads"], ["padded"], "pad"),
            *_conv("b", "a", 16, strides=[2, 2]),
            helper.make_node("Add", ["b", "padded"], ["sum"], "add"),
            *_conv("c", "sum", 16),
            helper.make_node("Relu", ["c"], ["y"], "last"),
        ],
        {"zero": [0], "far": [2**63 - 1], "height": [2], "width": [-1], "two": [2], "pads": [0, 3, 0, 0, 0, 5, 0, 0]},
    )
    shaped = _shaped(model, lambda kernel: 10.0 if _ops(kernel) & {"Pad", "Slice"} else 1.0)

    assert [one.nodes for one in shaped.rewrites] == [("slice_1", "slice_2", "pad")]
    assert not {"Pad", "Slice"} & {node.op_type for node in shaped.model.graph.node}


@pytest.mark.parametrize(
    ("node", "constants"),
    [
        (["a", "one", "far", "height", "two"], {"one": [1], "far": [99], "height": [2], "two": [2]}),  # starts at the second row
        (["a", "zero", "four", "height"], {"zero": [0], "four": [4], "height": [2]}),  # ends before the last
        (["a", "zero", "far", "channels"], {"zero": [0], "far": [99], "channels": [1]}),
    ],
)
def test_other_slices_stay(node: list[str], constants: dict[str, list[int]]) -> None:
    model = _model([*_conv("a", "x", 16), helper.make_node("Slice", node, ["cut"], "slice"), *_conv("y", "cut", 16)], constants)

    assert _shaped(model, lambda kernel: 10.0 if "Slice" in _ops(kernel) else 1.0).rewrites == ()


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
@pytest.mark.parametrize(("kernel", "stride", "pads"), [(3, 1, [1, 1, 1, 1]), (3, 2, [0, 0, 1, 1]), (1, 1, [0] * 4), (5, 2, [2, 2, 2, 2])])
def test_thin_convolutions_compute_several_pixels_at_a_time(channels: int, kernel: int, stride: int, pads: list[int]) -> None:
    model = _model(
        [
            *_conv("a", "x", 8, kernel, strides=[stride, stride], pads=pads),
            helper.make_node("Relu", ["a"], ["b"], "relu"),
            *_conv("y", "b", 16),
        ],
        channels=channels,
    )

    shaped = _shaped(model, lambda kernel: 100.0 / _widest(kernel) + ("Reshape" in _first_ops(kernel)))

    assert [one.what for one in shaped.rewrites] == ["4 pixels at a time"]
    weight = next(one for one in shaped.model.graph.initializer if one.name == "conv_a_weight_4")
    assert weight.dims == [32, -(-channels // 4) * 4, kernel, kernel + 3 * stride]


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
@pytest.mark.parametrize(
    ("kernel", "stride", "pads"),
    [(3, 1, [1, 1, 1, 1]), (3, 2, [0, 0, 1, 1]), (3, 2, [0, 1, 1, 0]), (5, 2, [2, 2, 2, 2]), (7, 1, [3, 3, 3, 3])],
)
def test_rows_are_read_four_values_at_a_time(channels: int, kernel: int, stride: int, pads: list[int]) -> None:
    model = _model(
        [
            *_conv("a", "x", 8, kernel, strides=[stride, stride], pads=pads),
            helper.make_node("Relu", ["a"], ["b"], "relu"),
            *_conv("y", "b", 16),
        ],
        channels=channels,
    )

    shaped = _shaped(model, lambda kernel: 1.0 if "Reshape" in _first_ops(kernel) and _widest(kernel) == 32 else 10.0)

    assert [one.what for one in shaped.rewrites] == ["4 pixels at a time, rows four values at a time"]
    assert "Pad" not in {node.op_type for node in shaped.model.graph.node}


def test_rows_that_are_no_whole_number_of_tokens_stay() -> None:
    model = _model([*_conv("a", "x", 8, 5, pads=[1] * 4), *_conv("y", "a", 16)], channels=1, size=10)  # 10 values a row, 8 pixels of output

    assert _shaped(model, lambda kernel: 1.0 if "Reshape" in _first_ops(kernel) else 10.0).rewrites == ()


def test_tokens_by_hand() -> None:
    weight = np.array([[[[1, 2, 3]], [[4, 5, 6]]]], np.int8)  # two channels, a row of three pixels: 1 4 2 5 3 6 in memory

    assert tokens_of(weight)[0, :, 0].T.tolist() == [[1, 4, 2, 5], [3, 6, 0, 0]]
    assert tokens_of(weight, 2)[0, :, 0].T.tolist() == [[0, 0, 1, 4], [2, 5, 3, 6]]


def test_pixels_at_a_time_by_hand() -> None:
    weight = np.array([[[[1, 2, 3]]]], np.int8)

    # windows of pixels 0 and 1 of a row with stride 2 begin at 0 and 2
    assert spread_weight(weight, 2, 2).tolist() == [[[[1, 2, 3, 0, 0]]], [[[0, 0, 1, 2, 3]]]]
    assert spread_weight(weight, 1, 1, zero_channels=1).tolist() == [[[[1, 2, 3]], [[0, 0, 0]]]]


def test_a_stem_gets_a_zero_channel_where_that_alone_wins() -> None:
    model = _model([*_conv("a", "x", 16), *_conv("y", "a", 16)], channels=3)
    shaped = _shaped(model, lambda kernel: 1.0 if {"Pad"} <= _ops(kernel) and not {"Reshape"} & _ops(kernel) else 10.0)

    assert [one.what for one in shaped.rewrites] == ["1 zero channels more"]


def test_depthwise_convolutions_get_channels_through_their_squeeze_and_excite() -> None:
    model = _model(
        [
            *_conv("wide", "x", 24, 1, pads=[0] * 4),
            *_conv("deep", "wide", 24, group=24),
            helper.make_node("GlobalAveragePool", ["deep"], ["mean"], "mean"),
            *_conv("squeezed", "mean", 8, 1, pads=[0] * 4),
            *_conv("excited", "squeezed", 24, 1, pads=[0] * 4),
            helper.make_node("HardSigmoid", ["excited"], ["gate"], "gate", alpha=1 / 6),
            helper.make_node("Mul", ["deep", "gate"], ["gated"], "mul"),
            *_conv("y", "gated", 16, 1, pads=[0] * 4),
        ]
    )
    shaped = _shaped(model, lambda kernel: 1.0 if all(one is None or 24 not in one.shape for one in kernel.first.operands) else 10.0)

    (rewrite,) = [one for one in shaped.rewrites if "depthwise" in one.what]
    assert set(rewrite.nodes) == {"conv_wide", "conv_deep", "conv_squeezed", "conv_excited", "conv_y"}
    deep = next(node for node in shaped.model.graph.node if node.name == "conv_deep")
    assert {one.name: one.i for one in deep.attribute}["group"] == 32


def test_a_depthwise_convolution_on_an_input_or_output_stays() -> None:
    at_input = _model([*_conv("deep", "x", 24, group=24), *_conv("y", "deep", 16)], channels=24)
    at_output = _model([*_conv("a", "x", 24), *_conv("y", "a", 24, group=24)])

    for model in (at_input, at_output):
        assert not [one for one in _shaped(model, lambda kernel: 100.0 / _widest(kernel)).rewrites if "depthwise" in one.what]


@pytest.mark.parametrize("flatten", [True, False])
def test_the_classifier_reads_channels_where_they_lie(flatten: bool) -> None:
    last = (
        helper.make_node("Flatten", ["mean"], ["flat"], "flat")
        if flatten
        else helper.make_node("Reshape", ["mean", "to"], ["flat"], "flat")
    )
    nodes = [
        *_conv("a", "x", 16),
        helper.make_node("GlobalAveragePool", ["a"], ["mean"], "mean"),
        last,
        helper.make_node("MatMul", ["flat", "w_head"], ["y"], "head"),
    ]
    model = _model(nodes, {} if flatten else {"to": [0, -1]})

    shaped = _shaped(model, lambda kernel: 1.0 if "Transpose" in _ops(kernel) else 10.0)

    assert [one.nodes for one in shaped.rewrites] == [("flat",)]


def test_nothing_is_done_without_times() -> None:
    model = _model([*_conv("a", "x", 8), *_conv("y", "a", 16)], channels=3)
    scheme = _scheme(model)

    shaped = shape_kernels(model, scheme, lambda kernels: KernelTimes(this_device()))

    assert shaped.rewrites == ()
    assert shaped.model == model
    assert shaped.scheme.nodes == scheme.nodes


def test_measured_on_this_machine(tmp_path: Path) -> None:
    model = _model([*_conv("a", "x", 8), *_conv("b", "a", 8), *_conv("y", "b", 16)], channels=3, size=32)

    shaped = shape_kernels(model, _scheme(model))

    assert all(one.after_us < one.before_us for one in shaped.rewrites)


def _shaped(model: ModelProto, price: Price) -> Shaped:
    """Shape a model with made-up times, and check that the written files agree in every bit on images that they never saw."""

    def times_of(kernels: Iterable[Kernel]) -> KernelTimes:
        return KernelTimes(this_device(), {kernel: price(kernel) for kernel in kernels})

    before = model.SerializeToString()
    scheme = _scheme(model)
    shaped = shape_kernels(model, scheme, times_of)
    assert model.SerializeToString() == before
    feeds = _feeds(model, 2, seed=1)
    plain, fast = (open_model(write_qdq(*one), threads=1).run(feeds) for one in ((model, scheme), (shaped.model, shaped.scheme)))
    for name, array in plain.items():
        assert np.ptp(array) > 0
        np.testing.assert_array_equal(fast[name], array)
    return shaped


def _ops(kernel: Kernel) -> set[str]:
    return {one.op_type for one in kernel.operators}


def _first_ops(kernel: Kernel) -> list[str]:
    """Return the operators in front of the first convolution."""
    ops = [one.op_type for one in kernel.operators]
    return ops[: ops.index("Conv")] if "Conv" in ops else ops


def _widest(kernel: Kernel) -> int:
    """Return the largest number of output channels of a kernel's convolutions."""
    return max((one.operands[1].shape[0] for one in kernel.operators if one.op_type == "Conv" and one.operands[1] is not None), default=1)


def _conv(result: str, source: str, channels: int, kernel: int = 3, **attributes: int | list[int]) -> list[NodeProto]:
    """Return a convolution whose weight `_model` makes."""
    given = {"kernel_shape": [kernel, kernel], "pads": [1, 1, 1, 1], **attributes}
    inputs = [source, f"w_{result}_{channels}", f"b_{result}_{channels}"]
    return [helper.make_node("Conv", inputs, [result], f"conv_{result}", **given)]


def _model(nodes: list[NodeProto], integers: dict[str, list[int]] | None = None, *, channels: int = 16, size: int = 8) -> ModelProto:
    """Return a model with random weights: images of `channels` in, the tensor `y` out."""
    random = np.random.default_rng(0)
    constants = [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in (integers or {}).items()]
    widths = {"x": channels}
    for node in nodes:
        out = widths.get(node.input[0], 0)
        if node.op_type == "Conv":
            attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
            out = int(node.input[1].rsplit("_", 1)[1])
            shape = out, widths[node.input[0]] // attributes.get("group", 1), *attributes["kernel_shape"]
            constants.append(numpy_helper.from_array(random.normal(size=shape).astype(np.float32), node.input[1]))
            constants.append(numpy_helper.from_array(random.normal(size=out).astype(np.float32), node.input[2]))
        elif node.op_type == "MatMul":
            constants.append(numpy_helper.from_array(random.normal(size=(out, 10)).astype(np.float32), node.input[1]))
        elif node.op_type == "Pad":
            out += sum(integers["pads"]) if integers else 0
        widths[node.output[0]] = out
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", channels, size, size])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "test", inputs, outputs, constants)
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def _scheme(model: ModelProto) -> Scheme:
    """Make everything int8 with ranges from random images; tensors that only move share a grid, Relu and HardSigmoid are absorbed."""
    nodes = model.graph.node
    feeds = _feeds(model, 4)
    arrays = feeds | open_model(model, threads=1, taps=[node.output[0] for node in nodes]).run(feeds)
    grids = {name: Grid.covering(float(array.min()), float(array.max())) for name, array in arrays.items()}
    weights = {}
    for node in nodes:
        if node.op_type in ("Flatten", "Pad", "Reshape", "Slice"):
            grids[node.output[0]] = grids[node.input[0]]
        if node.op_type in ("HardSigmoid", "Relu"):
            del grids[node.input[0]]
        if node.op_type in ("Conv", "MatMul"):
            (weight,) = [one for one in model.graph.initializer if one.name == node.input[1]]
            weights[weight.name] = round_weight(numpy_helper.to_array(weight), 0 if node.op_type == "Conv" else 1)
    del grids["y"]
    return Scheme(frozenset(node.name for node in nodes if node.name != "last"), grids, weights)


def _feeds(model: ModelProto, images: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    shape = [images, *(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:])]
    return {"x": np.random.default_rng(seed).normal(size=shape).astype(np.float32)}
