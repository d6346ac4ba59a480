"""Costs: which kernels and conversions the parts of a model pay for, with made-up times."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import onnx.shape_inference
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.parser import parse_model

from edgerec.benchmarks.kernel import Kernel
from edgerec.benchmarks.kernel_times import KernelTimes, this_device
from edgerec.compress.quantization.costs import Costs, find_costs
from edgerec.compress.quantization.mincut import Choice, Conversion, cheapest
from edgerec.compress.quantization.placement import find_units

# What each operator takes: (float, int8, as a float island between int8 neighbours).
PRICES = {
    "Conv": {"fp32": 40.0, "int8": 10.0},
    "HardSwish": {"fp32": 1.0, "island": 7.0},
    "Gemm": {"fp32": 2.0, "int8": 3.0},
    "GlobalAveragePool": {"fp32": 1.0, "int8": 1.0},
    "MaxPool": {"fp32": 1.0, "int8": 1.0},
    "Flatten": {"fp32": 1.0, "int8": 1.0},
    "QuantizeLinear": {"fp32": 5.0, "int8": 4.0},
    "DequantizeLinear": {"fp32": 6.0, "int8": 3.0},
}


def test_costs_by_hand() -> None:
    costs = _costs()
    everything = frozenset(one.name for one in costs.choices)

    assert everything == {"conv_1", "swish", "conv_2", "pool", "flat", "head"}
    assert costs.total_us(frozenset()) == 100 + (40 + 1 + 40 + 1 + 1 + 2)
    # the input is quantized; the head gives float at no cost
    assert costs.total_us(everything) == 100 + (10 + 7 + 10 + 1 + 1 + 3) + 4
    # int8 up to the second convolution, whose result goes back to float for the pool
    assert costs.total_us(frozenset({"conv_1", "swish", "conv_2"})) == 100 + (10 + 7 + 10 + 1 + 1 + 2) + 4 + 6
    assert Conversion("conv_1", ("swish",), 5, 6) in costs.conversions


def test_the_cut_takes_what_is_fastest() -> None:
    costs = _costs()

    assert cheapest(costs.choices, costs.conversions) == {one.name for one in costs.choices}  # 136 us
    assert "conv_2" not in cheapest(_kept_float(costs, "conv_2"), costs.conversions)


def test_what_shaping_saves_counts_for_int8() -> None:
    plain, shaped = _costs(), _costs(savings_us={"conv_1": 4.0})
    everything = frozenset(one.name for one in plain.choices)

    assert shaped.total_us(everything) == plain.total_us(everything) - 4
    assert shaped.total_us(frozenset()) == plain.total_us(frozenset())


def test_a_max_pool_is_as_its_neighbours_are() -> None:
    costs = _costs(pool=True)

    assert Conversion("swish", ("between",), math.inf, 6) in costs.conversions
    assert Conversion("between", ("conv_2",), math.inf, 6) in costs.conversions
    assert cheapest(_kept_float(costs, "conv_1", "swish"), costs.conversions) == frozenset()  # conv_2 in int8 would save 25 us


def test_without_times_both_are_equal() -> None:
    model = _model()
    costs = find_costs(model, find_units(model), lambda kernels: KernelTimes(this_device()))

    assert costs.total_us(frozenset()) == costs.total_us(frozenset(one.name for one in costs.choices)) == 0
    assert cheapest(costs.choices, costs.conversions) == frozenset()


def test_a_float_kernel_that_does_not_run_alone_says_nothing() -> None:
    model = _model()

    def times_of(kernels: Iterable[Kernel]) -> KernelTimes:
        return KernelTimes(this_device(), dict.fromkeys(kernels, math.inf))

    costs = find_costs(model, find_units(model), times_of)
    assert all(one.float_us == one.int8_us == 0 for one in costs.choices)
    assert math.isfinite(costs.others_us)


def test_an_lstm_is_a_choice_of_its_own_between_float_tensors() -> None:
    model = parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[5, 1, 6] x) => (float[5, 4] y)
        <float[1, 32, 6] w, float[1, 32, 8] r, float[8, 4] m> {
            [cell] h = LSTM <hidden_size = 8> (x, w, r)
            [flat] f = Reshape (h, shape)
            [head] y = MatMul (f, m)
        }
    """)
    for name, size in {"w": (1, 32, 6), "r": (1, 32, 8), "m": (8, 4)}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.ones(size, np.float32), name))
    model.graph.initializer.append(numpy_helper.from_array(np.array([5, 8]), "shape"))

    def times_of(kernels: Iterable[Kernel]) -> KernelTimes:
        return KernelTimes(this_device(), {one: 50.0 if one.first.op_type == "LSTM" else 2.0 for one in kernels}, run_us=100.0)

    for saving_us, expected in ((20.0, (50, 30)), (-20.0, (50, 70)), (80.0, (80, 0))):
        costs = find_costs(model, (), times_of, errors={"cell": 0.5}, lstm_savings_us={"cell": saving_us})
        cell = next(one for one in costs.choices if one.name == "cell")
        assert (cell.float_us, cell.int8_us, cell.error) == (*expected, 0.5)
        assert ("cell" in cheapest(costs.choices, costs.conversions)) == (saving_us > 0)
        assert costs.others_us == 100 + 2 + 2, "the LSTM is not counted twice"
        assert "cell" not in cheapest(costs.choices, costs.conversions, us_per_error=1000)


def _kept_float(costs: Costs, *names: str) -> list[Choice]:
    return [replace(one, int8_us=math.inf) if one.name in names else one for one in costs.choices]


def _costs(savings_us: Mapping[str, float] | None = None, *, pool: bool = False) -> Costs:
    def times_of(kernels: Iterable[Kernel]) -> KernelTimes:
        return KernelTimes(this_device(), {one: PRICES[one.first.op_type][one.precision] for one in kernels}, run_us=100.0)

    model = _model(pool=pool)
    return find_costs(model, find_units(model), times_of, savings_us=savings_us)


def _model(*, pool: bool = False) -> ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "conv_1"),
        helper.make_node("HardSwish", ["a"], ["b"], "swish"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "conv_2"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], "pool"),
        helper.make_node("Flatten", ["d"], ["e"], "flat"),
        helper.make_node("Gemm", ["e", "w3"], ["y"], "head"),
    ]
    if pool:
        nodes[2].input[0] = "between"
        nodes.insert(2, helper.make_node("MaxPool", ["b"], ["between"], "between", kernel_shape=[2, 2]))
    shapes = {"w1": (8, 3, 1, 1), "w2": (8, 8, 1, 1), "w3": (8, 5)}
    constants = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "test", inputs, outputs, constants)
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
