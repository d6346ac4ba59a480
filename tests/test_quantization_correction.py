"""Rounding and bias correction: brute force on tiny weights, no output channel gets worse, averages agree, every switch switches."""

import itertools
from dataclasses import replace

import numpy as np
import onnx
import onnx.parser
import onnx.shape_inference
import pytest

from edgerec.compress.quantization.correction import Corrections, correct
from edgerec.compress.quantization.patches import Layer, layers_of, patches
from edgerec.compress.quantization.reconstruction import reconstruct
from edgerec.compress.quantization.rounding import round_layer
from edgerec.compress.quantization.scheme import Grid, IntegerWeight, Scheme, round_weight
from edgerec.compress.quantization.simulation import on_grid, simulate
from edgerec.graph.execution import open_model
from edgerec.runtime.errors import DataError

Array = np.ndarray

NET = """<ir_version: 8, opset_import: ["" : 17]> net (float[n,3,8,8] x) => (float[n,5] y) {
    a = Conv<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(x, w1, b1)
    b = Relu(a)
    c = Conv<kernel_shape=[3,3], group=4, pads=[1,1,1,1]>(b, w2, b2)
    d = Add(b, c)
    e = Relu(d)
    f = Flatten(e)
    y = Gemm<transB=1>(f, w3, b3)
}"""
WEIGHTS = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 1, 3, 3), "b2": (4,), "w3": (5, 64), "b3": (5,)}


def build(seed: int = 0) -> onnx.ModelProto:
    rng = np.random.default_rng(seed)
    model = onnx.parser.parse_model(NET)
    for name, shape in WEIGHTS.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{index}"
    return onnx.shape_inference.infer_shapes(model)


def images(count: int = 32) -> dict[str, Array]:
    noise = np.random.default_rng(7).normal(size=(count, 3, 8, 8))
    return {"x": np.cumsum(noise, axis=3).astype(np.float32) + 1}  # neighbours resemble each other, as in pictures


def scheme_for(model: onnx.ModelProto, bits: int) -> Scheme:
    """Coarse weights, so that rounding matters; activations on 8-bit grids."""
    values = open_model(model, taps=["b", "c", "e"]).run(images()) | images()
    grids = {name: Grid.covering(float(values[name].min()), float(values[name].max())) for name in ("x", "b", "c", "e")}
    grids["f"] = grids["e"]
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    weights = {name: round_weight(arrays[name], 0, bits=bits) for name in ("w1", "w2", "w3")}
    return Scheme(frozenset(node.name for node in model.graph.node), grids, weights)


def error(model: onnx.ModelProto, corrected: onnx.ModelProto, scheme: Scheme) -> float:
    exact = open_model(model).predict(images())
    return float(np.square(exact - open_model(simulate(corrected, scheme), optimise=False).predict(images())).sum())


def test_rounding_is_close_to_the_best_of_all_choices() -> None:
    nearest_losses, losses, best_losses = [], [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        inputs = rng.normal(size=(40, 4)) @ rng.normal(size=(4, 4))
        steps = rng.normal(size=(1, 4)) * 2  # the weight in units of its scale
        nearest = IntegerWeight(np.rint(steps).astype(np.int8), np.array([1.0], np.float32), 0)
        rounded = round_layer(Layer("gemm", "Gemm", "x", "y", "w"), steps, nearest, (inputs.T @ inputs)[np.newaxis])
        choices = np.floor(steps) + np.array(list(itertools.product([-1, 0, 1, 2], repeat=4)))
        everything = np.square((choices - steps) @ inputs.T).sum(1)
        nearest_losses.append(np.square((nearest.values - steps) @ inputs.T).sum())
        losses.append(np.square((rounded.values - steps) @ inputs.T).sum())
        best_losses.append(everything.min())
    assert (np.array(losses) <= np.array(nearest_losses) * (1 + 1e-9)).all()
    excess, nearest_excess = sum(losses) - sum(best_losses), sum(nearest_losses) - sum(best_losses)
    assert excess < 0.3 * nearest_excess


@pytest.mark.parametrize("seed", range(4))
def test_no_output_channel_gets_worse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = Layer("conv", "Conv", "x", "y", "w", groups=2, kernel=(3, 3), strides=(1, 1), dilations=(1, 1), pads=(1, 1, 1, 1))
    vectors = patches(layer, np.cumsum(rng.normal(size=(8, 6, 9, 9)), axis=2).astype(np.float32), 30)
    weight = rng.normal(size=(8, 3, 3, 3)).astype(np.float32)
    nearest = round_weight(weight, 0, bits=4)
    rounded = round_layer(layer, weight.astype(np.float64), nearest, vectors.transpose(0, 2, 1) @ vectors)

    def losses(integers: IntegerWeight) -> Array:
        rows = layer.rows(weight.astype(np.float64) - integers.dequantize())
        return np.square(rows @ vectors.transpose(0, 2, 1)).sum(2)

    assert (losses(rounded) <= losses(nearest) * (1 + 1e-6)).all()
    assert losses(rounded).sum() < 0.7 * losses(nearest).sum()
    assert (rounded.scale == nearest.scale).all()
    assert np.abs(rounded.values).max() <= 63  # 7-bit weights stay 7 bits


def test_patches_times_weights_are_the_convolution() -> None:
    model = build()
    for layer in layers_of(model):
        arrays = open_model(model, taps=[layer.input, layer.output]).run(images(2)) | images(2)
        weight = next(onnx.numpy_helper.to_array(one) for one in model.graph.initializer if one.name == layer.weight).astype(np.float64)
        bias = next(onnx.numpy_helper.to_array(one) for one in model.graph.initializer if one.name == layer.bias)
        product = patches(layer, arrays[layer.input], 10**6) @ layer.rows(weight).transpose(0, 2, 1)  # (groups, vectors, rows)
        output = np.moveaxis(arrays[layer.output], 1, -1).reshape(-1, len(bias))
        np.testing.assert_allclose(product.transpose(1, 0, 2).reshape(-1, len(bias)) + bias, output, atol=1e-3)


def test_a_simulation_rounds_activations_as_the_grids_do() -> None:
    model = build()
    scheme = replace(scheme_for(model, 8), weights={})
    arrays = open_model(simulate(model, scheme, ["b", on_grid("b")]), optimise=False).run(images())
    np.testing.assert_array_equal(arrays[on_grid("b")], scheme.activations["b"].dequantize(scheme.activations["b"].quantize(arrays["b"])))


@pytest.mark.parametrize("bits", [4, 8])
def test_corrected_biases_give_the_float_averages(bits: int) -> None:
    model = build()
    scheme, original = scheme_for(model, bits), model.SerializeToString()
    corrected = reconstruct(model, scheme, [images()], round_weights=False).model
    exact = open_model(model, taps=["a", "c", "d"]).run(images())
    found = open_model(simulate(corrected, scheme, ["a", "c", on_grid("b"), "y"]), optimise=False).run(images())
    found["d"] = found["c"] + found[on_grid("b")]  # before the branch goes onto its own grid
    for name in ("a", "d", "y"):
        axes = tuple(axis for axis in range(exact[name].ndim) if axis != 1)
        np.testing.assert_allclose(found[name].mean(axes), exact[name].mean(axes), atol=1e-3)
    assert model.SerializeToString() == original
    # With fine weights little is left to correct, and random weights are no trained network.
    assert error(model, corrected, scheme) < error(model, model, scheme) * (1.01 if bits == 8 else 1)


def test_rounding_lowers_the_error_of_the_network() -> None:
    model = build()
    scheme = scheme_for(model, 4)
    rounded = reconstruct(model, scheme, [images()], correct_bias=False).scheme
    assert error(model, model, rounded) < 0.7 * error(model, model, scheme)


def test_each_switch_switches_and_equal_inputs_give_equal_bytes() -> None:
    model = build()
    scheme = scheme_for(model, 4)
    nothing = correct(model, scheme, [images()], Corrections(correct_bias=False, round_weights=False))
    assert nothing.model is model
    assert nothing.scheme is scheme
    bias = correct(model, scheme, [images()], Corrections(round_weights=False))
    assert bias.scheme.weights["w1"] is scheme.weights["w1"]
    rounding = correct(model, scheme, [images()], Corrections(correct_bias=False))
    assert rounding.model.SerializeToString() == model.SerializeToString()
    first, second = (correct(model, scheme, [images()]) for _ in range(2))
    assert first.model.SerializeToString() == second.model.SerializeToString()
    assert all((first.scheme.weights[name].values == second.scheme.weights[name].values).all() for name in scheme.weights)
    assert error(model, first.model, first.scheme) < error(model, model, scheme)


def test_no_images_are_refused() -> None:
    model = build()
    with pytest.raises(DataError, match="images"):
        correct(model, scheme_for(model, 8), [])
