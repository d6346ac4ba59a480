"""Equalising through gates: the same function in float, less noise where channels differ, nothing where they do not."""

from dataclasses import replace

import numpy as np
import onnx.numpy_helper
import onnx.parser
import onnx.shape_inference
import pytest
from onnx import ModelProto

from edgerec.compress.quantization import Corrections, Quantization, quantize
from edgerec.compress.quantization.calibration import observe
from edgerec.compress.quantization.gates import equalise_through_gates, gated, open_gates
from edgerec.compress.quantization.grids import RangeRule, choose_ranges
from edgerec.compress.quantization.indexing import Graph
from edgerec.compress.quantization.placement import find_units
from edgerec.compress.quantization.statistics import Statistics
from edgerec.graph.execution import open_model

Array = np.ndarray
KINDS = {"silu": "Sigmoid", "hard swish": "HardSigmoid <alpha = 0.16666667, beta = 0.5>"}
ORDERS = ("a, g", "g, a")
NONE = Corrections(equalise=False, correct_bias=False, round_weights=False)
CONFIG = Quantization(method="minmax", target="openvino", corrections=NONE, speed="int8")
OPENED = replace(CONFIG, corrections=replace(NONE, open_gates=True))


def net(gate: str = KINDS["silu"], order: str = "a, g", *, spread: float = 100.0) -> ModelProto:
    """Two convolutions around a gate; the channels of the first reach 1 / spread to 1 of the widest, and all count as much behind it."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 3, 8, 8] x) => (float[N, 4] y) {{
            a = Conv <kernel_shape = [1, 1]> (x, w0, b0)
            g = {gate.partition(" ")[0]} {gate.partition(" ")[2]} (a)
            b = Mul ({order})
            c = Conv <kernel_shape = [3, 3]> (b, w1)
            p = GlobalAveragePool (c)
            y = Flatten (p)
        }}""")
    sizes = np.geomspace(1 / spread, 1, 12).astype(np.float32)
    draw = np.random.default_rng(0)
    first = draw.choice([-2.5, 2.5], (12, 3, 1, 1)).astype(np.float32) * sizes.reshape(-1, 1, 1, 1)
    second = draw.normal(size=(4, 12, 3, 3)).astype(np.float32) / sizes.reshape(1, -1, 1, 1)
    for name, array in {"w0": first, "b0": 0.5 * sizes, "w1": second}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{index}"
    return onnx.shape_inference.infer_shapes(model)


def images(count: int = 64, seed: int = 1) -> dict[str, Array]:
    return {"x": np.random.default_rng(seed).uniform(-1, 1, size=(count, 3, 8, 8)).astype(np.float32)}


def seen(model: ModelProto) -> Statistics:
    return observe(model, [name for name in "ab" if name in Graph.of(model).producer], [images()], 64)


def values_of(model: ModelProto, *names: str) -> list[Array]:
    found = open_model(model, taps=names, optimise=False).run(images(16, 2))
    return [found[name] for name in names]


def sqnr_db(model: ModelProto, quantized: ModelProto) -> float:
    (exact,), (found,) = values_of(model, "y"), values_of(quantized, "y")
    return float(10 * np.log10(np.square(exact).sum() / np.square(exact - found).sum()))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_function_stays_and_the_channels_come_nearer(kind: str, order: str) -> None:
    model = net(KINDS[kind], order)
    changed = equalise_through_gates(model, seen, strength=1)
    (a, b, y), (a2, b2, y2) = values_of(model, "a", "b", "y"), values_of(changed.model, "a", "b", "y")
    factors = changed.factors["a"].reshape(-1, 1, 1)
    assert factors.min() < 0.05
    np.testing.assert_allclose(a2 * factors, a, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(b2 * factors, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(y2, y, rtol=1e-4, atol=1e-4 * np.abs(y).max())


@pytest.mark.parametrize("kind", KINDS)
def test_channels_of_very_different_ranges_gain(kind: str) -> None:
    model = net(KINDS[kind])
    plain, opened = (quantize(model, [images()], config).model for config in (CONFIG, OPENED))
    assert sum(node.op_type == "Conv" for node in opened.graph.node) == 3
    assert sqnr_db(model, opened) > sqnr_db(model, plain) + 6


@pytest.mark.parametrize("kind", KINDS)
def test_equal_channels_keep_their_file(kind: str) -> None:
    model = net(KINDS[kind], spread=1.0)
    plain, opened = (quantize(model, [images()], config).model for config in (CONFIG, OPENED))
    assert plain.SerializeToString() == opened.SerializeToString()


def test_without_gates_nothing_changes() -> None:
    model = net("Relu")
    changed = equalise_through_gates(model, seen)
    assert not changed.factors
    assert changed.model.SerializeToString() == model.SerializeToString()


def test_only_a_gate_on_its_own_input_is_opened() -> None:
    model = net()
    del model.graph.node[2].input[:]
    model.graph.node[2].input.extend(["a", "a"])
    assert not gated(Graph.of(model))


@pytest.mark.parametrize(("kind", "low"), [("silu", -4.0), ("hard swish", -3.0)])
def test_what_the_gate_makes_zero_is_cut_for_each_channel(kind: str, low: float) -> None:
    model = open_gates(net(KINDS[kind]), ["a"])
    weight = next(one for one in model.graph.initializer if one.name == "a_restored_weight")
    units = find_units(model)
    found = observe(model, [name for one in units for name in (*one.inputs, one.output)], [images()], 64).tensors
    assert found["a"].channel_low.min() < 1.5 * low
    for narrow, expected in ((1.0, low), (0.8, low / 0.8)):
        weight.CopyFrom(onnx.numpy_helper.from_array(np.full((12, 1, 1, 1), narrow, np.float32), weight.name))
        assert choose_ranges(model, units, found, RangeRule("minmax"))["a"][0] == pytest.approx(expected, rel=1e-6)


def test_a_name_that_is_taken_is_not_used_again() -> None:
    model = net()
    model.graph.node[3].name = "a_restored"
    opened = open_gates(model, ["a"])
    assert gated(Graph.of(opened))["a"].name == "a_restored_"
    np.testing.assert_array_equal(values_of(opened, "y")[0], values_of(model, "y")[0])
