"""Equalisation: the rescaled model computes the same, on nets with every kind of link; ranges become equal; what cannot be rescaled is not."""

import numpy as np
import onnx
import onnx.parser
import onnx.shape_inference
import pytest

from edgerec.compress.quantization.coupling import couple
from edgerec.compress.quantization.equalisation import equalise, rescale
from edgerec.compress.quantization.statistics import Accumulator, Key, Statistics
from edgerec.compress.quantization.taps import extract
from edgerec.graph.execution import open_model
from edgerec.runtime.errors import ConfigError

Array = np.ndarray

RESIDUAL = """
    a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w1, b1)
    b = Relu(a)
    c = Conv<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(b, w2, b2)
    sliced = Slice(b, starts, ends, axes, steps)
    padded = Pad(sliced, pads)
    d = Add(c, padded)
    e = Relu(d)
    pooled = GlobalAveragePool(e)
    flat = Flatten(pooled)
    y = Gemm<transB=1>(flat, w3, b3)
"""
DEPTHWISE = """
    a = Conv<kernel_shape=[1,1]>(x, w1, b1)
    b = LeakyRelu(a)
    c = Conv<kernel_shape=[3,3], group=4, pads=[1,1,1,1]>(b, w2, b2)
    d = Relu(c)
    e = MaxPool<kernel_shape=[2,2], strides=[2,2]>(d)
    f = Flatten(e)
    y = MatMul(f, w3)
"""
CONCAT = """
    a = Conv<kernel_shape=[1,1]>(x, w1, b1)
    b = Relu(a)
    c = Conv<kernel_shape=[1,1]>(x, w2, b2)
    s = Sigmoid(c)
    g = Mul(b, s)
    h = Concat<axis=1>(b, c, g)
    i = Conv<kernel_shape=[3,3], group=2>(h, w3, b3)
    p = GlobalAveragePool(i)
    y = Flatten(p)
"""
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    RESIDUAL: {"w1": (4, 2, 3, 3), "b1": (4,), "w2": (8, 4, 3, 3), "b2": (8,), "w3": (3, 8), "b3": (3,)},
    DEPTHWISE: {"w1": (4, 2, 1, 1), "b1": (4,), "w2": (4, 1, 3, 3), "b2": (4,), "w3": (36, 3)},
    CONCAT: {"w1": (4, 2, 1, 1), "b1": (4,), "w2": (4, 2, 1, 1), "b2": (4,), "w3": (6, 6, 3, 3), "b3": (6,)},
}
INTEGERS = {
    "starts": [0, 0],
    "ends": [6, 6],
    "axes": [2, 3],
    "steps": [2, 2],
    "pads": [0, 2, 0, 0, 0, 2, 0, 0],
}


def build(body: str, seed: int = 0) -> onnx.ModelProto:
    """Give a network's text random weights, some channels much larger than others."""
    rng = np.random.default_rng(seed)
    text = f'<ir_version: 8, opset_import: ["" : 17]> net (float[n,2,6,6] x) => (float[n,m] y) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    for name, shape in SHAPES[body].items():
        size = np.exp(rng.uniform(-2, 2, shape[0])).reshape(-1, *[1] * (len(shape) - 1))
        model.graph.initializer.append(onnx.numpy_helper.from_array((rng.normal(size=shape) * size).astype(np.float32), name))
    for name, values in INTEGERS.items():
        if name in body:
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, np.int64), name))
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{index}"
    return onnx.shape_inference.infer_shapes(model)


def images(count: int = 8, seed: int = 1) -> dict[str, Array]:
    return {"x": np.random.default_rng(seed).normal(size=(count, 2, 6, 6)).astype(np.float32)}


def values_of(model: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    names = [name for node in model.graph.node for name in node.output]
    return open_model(model, taps=names, optimise=False).run(feeds)


def statistics_of(model: onnx.ModelProto, feeds: dict[str, Array], only: str = "abcdefghi") -> Statistics:
    tensors = {}
    for name, array in values_of(model, feeds).items():
        if name not in only:
            continue
        total = Accumulator(1)
        assert total.add_runs(*zip(extract(array, 1), strict=True))
        tensors[name] = total.result()
    return Statistics(tensors, len(feeds["x"]), Key("0" * 64))


@pytest.mark.parametrize("body", SHAPES, ids=["residual", "depthwise", "concat"])
@pytest.mark.parametrize("seed", range(3))
def test_any_positive_factors_leave_the_outputs_as_they_are(body: str, seed: int) -> None:
    model, feeds = build(body, seed), images()
    coupling = couple(model)
    factors = np.exp(np.random.default_rng(seed).uniform(-2, 2, coupling.count))
    factors[0] = 1
    before, after = values_of(model, feeds), values_of(rescale(model, coupling, factors), feeds)
    assert coupling.count > 4
    for name, sets in coupling.tensors.items():
        expected = before[name] / factors[sets].reshape(-1, *[1] * (before[name].ndim - 2))
        np.testing.assert_allclose(after[name], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_the_input_and_the_outputs_keep_their_scale() -> None:
    coupling = couple(build(RESIDUAL))
    assert not coupling.tensors["y"].any()
    assert "x" not in coupling.tensors


def test_a_whole_residual_stream_has_one_factor_for_each_channel() -> None:
    tensors = couple(build(RESIDUAL)).tensors
    assert (tensors["c"] == tensors["e"]).all()
    assert (tensors["c"][2:6] == tensors["b"]).all()  # the shortcut puts two channels of zeros in front
    assert len(set(tensors["c"])) == 8


def test_what_a_sigmoid_reads_is_not_rescaled() -> None:
    tensors = couple(build(CONCAT)).tensors
    assert not tensors["c"].any()
    assert (tensors["g"] == tensors["b"]).all()
    assert (tensors["h"] == [*tensors["b"], 0, 0, 0, 0, *tensors["b"]]).all()


def test_equalised_channels_have_the_range_of_the_widest() -> None:
    model, feeds = build(DEPTHWISE), images(64)
    equalised = equalise(model, statistics_of(model, feeds, "bd"), strength=1)
    before, after = values_of(model, feeds), values_of(equalised.model, feeds)
    for name in ("b", "d"):
        reach = np.abs(after[name]).max(axis=(0, 2, 3))
        wide = np.abs(before[name]).max(axis=(0, 2, 3)) > 0.02 * np.abs(before[name]).max()  # a factor is never smaller
        np.testing.assert_allclose(reach[wide], np.abs(before[name]).max(), rtol=1e-4)
    np.testing.assert_allclose(after["y"], before["y"], rtol=1e-4, atol=1e-4 * np.abs(before["y"]).max())


def test_no_range_in_a_residual_stream_grows() -> None:
    model, feeds = build(RESIDUAL), images(64)
    equalised = equalise(model, statistics_of(model, feeds, "bce"), strength=1)
    before, after = values_of(model, feeds), values_of(equalised.model, feeds)
    for name in ("b", "c", "e"):
        assert np.abs(after[name]).max() <= np.abs(before[name]).max() * 1.001


def test_strength_zero_changes_nothing_and_the_input_model_is_never_edited() -> None:
    model, feeds = build(RESIDUAL), images()
    original = model.SerializeToString()
    statistics = statistics_of(model, feeds)
    assert equalise(model, statistics, strength=0).model.SerializeToString() == original
    assert equalise(model, statistics).model.SerializeToString() != original
    assert model.SerializeToString() == original


def test_a_clip_is_not_moved_into_the_values() -> None:
    text = DEPTHWISE.replace(
        "b = LeakyRelu(a)", "zero = Constant<value_float=0.0>() six = Constant<value_float=6.0>() b = Clip(a, zero, six)"
    )
    SHAPES[text] = SHAPES[DEPTHWISE]
    model, feeds = build(text), {"x": images(64)["x"] * 10}
    constants = {node.output[0]: node for node in model.graph.node if node.op_type == "Constant"}
    for name, node in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(node.attribute[0].f, np.float32), name))
        model.graph.node.remove(node)
    equalised = equalise(model, statistics_of(model, feeds, "bd"))
    before, after = values_of(model, feeds), values_of(equalised.model, feeds)
    assert (before["b"].max(axis=(0, 2, 3)) == 6).any()
    assert "b" in equalised.factors
    np.testing.assert_allclose(after["y"], before["y"], rtol=1e-4, atol=1e-4 * np.abs(before["y"]).max())
    del SHAPES[text]


@pytest.mark.parametrize("strength", [-0.1, 1.5])
def test_strength_outside_its_range_is_refused(strength: float) -> None:
    model = build(DEPTHWISE)
    with pytest.raises(ConfigError, match="strength"):
        equalise(model, statistics_of(model, images()), strength=strength)
