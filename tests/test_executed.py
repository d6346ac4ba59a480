"""Tests of benchmarks/executed.py and benchmarks/origins.py on models that ONNX Runtime really optimises."""

import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgerec.benchmarks.executed import Executed, executed_nodes, kind_of
from edgerec.benchmarks.kernel_events import TensorType
from edgerec.benchmarks.profiling import NodeTime, profile
from edgerec.graph.shapes import count_macs

Array = npt.NDArray[np.generic]
SIZE = 8


def model_of(nodes: list[NodeProto], weights: dict[str, Array], *, channels: int = 3, opset: int = 17) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def quantized_convolution() -> ModelProto:
    """Return Conv + Relu between QuantizeLinear and DequantizeLinear, on 4 channels."""
    weights: dict[str, Array] = {
        "scale": np.float32(0.05),
        "zero": np.uint8(128),
        "after": np.uint8(0),
        "w": np.random.default_rng(0).integers(-127, 127, (8, 4, 3, 3)).astype(np.int8),
        "w_scale": np.full(8, 0.01, np.float32),
        "w_zero": np.zeros(8, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["x_q"], "enter"),
        helper.make_node("DequantizeLinear", ["x_q", "scale", "zero"], ["x_d"], "enter_back"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_d"], "weight", axis=0),
        helper.make_node("Conv", ["x_d", "w_d"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("QuantizeLinear", ["r", "scale", "after"], ["r_q"], "leave"),
        helper.make_node("DequantizeLinear", ["r_q", "scale", "after"], ["y"], "leave_back"),
    ]
    return model_of(nodes, weights, channels=4)


def float_network() -> ModelProto:
    """Return Conv + Relu, an addition and a MatMul on top: all of it fuses, on processors with blocked convolutions."""
    draw = np.random.default_rng(0)
    weights: dict[str, Array] = {
        "w1": draw.standard_normal((5, 3, 3, 3)).astype(np.float32),
        "w2": draw.standard_normal((5, 5, 1, 1)).astype(np.float32),
        "m": draw.standard_normal((SIZE, 4)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "second"),
        helper.make_node("Add", ["b", "c"], ["d"], "residual"),
        helper.make_node("MatMul", ["d", "m"], ["y"], "head"),
    ]
    return model_of(nodes, weights)


def run(model: ModelProto) -> tuple[Executed, ...]:
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    feeds = {"x": np.random.default_rng(0).standard_normal((1, channels, SIZE, SIZE)).astype(np.float32)}
    return executed_nodes(model, profile(model, feeds, runs=5))


def test_a_quantized_convolution_with_its_relu_is_one_integer_kernel_that_knows_where_it_came_from() -> None:
    nodes = run(quantized_convolution())
    kernel = next(node for node in nodes if node.op_type == "QLinearConv")
    assert (kernel.kind, kernel.title, kernel.weight_shape, kernel.dtype) == ("int8", "conv", (8, 4, 3, 3), "uint8")
    assert set(kernel.origins) == {"enter_back", "weight", "conv", "relu", "leave"}
    assert kernel.macs == 8 * SIZE * SIZE * 4 * 9
    assert [node.origins for node in nodes if node.kind == "conversion"] == [("enter",), ("leave_back",)]
    assert sum(node.share for node in nodes) == pytest.approx(1)


@pytest.mark.parametrize("make", [quantized_convolution, float_network])
def test_each_node_of_the_file_is_in_one_executed_node_and_no_product_is_lost(make: object) -> None:
    assert callable(make)
    model: ModelProto = make()
    nodes = run(model)
    assert sorted(name for node in nodes for name in node.origins) == sorted(node.name for node in model.graph.node)
    assert sum(node.macs for node in nodes) == sum(count_macs(model).values())


def test_what_onnx_runtime_adds_came_from_nothing() -> None:
    added = [node for node in run(quantized_convolution()) if not node.origins]
    assert {node.kind for node in added} <= {"layout"}


def test_an_operator_that_falls_apart_is_the_origin_of_all_its_parts() -> None:
    nodes = run(model_of([helper.make_node("HardSwish", ["x"], ["y"], "swish")], {}))
    assert nodes
    assert {node.origins for node in nodes} == {("swish",)}


def test_an_operator_that_falls_apart_between_integer_layers_is_found_by_what_it_reads() -> None:
    model = quantized_convolution()
    last = model.graph.node[-1]
    last.output[0] = "r_d"
    model.graph.node.extend(
        [
            helper.make_node("HardSwish", ["r_d"], ["s"], "swish"),
            helper.make_node("QuantizeLinear", ["s", "scale", "after"], ["s_q"], "again"),
            helper.make_node("DequantizeLinear", ["s_q", "scale", "after"], ["s_d"], "again_back"),
            helper.make_node("Conv", ["s_d", "w_d"], ["second_y"], "second", group=2),
            helper.make_node("QuantizeLinear", ["second_y", "scale", "after"], ["y_q"], "end"),
            helper.make_node("DequantizeLinear", ["y_q", "scale", "after"], ["y"], "end_back"),
        ]
    )
    nodes = run(model)
    assert {node.title for node in nodes if node.kind == "float"} == {"swish"}
    assert [node.title for node in nodes if node.kind == "int8"] == ["conv", "second"]
    assert {"leave_back", "again"} <= {node.title for node in nodes if node.kind == "conversion"}


def test_times_are_scaled_down_to_a_run_and_never_up() -> None:
    model = quantized_convolution()
    measured = profile(model, {"x": np.ones((1, 4, SIZE, SIZE), np.float32)}, runs=3)
    total = sum(one.us for one in measured.times)
    assert sum(node.us for node in executed_nodes(model, measured, total / 2)) == pytest.approx(total / 2)
    assert sum(node.us for node in executed_nodes(model, measured, total * 2)) == pytest.approx(total)


def test_nodes_without_names_get_their_own() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Softmax", ["a"], ["y"])], {})
    assert [node.title for node in run(model)] == ["Relu_0", "Softmax_1"]
    assert [node.name for node in model.graph.node] == ["", ""]


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "kind"),
    [
        ("QLinearAdd", ["uint8"], ["uint8"], "int8"),
        ("MaxPool", ["uint8"], ["uint8"], "int8"),
        ("MatMulIntegerToFloat", ["uint8"], ["float"], "int8"),
        ("MaxPool", ["float"], ["float"], "float"),
        ("Slice", ["uint8", "int64"], ["uint8"], "movement"),
        ("DequantizeLinear", ["uint8"], ["float"], "conversion"),
        ("Cast", ["float"], ["float16"], "conversion"),
        ("Transpose", ["float"], ["float"], "layout"),
        ("ReorderInput", ["float"], ["float"], "layout"),
        ("Shape", ["float"], ["int64"], "shape"),
        ("Add", ["int64", "int64"], ["int64"], "shape"),
        ("ArgMax", ["float"], ["int64"], "float"),
    ],
)
def test_kinds(op: str, inputs: list[str], outputs: list[str], kind: str) -> None:
    types = [tuple(TensorType(one, (1, 4)) for one in names) for names in (inputs, outputs)]
    assert kind_of(NodeTime("node", op, "CPUExecutionProvider", 1.0, *types)) == kind


@pytest.mark.parametrize(
    ("node", "weights"),
    [
        (
            helper.make_node("LSTM", ["x3", "w", "r"], ["h"], "cell", hidden_size=5),
            {"w": np.zeros((1, 20, SIZE), np.float32), "r": np.zeros((1, 20, 5), np.float32)},
        ),
        (
            helper.make_node("GRU", ["x3", "w", "r"], ["h"], "cell", hidden_size=5, direction="bidirectional"),
            {"w": np.zeros((2, 15, SIZE), np.float32), "r": np.zeros((2, 15, 5), np.float32)},
        ),
    ],
)
def test_recurrent_layers_count_as_shape_inference_counts_them(node: NodeProto, weights: dict[str, Array]) -> None:
    first = helper.make_node("Squeeze", ["x", "axes"], ["x3"], "squeeze")
    model = model_of([first, node, helper.make_node("Identity", ["h"], ["y"], "out")], {**weights, "axes": np.array([0], np.int64)})
    assert sum(one.macs for one in run(model)) == sum(count_macs(model).values()) > 0
