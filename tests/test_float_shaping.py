"""Float shaping: the same function, only where a table of times says that it wins."""

from collections.abc import Callable, Iterable

import numpy as np
import onnx
import onnx.shape_inference
import pytest
from onnx import ModelProto, NodeProto, helper, numpy_helper

from edgerec.benchmarks.kernel import Kernel
from edgerec.benchmarks.kernel_times import KernelTimes, this_device
from edgerec.benchmarks.latency import Comparison, Speedup
from edgerec.compress.quantization import float_shaping
from edgerec.compress.quantization.float_shaping import fastest_float, shape_float
from edgerec.graph.execution import open_model

Price = Callable[[Kernel], float]


@pytest.mark.parametrize("value", [None, 0.0])
def test_a_shortcut_becomes_a_convolution_with_the_same_bits(value: float | None) -> None:
    model = _shortcut(value)
    shaped = shape_float(model, _table(lambda kernel: 10.0 if _ops(kernel) & {"Pad", "Slice"} else 1.0))

    assert [one.what for one in shaped.rewrites] == ["shortcut as a convolution"]
    assert not {"Pad", "Slice"} & {node.op_type for node in shaped.model.graph.node}
    _assert_same(model, shaped.model)


def test_a_pad_with_another_number_stays() -> None:
    model = _shortcut(2.0)
    shaped = shape_float(model, _table(lambda kernel: 10.0 if _ops(kernel) & {"Pad", "Slice"} else 1.0))
    assert [one.nodes for one in shaped.rewrites] == [("slice",)]
    _assert_same(model, shaped.model)


def test_thin_layers_get_a_whole_block_of_channels() -> None:
    model = _model([*_conv("a", "x", 3, 12), helper.make_node("Relu", ["a"], ["b"], "relu"), *_conv("y", "b", 12, 16)], channels=3)
    shaped = shape_float(model, _table(lambda kernel: 1.0 if 16 in _channels(kernel) and 12 not in _channels(kernel) else 10.0))

    assert [one.what for one in shaped.rewrites] == ["4 zero channels around convolutions"]
    assert {tuple(one.dims) for one in shaped.model.graph.initializer if len(one.dims) == 4} == {(16, 3, 3, 3), (16, 16, 3, 3)}
    _assert_same(model, shaped.model)


def test_what_the_table_does_not_hold_and_what_loses_stays() -> None:
    model = _shortcut(None)
    assert shape_float(model, lambda _kernels: KernelTimes(this_device())).rewrites == ()
    assert shape_float(model, _table(lambda _kernel: 1.0)).rewrites == ()


def test_another_machines_table_decides_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float_shaping, "time_files", None)
    found = fastest_float(_shortcut(None), _table(lambda kernel: 10.0 if _ops(kernel) & {"Pad", "Slice"} else 1.0))
    assert [one.what for one in found.rewrites] == ["shortcut as a convolution"]
    assert found.speedup is None


@pytest.mark.parametrize(("low", "is_shaped"), [(1.01, True), (1.0, False)])
def test_the_clock_has_the_last_word(low: float, is_shaped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float_shaping, "time_kernels", _table(lambda kernel: 10.0 if _ops(kernel) & {"Pad", "Slice"} else 1.0))
    monkeypatch.setattr(float_shaping, "time_files", lambda files, images: Comparison({}, {"shaped": Speedup(1.05, low, 1.1)}))
    found = fastest_float(_shortcut(None))
    assert ("Slice" not in {node.op_type for node in found.model.graph.node}) == is_shaped == bool(found.rewrites)
    assert [("only prepared" in note) for note in found.notes] == ([] if is_shaped else [True])


def test_what_changes_an_output_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = _shortcut(None)
    wrong.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((16, 3, 3, 3), np.float32), wrong.graph.initializer[0].name))
    shaped = shape_float(_shortcut(None), _table(lambda kernel: 10.0 if _ops(kernel) & {"Pad", "Slice"} else 1.0))
    monkeypatch.setattr(float_shaping, "shape_float", lambda model, times_of: float_shaping.Shaped(wrong, shaped.scheme, shaped.rewrites))
    found = fastest_float(_shortcut(None), _table(lambda _kernel: 1.0))
    assert found.rewrites == ()
    assert "values differ by" in found.notes[0]


def _shortcut(value: float | None) -> ModelProto:
    """Return a residual block whose shortcut takes every second pixel and adds empty channels."""
    extra = [] if value is None else ["value"]
    nodes = [
        *_conv("a", "x", 3, 16),
        helper.make_node("Slice", ["a", "zero", "far", "axes", "two"], ["half"], "slice"),
        helper.make_node("Pad", ["half", "pads", *extra], ["padded"], "pad"),
        *_conv("b", "a", 16, 32, [2, 2]),
        helper.make_node("Add", ["b", "padded"], ["y"], "add"),
    ]
    model = _model(nodes, channels=3)
    numbers = {"zero": [0, 0], "far": [2**63 - 1] * 2, "axes": [2, 3], "two": [2, 2], "pads": [0, 8, 0, 0, 0, 8, 0, 0]}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(one, np.int64), name) for name, one in numbers.items())
    if value is not None:
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), "value"))
    return model


def _conv(name: str, source: str, inputs: int, outputs: int, strides: list[int] | None = None) -> list[NodeProto]:
    return [
        helper.make_node(
            "Conv", [source, f"w{inputs}x{outputs}"], [name], f"conv_{name}", kernel_shape=[3, 3], pads=[1] * 4, strides=strides or [1, 1]
        )
    ]


def _model(nodes: list[NodeProto], channels: int) -> ModelProto:
    random = np.random.default_rng(0)
    names = dict.fromkeys(node.input[1] for node in nodes if node.op_type == "Conv")
    weights = [
        numpy_helper.from_array(random.standard_normal((outputs, inputs, 3, 3)).astype(np.float32), name)
        for name in names
        for inputs, outputs in [map(int, name[1:].split("x"))]
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, [1, channels, 8, 8])], [helper.make_tensor_value_info("y", 1, None)], weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def _assert_same(model: ModelProto, shaped: ModelProto) -> None:
    """Run both node by node, as their operators say: then no kernel adds in another order, and the bits must be equal."""
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    expected, found = (open_model(one, threads=1, optimise=False).run(feeds)["y"] for one in (model, shaped))
    assert np.abs(expected).max() > 1
    np.testing.assert_array_equal(found, expected)


def _table(price: Price) -> Callable[[Iterable[Kernel]], KernelTimes]:
    return lambda kernels: KernelTimes(this_device(), {kernel: price(kernel) for kernel in kernels})


def _ops(kernel: Kernel) -> set[str]:
    assert kernel.precision == "fp32"
    return {one.op_type for one in kernel.operators}


def _channels(kernel: Kernel) -> set[int]:
    return {size for one in kernel.first.operands if one is not None for size in one.shape[:2]}
