"""Models that nobody exports on purpose: whatever the graph looks like, its int8 form computes what it computes, or is refused."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from edgerec.compress.quantization import Quantization, Rules, quantize
from edgerec.compress.quantization.coupling import couple
from edgerec.compress.quantization.equalisation import rescale
from edgerec.compress.quantization.search import noise_ratio
from edgerec.graph.cleanup import normalise
from edgerec.graph.execution import open_model
from edgerec.runtime.errors import ModelError

Feeds = Mapping[str, npt.NDArray[np.generic]]

IMAGE = "float[N, 3, 8, 8] x"
RESULT = "float[A, B, C, D] o"
# Shapes; a weight that a body does not read harms nobody.
WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "w": (8, 3, 3, 3),
    "b": (8,),
    "v": (8, 8, 1, 1),
    "deep": (8, 10, 1, 1),
    "square": (8, 8),
    "wide": (8, 4),
    "l_w": (1, 32, 3),
    "l_r": (1, 32, 8),
}
CONSTANTS = "float zero = {0.0}, float[1] none = {0.0}, float[1] half = {0.5}, int64[8] pads = {2, 1, 1, 0, 0, 1, 1, 0}, int64[4] axes = {3, 2, 1, 0}"


def model(body: str, inputs: str = IMAGE, outputs: str = RESULT, opset: int = 18, names: Mapping[str, str] | None = None) -> ModelProto:
    """Return the model of a body in ONNX's text form, with random weights; `names` gives its tensors names that the text form cannot spell."""
    parsed = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => ({outputs}) <{CONSTANTS}> {{ {body} }}'
    )
    draw = np.random.default_rng(0)
    weights = {name: draw.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) for name, shape in WEIGHTS.items()}
    parsed.graph.initializer.extend(numpy_helper.from_array(one.astype(np.float32), name) for name, one in weights.items())
    for node in parsed.graph.node:
        for field in (node.input, node.output):
            field[:] = [(names or {}).get(one, one) for one in field]
    for one in parsed.graph.initializer:
        one.name = (names or {}).get(one.name, one.name)
    return parsed


def calibration(float_model: ModelProto, seed: int = 1) -> list[Feeds]:
    draw = np.random.default_rng(seed)
    shapes = {one.name: [dim.dim_value or 8 for dim in one.type.tensor_type.shape.dim] for one in float_model.graph.input}
    return [{name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(4)]


def noise_of(float_model: ModelProto, config: Quantization | None = None) -> float:
    """Return the noise / signal of the int8 model's outputs on new inputs; kernels are not timed for another provider's target."""
    found = quantize(float_model, calibration(float_model), config or Quantization(target="openvino")).model
    onnx.checker.check_model(found, full_check=True)
    unseen = calibration(float_model, seed=2)[:1]
    return noise_ratio(*([open_model(one).run(feeds) for feeds in unseen] for one in (float_model, found)))


HARD = "y = Conv <pads = [1, 1, 1, 1]> (x, w, b) h = HardSigmoid <alpha = {}, beta = {}> (y) o = Conv (h, v)"
BRANCH = (
    "y = Conv <pads = [1, 1, 1, 1]> (x, w, b) r = Relu (y) m = ReduceMean <keepdims = 0> (r) c = Greater (m, zero) "
    "k = If (c) <then_branch = yes () => (float[P, Q, R, S] t) { t = Relu (y) }, else_branch = no () => (float[P, Q, R, S] e) { e = Conv (r, v) }> "
)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            "y = Conv <pads = [1, 1, 1, 1]> (x, w) z = Clip (y, , half) o = Conv (z, v)", id="an input is left out and a bias as well"
        ),
        pytest.param("y = Conv <pads = [1, 1, 1, 1]> (x, w, b) z = Clip (y, none, half) o = Conv (z, v)", id="bounds of shape (1,)"),
        pytest.param("y = Conv <pads = [1, 1, 1, 1]> (x, w) p = Pad (y, pads, , axes) o = Conv (p, deep)", id="pads of some axes"),
        pytest.param(HARD.format(0.2, -0.1), id="a hard sigmoid moved to the right"),
        pytest.param(HARD.format(-0.2, 0.5), id="a hard sigmoid that falls"),
        pytest.param(
            "y = Conv <pads = [1, 1, 1, 1]> (x, w) r = Relu (y) h = HardSigmoid <beta = -0.1> (r) o = Conv (h, v)", id="a shift below 0"
        ),
        pytest.param(BRANCH + "o = Conv (k, v)", id="branches read what a kernel would swallow"),
        pytest.param("y = Conv <pads = [1, 1, 1, 1]> (x, w) s = Mul (y, y) t = Add (s, s) o = Conv (t, v)", id="a tensor meets itself"),
    ],
)
def test_int8_computes_what_the_graph_computes(body: str) -> None:
    assert noise_of(model(body)) < 10**-2.3


@pytest.mark.parametrize(
    "names", [{"r": "y_raw", "v": "y_raw_scale", "s": "x_dequantized", "t": "y_quantized"}, {"r": "x/integers", "v": "x/scale"}]
)
def test_a_model_may_have_the_names_that_quantization_gives(names: Mapping[str, str]) -> None:
    body = "y = Conv <pads = [1, 1, 1, 1]> (x, w) r = Relu (y) s = Conv (r, v) t = Relu (s) o = Conv (t, v)"
    assert noise_of(model(body, names=names)) < 10**-2.5


@pytest.mark.parametrize("target", ["arm-dot", "tensorrt"])
def test_a_hard_sigmoid_lies_on_the_targets_kind_of_grid(target: str) -> None:
    assert noise_of(model(HARD.format(0.2, 0.5)), Quantization(target=target)) < 10**-3


def test_a_weight_that_is_an_output_stays_what_it_is() -> None:
    float_model = model("y = MatMul (x, square) r = Relu (y) o = MatMul (r, wide)", "float[N, 8] x", "float[N, 4] o, float[8, 4] wide")
    assert noise_of(float_model) < 10**-3
    kept = quantize(float_model, calibration(float_model), Quantization(target="openvino")).model
    feeds = calibration(float_model)[0]
    np.testing.assert_array_equal(open_model(kept).run(feeds)["wide"], open_model(float_model).run(feeds)["wide"])


def test_layers_that_read_one_weight_in_two_ways_share_one_scale() -> None:
    body = "y = MatMul (x, square) g = Gemm <transB = 1> (y, square, b) r = Relu (g) o = MatMul (r, square)"
    assert noise_of(model(body, "float[N, 8] x", "float[N, 8] o")) < 10**-3


@pytest.mark.parametrize("shape", ["8", "6, 8"])
def test_fewer_images_than_a_fixed_batch_has_runs_are_enough(shape: str) -> None:
    body = "y = MatMul (x, square) r = Relu (y) o = MatMul (r, wide)"
    out = ", ".join((*shape.split(", ")[:-1], "4"))
    assert noise_of(model(body, f"float[{shape}] x", f"float[{out}] o")) < 10**-2


def test_an_answer_in_integers_counts_as_right_or_wrong() -> None:
    ids, others = np.array([1, 2, 3, 4]), np.array([1, 2, 3, 0])
    assert noise_ratio([{"o": ids}], [{"o": others}]) == 0.25
    assert noise_ratio([{"o": ids}], [{"o": others[:3]}]) == 1, "a detector that finds another number of boxes"
    body = "y = MatMul (x, square) r = Relu (y) q = MatMul (r, wide) o = ArgMax <axis = 1, keepdims = 0> (q)"
    assert noise_of(model(body, "float[N, 8] x", "int64[N] o")) < 0.2


def test_the_users_word_and_the_type_decide_about_lstms() -> None:
    body = "o = LSTM <hidden_size = 8> (x, l_w, l_r)"
    single = model(body, "float[5, N, 3] x", "float[5, 1, N, 8] o")
    single.graph.node[0].name = "reader"
    with pytest.raises(ModelError, match="nothing to quantize"):
        quantize(single, calibration(single), Quantization(rules=Rules(keep_float=("reader",))))
    half = model(body, "float16[5, N, 3] x", "float16[5, 1, N, 8] o")
    for one in half.graph.initializer:
        one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one).astype(np.float16), one.name))
    feeds = [{"x": one["x"].astype(np.float16)} for one in calibration(half)]
    with pytest.raises(ModelError, match="nothing to quantize"):
        quantize(half, feeds, Quantization())


TWO = "a = Conv <pads = [1, 1, 1, 1]> (x, w) c = Relu (a) d = Conv <pads = [1, 1, 1, 1]> (x, w2) "


@pytest.mark.parametrize(
    ("body", "inputs", "outputs"),
    [
        (TWO + "p = PRelu (d, c) o = Conv (p, v)", IMAGE, RESULT),
        (TWO + 'p = Pad <mode = "edge"> (c, edge_pads) o = Conv (p, deep)', IMAGE, RESULT),
        (TWO + "p = Pad (c, pads, , axes) o = Conv (p, deep)", IMAGE, RESULT),
        (
            TWO + "s, t = Split <axis = 1> (c, sizes) u = Relu (s) q = Concat <axis = 1> (u, t) o = Conv (q, v)",
            f"{IMAGE}, int64[2] sizes",
            RESULT,
        ),
        ("y = Gemm (x, square) r = Relu (y) z = Gemm (x, square2, r) q = Relu (z) o = MatMul (q, wide)", "float[N, 8] x", "float[N, 4] o"),
    ],
    ids=["computed slope", "copied channels", "axes in another order", "computed sizes", "computed bias"],
)
def test_linked_channels_take_any_factor(body: str, inputs: str, outputs: str) -> None:
    plain = model(body, inputs, outputs)
    copies = {"w2": "w", "square2": "square"}
    arrays = {one.name: numpy_helper.to_array(one) for one in plain.graph.initializer}
    plain.graph.initializer.extend(numpy_helper.from_array(2 * arrays[of], name) for name, of in copies.items())
    plain.graph.initializer.append(numpy_helper.from_array(np.array([0, 1, 0, 0, 0, 1, 0, 0]), "edge_pads"))
    shaped = onnx.shape_inference.infer_shapes(plain)
    coupling = couple(shaped)
    factors = np.random.default_rng(3).uniform(0.5, 2, coupling.count)
    factors[0] = 1
    feeds = dict(calibration(plain)[0])
    if "sizes" in feeds:
        feeds["sizes"] = np.array([3, 5])
    expected, found = (open_model(one).run(feeds)["o"] for one in (shaped, rescale(shaped, coupling, factors)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_pads_of_some_axes_become_pads_of_all() -> None:
    plain = normalise(model("y = Conv <pads = [1, 1, 1, 1]> (x, w) p = Pad (y, pads, , axes) o = Conv (p, deep)"))
    assert "number-pad-axes" in plain.applied
    pad = next(node for node in plain.model.graph.node if node.op_type == "Pad")
    pads = next(one for one in plain.model.graph.initializer if one.name == pad.input[1])
    assert numpy_helper.to_array(pads).tolist() == [0, 1, 1, 2, 0, 1, 1, 0]
