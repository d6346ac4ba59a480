"""The QDQ writer and the placement rules, checked against integer arithmetic by hand and ONNX Runtime's own optimised graphs."""

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
import pytest
from onnx import ModelProto, numpy_helper

from edgerec.compress.quantization.indexing import Graph
from edgerec.compress.quantization.placement import Rules, Unit, find_units, needed, shared_grids, tensors_of
from edgerec.compress.quantization.qdq import fit_to_bias, write_qdq
from edgerec.compress.quantization.scheme import Grid, IntegerWeight, Scheme, gate_grid, round_weight
from edgerec.runtime.errors import ConfigError
from edgerec.runtime.session import open_session

Array = npt.NDArray[np.float32]
RNG = np.random.default_rng(0)
HARD = "HardSigmoid <alpha = 0.16666667, beta = 0.5>"


def parse(body: str, shape: str = "1, 8, 6, 6", out: str = "", **constants: Array) -> ModelProto:
    """Build a model x -> y from the text form of its nodes, with inferred shapes and named nodes."""
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[{shape}] x) => (float[{out}] y) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{index}"
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    if not out:
        model.graph.output[0].type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(model)


def kernel(channels_out: int, channels_in: int, size: int = 3) -> Array:
    return RNG.normal(0, 0.2, (channels_out, channels_in, size, size)).astype(np.float32)


def images(*shape: int) -> Array:
    return RNG.normal(0, 1, shape).astype(np.float32)


def tap(model: ModelProto, names: list[str], feeds: dict[str, Array]) -> dict[str, Array]:
    tapped = ModelProto()
    tapped.CopyFrom(model)
    present = {one.name for one in (*model.graph.output, *model.graph.input)}
    tapped.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in present)
    return {**feeds, **open_session(tapped.SerializeToString(), threads=1).run(feeds)}


def scheme_for(model: ModelProto, units: tuple[Unit, ...], feeds: dict[str, Array]) -> Scheme:
    """Give every tensor the grid that covers what it is on these images."""
    graph, roots = Graph.of(model), shared_grids(units)
    values = tap(model, tensors_of(units), feeds)
    grids = {}
    for name in tensors_of(units):
        root = roots.get(name, name)
        is_gate = name in graph.producer and graph.producer[name].op_type == "HardSigmoid"
        grids[name] = gate_grid() if is_gate else Grid.covering(float(values[root].min()), float(values[root].max()))
    weights = {one.weight: round_weight(numpy_helper.to_array(graph.constants[one.weight]), one.axis) for one in units if one.weight}
    return Scheme(frozenset(name for one in units for name in one.nodes), grids, weights)


def quantized(model: ModelProto, feeds: dict[str, Array], rules: Rules | None = None) -> ModelProto:
    units = needed(find_units(model, rules))
    written = write_qdq(model, scheme_for(model, units, feeds))
    onnx.checker.check_model(written, full_check=True)
    return written


def run(model: ModelProto, x: Array) -> Array:
    return open_session(model.SerializeToString(), threads=1).run({"x": x})["y"]


def executed(model: ModelProto, folder: Path) -> Counter[str]:
    """Count the operators of the graph that ONNX Runtime really runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def test_a_convolution_computes_what_integer_arithmetic_says() -> None:
    weight, bias = kernel(4, 8, 1), RNG.normal(0, 1, 4).astype(np.float32)
    model = parse("c = Conv(x, w, b)  y = Relu(c)", w=weight, b=bias)
    x = images(1, 8, 6, 6)
    units = find_units(model)
    scheme = scheme_for(model, units, {"x": x})
    answer = run(write_qdq(model, scheme), x)

    in_grid, out_grid, rounded = scheme.activations["x"], scheme.activations["y"], scheme.weights["w"]
    integers = in_grid.quantize(x).astype(np.int64) - in_grid.zero_point
    accumulator = np.einsum("oi,nihw->nohw", rounded.values[:, :, 0, 0].astype(np.int64), integers)
    accumulator += np.rint(bias / (in_grid.scale * rounded.scale.astype(np.float64))).astype(np.int64)[None, :, None, None]
    real = accumulator * (in_grid.scale * rounded.scale.astype(np.float64))[None, :, None, None]
    by_hand = np.clip(np.rint(real / out_grid.scale) + out_grid.zero_point, 0, 255)
    steps = np.abs(answer / out_grid.scale + out_grid.zero_point - by_hand)
    assert units[0].nodes == ("Conv_0", "Relu_1")
    assert steps.max() <= 1.001  # the kernel multiplies in float32: a tie may fall to the other side
    assert (steps > 0.001).mean() < 0.01


@pytest.mark.parametrize("batch", ["1", "N"])
def test_a_product_with_a_bias_is_int8_with_a_fixed_batch_too(batch: str, tmp_path: Path) -> None:
    weights, bias = RNG.normal(0, 1, (8, 16)).astype(np.float32), RNG.normal(0, 1, 16).astype(np.float32)
    model = parse("m = MatMul(x, w)  y = Add(m, b)", shape=f"{batch}, 5, 8", w=weights, b=bias)
    x = images(1, 5, 8)
    written = quantized(model, {"x": x})
    assert executed(written, tmp_path)["MatMulIntegerToFloat"] == 1
    np.testing.assert_allclose(run(written, x), x @ weights + bias, atol=0.2)


FUSED = {
    "conv relu": ("c = Conv <pads=[1,1,1,1]> (x, w)  r = Relu(c)  q = Conv(r, w)  y = Identity(q)", {"QLinearConv": 2}),
    "conv clip": ("c = Conv(x, w)  r = Clip(c, zero, six)  q = Conv(r, w)  y = Identity(q)", {"QLinearConv": 2}),
    "depthwise": ("c = Conv <group=8> (x, d)  q = Conv(c, w)  y = Identity(q)", {"QLinearConv": 2}),
    "grouped": ("c = Conv <group=2> (x, g)  q = Conv(c, w)  y = Identity(q)", {"QLinearConv": 2}),
    "residual": ("c = Conv <pads=[1,1,1,1]> (x, w)  a = Add(c, x)  y = Relu(a)", {"QLinearConv": 1, "QLinearAdd": 1}),
    "gate": ("c = Conv(x, w)  s = Sigmoid(c)  m = Mul(c, s)  y = Conv(m, w)", {"QLinearConv": 2, "QLinearSigmoid": 1, "QLinearMul": 1}),
    "leaky": ("c = Conv(x, w)  l = LeakyRelu <alpha=0.1> (c)  y = Conv(l, w)", {"QLinearConv": 2, "QLinearLeakyRelu": 1}),
    "average": ("c = Conv(x, w)  p = AveragePool <kernel_shape=[2,2]> (c)  y = Conv(p, v)", {"QLinearConv": 2, "QLinearAveragePool": 1}),
    "max pool": ("c = Conv(x, w)  p = MaxPool <kernel_shape=[2,2]> (c)  y = Conv(p, v)", {"QLinearConv": 2, "NhwcMaxPool": 1}),
    "global": (
        "c = Conv(x, w)  p = GlobalAveragePool(c)  f = Flatten(p)  y = Gemm <transB=1> (f, fc)",
        {"QLinearConv": 1, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    ),
    "concat": ("a = Conv(x, w)  b = Conv(x, u)  k = Concat <axis=1> (a, b)  y = Conv(k, wide)", {"QLinearConv": 3, "QLinearConcat": 1}),
    "slice": ("c = Conv(x, w)  s = Slice(c, i0, i4, i2)  y = Conv(s, half)", {"QLinearConv": 2, "Slice": 1}),
    "pad": ("c = Conv(x, w)  s = Pad(c, pads)  y = Conv(s, w)", {"QLinearConv": 2, "Pad": 1}),
    "transpose": ("c = Conv(x, w)  t = Transpose <perm=[0,1,3,2]> (c)  y = Conv(t, w)", {"QLinearConv": 2}),
    "resize": ("c = Conv(x, w)  t = Resize <mode=\"nearest\"> (c, , up)  y = Conv(t, w)", {"QLinearConv": 2, "Resize": 1}),
    "hard swish": (f"c = Conv(x, w)  h = {HARD} (c)  m = Mul(c, h)  y = Conv(m, w)", {"QLinearConv": 2, "QLinearAdd": 1, "QLinearMul": 1}),
    "squeeze": (
        f"c = Conv(x, w)  p = GlobalAveragePool(c)  e = Conv(p, v)  h = {HARD} (e)  m = Mul(c, h)  y = Conv(m, w)",
        {"QLinearConv": 3, "QLinearGlobalAveragePool": 1, "QLinearMul": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FUSED)
def test_onnx_runtime_runs_it_on_integers(name: str, tmp_path: Path) -> None:
    body, kernels = FUSED[name]
    constants = {
        "w": kernel(8, 8), "u": kernel(8, 8), "v": kernel(8, 8, 1), "d": kernel(8, 1), "g": kernel(8, 4), "wide": kernel(8, 16), "half": kernel(8, 4, 1),
        "fc": RNG.normal(0, 1, (5, 8)).astype(np.float32), "zero": np.float32(0), "six": np.float32(6),
        "i0": np.array([0], np.int64), "i4": np.array([4], np.int64), "i2": np.array([1], np.int64),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "up": np.array([1, 1, 2, 2], np.float32),
    }  # fmt: skip
    model = parse(body, shape="1, 8, 12, 12", **{key: value for key, value in constants.items() if key in body})
    x = images(1, 8, 12, 12)
    written = quantized(model, {"x": x})
    kinds = executed(written, tmp_path)
    assert {kind: kinds[kind] for kind in kernels} == kernels
    assert kinds["QuantizeLinear"] == 1, kinds  # at the input, and nowhere else
    assert kinds["DequantizeLinear"] <= 1, kinds  # at the output, where the kernel does not do it
    assert not kinds.keys() & {"HardSigmoid", "Sigmoid", "Relu", "Clip", "Conv", "Add", "Mul"}, kinds
    reference, answer = run(model, x), run(written, x)
    assert np.square(reference - answer).sum() < 0.01 * np.square(reference).sum()  # 20 dB: right up to rounding


def test_the_gate_is_hard_sigmoid_within_one_step() -> None:
    """The convolution passes x on; the gate's grid clips it."""
    model = parse(f"c = Conv(x, w)  h = {HARD} (c)  y = Conv(h, w)", shape="1, 1, 1, 601", w=np.ones((1, 1, 1, 1), np.float32))
    x = np.linspace(-6, 6, 601, dtype=np.float32).reshape(1, 1, 1, 601)
    written = quantized(model, {"x": x})
    gate = tap(written, ["h"], {"x": x})["h"]
    # Half a step of the input's grid (12/255, a sixth of it behind the slope) and half a step of the gate's.
    assert np.abs(gate - np.clip(x / 6 + 0.5, 0, 1)).max() <= 12 / 255 / 6 / 2 + 0.5 / 255 + 1e-5
    assert gate.min() == 0
    assert gate.max() == pytest.approx(1)


def test_tensors_keep_their_names_and_float_readers_their_values() -> None:
    model = parse("a = Tanh(x)  c = Conv(a, w)  t = Tanh(a)  d = Tanh(c)  y = Concat <axis=1> (t, d)", w=kernel(8, 8, 1))
    x = images(1, 8, 6, 6)
    written = quantized(model, {"x": x})
    kept = tap(written, ["t", "c"], {"x": x})
    assert np.array_equal(kept["t"], tap(model, ["t"], {"x": x})["t"])  # beside the convolution, tanh reads the float tensor
    step = scheme_for(model, find_units(model), {"x": x}).activations["c"].scale
    assert np.abs(kept["c"] - tap(model, ["c"], {"x": x})["c"]).max() < 3 * step


def test_branches_of_very_different_range_do_not_share_a_scale_at_the_output() -> None:
    """Boxes in pixels beside scores in 0 to 1, as detectors put them together."""
    boxes, scores = kernel(4, 8, 1) * 100, kernel(4, 8, 1)
    model = parse("b = Conv(x, bw)  c = Conv(x, sw)  s = Sigmoid(c)  y = Concat <axis=1> (b, s)", bw=boxes, sw=scores)
    x = images(1, 8, 6, 6)
    reference, answer = run(model, x)[:, 4:], run(quantized(model, {"x": x}), x)[:, 4:]
    assert np.square(reference - answer).sum() < 1e-3 * np.square(reference).sum()


def test_shared_weights_are_stored_once_and_as_integers() -> None:
    model = parse("c = Conv(x, w)  y = Conv(c, w)", w=kernel(8, 8))
    written = quantized(model, {"x": images(1, 8, 6, 6)})
    stored = [one for one in written.graph.initializer if len(one.dims) == 4]
    assert [(one.name, one.data_type) for one in stored] == [("w_quantized", onnx.TensorProto.INT8)]


def test_a_bias_that_would_overflow_gets_a_larger_scale_in_its_channel_only() -> None:
    weight = np.full((2, 1, 1, 1), 1e-6, np.float32)
    weight[1] = 1
    bias = np.array([50, 1], np.float32)
    rounded = round_weight(weight)
    assert abs(bias[0] / (0.01 * rounded.scale[0])) > 2**31  # the case that wraps around
    fitted = fit_to_bias(rounded, bias, 0.01)
    assert abs(bias[0] / (0.01 * float(fitted.scale[0]))) <= 2**30
    assert fitted.scale[1] == rounded.scale[1]
    assert fitted.values[1] == rounded.values[1]
    model = parse("y = Conv(x, w, b)", shape="1, 1, 2, 2", w=weight, b=bias)
    x = np.array([[[[0, 0.5], [1, 2]]]], np.float32)
    assert run(quantized(model, {"x": x}), x) == pytest.approx(run(model, x), abs=0.3)


def test_a_model_without_room_for_int8_is_left_as_it_is() -> None:
    model = parse("a = Tanh(x)  y = Exp(a)")
    assert needed(find_units(model)) == ()
    assert write_qdq(model, Scheme(frozenset(), {})) == model


def test_values_that_only_move_between_float_nodes_stay_float() -> None:
    model = parse("a = Tanh(x)  m = MaxPool <kernel_shape=[2,2]> (a)  t = Tanh(m)  y = Conv(t, w)", w=kernel(8, 8, 1))
    assert [one.op_type for one in find_units(model)] == ["MaxPool", "Conv"]
    assert [one.op_type for one in needed(find_units(model))] == ["Conv"]


def test_a_transformer_computes_only_products_on_integers() -> None:
    constants = {"w": RNG.normal(0, 1, (8, 8)).astype(np.float32), "one": np.ones(8, np.float32)}
    model = parse("n = LayerNormalization(x, one)  m = MatMul(n, w)  y = Add(m, x)", shape="1, 5, 8", **constants)
    assert [(one.op_type, one.axis) for one in find_units(model)] == [("MatMul", 1)]


def test_the_users_word_counts() -> None:
    model = parse("c = Conv(x, w)  r = Relu(c)  d = Conv(r, w)  y = Add(d, d)", w=kernel(8, 8))
    assert [one.name for one in find_units(model, Rules(keep_float=("Conv_0",)))] == ["Conv_2", "Add_3"]
    assert find_units(model, Rules(keep_float=("Relu*",)))[0].nodes == ("Conv_0",)
    assert [one.name for one in find_units(model, Rules(op_types=("Conv",)))] == ["Conv_0", "Conv_2"]
    with pytest.raises(ConfigError, match="no node has this name"):
        find_units(model, Rules(keep_float=("Cnov*",)))
    with pytest.raises(ConfigError, match="no int8 form"):
        Rules(op_types=("LayerNormalization",))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (-0.3, 2.7), (1, 2), (-2, -1), (0, 0)])
def test_a_grid_covers_its_range_and_holds_zero(low: float, high: float) -> None:
    for signed in (False, True):
        grid = Grid.covering(low, high, signed=signed)
        assert grid.low <= min(low, 0) + grid.scale / 2 + 1e-6
        assert grid.high >= max(high, 0) - grid.scale / 2 - 1e-6
        values = np.linspace(min(low, 0), max(high, 0), 50, dtype=np.float32)
        assert np.abs(grid.dequantize(grid.quantize(values)) - values).max() <= grid.scale * 0.501 + 1e-6
        assert grid.dequantize(grid.quantize(np.zeros(1, np.float32)))[0] == 0
    symmetric = Grid.covering(low, high, signed=True, symmetric=True)
    assert symmetric.zero_point == 0


@pytest.mark.parametrize(("scale", "zero_point"), [(0, 0), (-1, 0), (float("nan"), 0), (1, 256), (1, -1)])
def test_a_grid_refuses_what_no_type_holds(scale: float, zero_point: int) -> None:
    with pytest.raises(ConfigError):
        Grid(scale, zero_point)


def test_rounding_moves_a_weight_by_at_most_half_a_step() -> None:
    weight = kernel(4, 3)
    for axis in (0, 1, None):
        rounded = round_weight(weight, axis)
        step = rounded.scale.max() if axis is None else rounded.scale.reshape([-1 if one == axis else 1 for one in range(4)])
        assert (np.abs(rounded.dequantize() - weight) <= step / 2 * 1.001).all()
    assert np.abs(round_weight(weight, bits=7).values).max() == 63
    assert (round_weight(np.zeros((2, 2), np.float32)).values == 0).all()


def test_equal_input_gives_equal_bytes() -> None:
    model = parse("c = Conv(x, w)  y = Conv(c, w)", w=kernel(8, 8))
    x = images(1, 8, 6, 6)
    first, second = (quantized(model, {"x": x}).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
    assert isinstance(round_weight(kernel(8, 8)), IntegerWeight)
