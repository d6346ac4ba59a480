"""Two files tensor by tensor: rows worked out with numpy, faults put in by hand, and int8 kernels that stay what they are."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest
from onnx import ModelProto

from edgerec.benchmarks import difference
from edgerec.benchmarks.difference import Difference, compare_tensors
from edgerec.benchmarks.views import ancestors, list_views
from edgerec.compress.quantization.qdq import write_qdq
from edgerec.compress.quantization.scheme import Grid, Scheme, round_weight
from edgerec.graph.execution import open_model
from edgerec.runtime.errors import ConfigError, DataError, ModelError

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
NET = """
net (float[N, 3, 8, 8] input) => (float[N, 4] logits) {
    a = Conv <pads = [1, 1, 1, 1]> (input, w0)
    b = Relu (a)
    c = Conv <pads = [1, 1, 1, 1]> (b, w1)
    d = Add (c, b)
    e = GlobalAveragePool (d)
    size = Shape (e)
    f = Flatten (e)
    logits = Gemm <transB = 1> (f, w2)
}
"""
SHAPES = {"w0": (8, 3, 3, 3), "w1": (8, 8, 3, 3), "w2": (4, 8)}


def parse(text: str, weights: Mapping[str, np.ndarray]) -> ModelProto:
    model = onnx.parser.parse_model(HEAD + text)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
    onnx.checker.check_model(model)
    return onnx.shape_inference.infer_shapes(model)


def make_weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.normal(0, math.prod(shape[1:]) ** -0.5, shape).astype(np.float32) for name, shape in SHAPES.items()}


def float_net(**replaced: np.ndarray) -> ModelProto:
    return parse(NET, make_weights() | replaced)


def images(count: int = 6) -> dict[str, np.ndarray]:
    return {"input": np.random.default_rng(1).normal(size=(count, 3, 8, 8)).astype(np.float32)}


def int8_net(model: ModelProto) -> ModelProto:
    """All layers int8, ranges from the test images."""
    tensors = ["input", "b", "c", "d", "e", "f", "logits"]
    arrays = images() | open_model(model, taps=tensors).run(images())
    grids = {name: Grid.covering(float(arrays[name].min()), float(arrays[name].max())) for name in tensors}
    grids["f"] = grids["e"]
    weights = {one.name: round_weight(onnx.numpy_helper.to_array(one)) for one in model.graph.initializer}
    nodes = frozenset(node.name for node in model.graph.node if node.op_type != "Shape")
    return write_qdq(model, Scheme(nodes, grids, weights))


def by_name(found: Difference) -> dict[str, difference.TensorDifference]:
    return {one.name: one for one in found.tensors}


def test_a_file_equals_itself() -> None:
    found = compare_tensors(float_net(), float_net(), [images()])
    assert [one.name for one in found.tensors] == ["input", "a", "b", "c", "d", "e", "f", "logits"], "in order, and no shapes"
    assert [one.operator for one in found.tensors][:3] == ["input", "Conv", "Relu"]
    assert all(one.sqnr_db == math.inf and one.max_abs == 0 and not one.bad for one in found.tensors)
    assert (found.first_bad, found.images, found.unmatched) == (None, 6, ())


def test_rows_by_numpy_and_the_first_bad_one() -> None:
    weights = make_weights()
    model, broken = float_net(), float_net(w1=weights["w1"] * np.float32(0.9))
    found = by_name(compare_tensors(model, broken, [images()]))
    run = open_model(model, taps=["c", "d"]).run(images())
    # c is scaled by 0.9: a tenth of it is noise, 20 dB.
    assert found["c"].sqnr_db == pytest.approx(20, abs=1e-3)
    assert found["c"].max_abs == pytest.approx(np.abs(run["c"]).max() / 10, rel=1e-4)
    assert found["c"].largest == pytest.approx(np.abs(run["c"]).max())
    noise = np.square(run["c"].astype(np.float64) / 10).sum()
    assert found["d"].sqnr_db == pytest.approx(10 * math.log10(np.square(run["d"].astype(np.float64)).sum() / noise), abs=1e-3)
    assert [name for name, one in found.items() if one.bad] == ["c"], "above 10 dB, but 100 dB below what it is computed from"
    assert compare_tensors(model, broken, [images()]).first_bad == "c"


def test_an_input_that_is_one_number_goes_to_every_portion() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float factor, float[N, 4] input) => (float[N, 4] y)
        { y = Mul (input, factor) }"""
    model = onnx.parser.parse_model(text)
    found = compare_tensors(model, model, [{"factor": np.array(3, np.float32), "input": np.ones((5, 4), np.float32)}])
    assert (found.images, by_name(found)["y"].largest) == (5, 3)


def test_the_least_ratio_is_the_users() -> None:
    broken = float_net(w1=make_weights()["w1"] * np.float32(0.9))
    assert {one.name for one in compare_tensors(float_net(), broken, [images()], least_db=300).tensors if one.bad} == set("cdef") | {
        "logits"
    }


def test_an_int8_file_is_compared_as_it_runs() -> None:
    model = float_net()
    candidate = int8_net(model)
    found = by_name(compare_tensors(model, candidate, [images()], threads=1))
    assert list(found) == ["input", "b", "c", "d", "e", "f", "logits"]
    assert {one.dtype for name, one in found.items() if name != "logits"} == {"uint8"}
    assert not any(one.bad for one in found.values())
    # The input's noise is that of rounding to its grid; the logits' that of the untapped file.
    values = images()["input"]
    grid = Grid.covering(float(values.min()), float(values.max()))
    assert found["input"].max_abs == pytest.approx(np.abs(grid.dequantize(grid.quantize(values)) - values).max())
    plain = open_model(candidate, threads=1).run(images())["logits"]
    expected = open_model(model, threads=1).run(images())["logits"]
    assert found["logits"].max_abs == pytest.approx(np.abs(plain - expected).max(), rel=1e-6), "taps change nothing"


def test_a_bad_grid_is_the_first_bad_tensor() -> None:
    model = float_net()
    candidate = int8_net(model)
    for tensor in candidate.graph.initializer:
        if tensor.name == "c_scale":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(40) * onnx.numpy_helper.to_array(tensor), tensor.name))
    found = compare_tensors(model, candidate, [images()])
    assert found.first_bad == "c"


def test_two_int8_files() -> None:
    candidate = int8_net(float_net())
    found = compare_tensors(candidate, candidate, [images()])
    assert all(one.sqnr_db == math.inf for one in found.tensors)
    assert "logits" in by_name(found)


def test_a_tensor_behind_nan_is_bad() -> None:
    weights = make_weights()
    weights["w1"][0, 0, 0, 0] = np.nan
    found = compare_tensors(float_net(), float_net(w1=weights["w1"]), [images()])
    assert found.first_bad == "c"
    assert math.isnan(by_name(found)["c"].sqnr_db)


def test_portions_do_not_change_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = int8_net(float_net())
    whole = compare_tensors(float_net(), candidate, [images()])
    monkeypatch.setattr(difference, "_MEMORY_BYTES", 1)
    ones = compare_tensors(float_net(), candidate, ({"input": one[None]} for one in images()["input"]))
    assert [one.sqnr_db for one in ones.tensors] == pytest.approx([one.sqnr_db for one in whole.tensors])
    assert ones.images == whole.images == 6


def test_images_are_streamed() -> None:
    alive: list[int] = []

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for number in range(50):
            alive.append(number)
            yield images(1)

    assert compare_tensors(float_net(), float_net(), batches()).images == len(alive) == 50


def test_a_fixed_batch_is_filled_up() -> None:
    fixed = parse(NET.replace("float[N, 3, 8, 8]", "float[4, 3, 8, 8]").replace("float[N, 4]", "float[4, 4]"), make_weights())
    found = compare_tensors(float_net(), fixed, [images(6)])
    assert found.images == 6
    assert not any(one.bad for one in found.tensors)
    other = parse(NET.replace("float[N, 3, 8, 8]", "float[2, 3, 8, 8]").replace("float[N, 4]", "float[2, 4]"), make_weights())
    with pytest.raises(ModelError, match="different numbers of images"):
        compare_tensors(fixed, other, [images(4)])


def test_renamed_inputs_and_outputs_are_matched_by_position() -> None:
    text = NET.replace("input", "picture").replace("logits", "scores")
    for name in "abcdef":
        text = (
            text.replace(f"{name} = ", f"other_{name} = ").replace(f"({name},", f"(other_{name},").replace(f"({name})", f"(other_{name})")
        )
    text = text.replace(", b)", ", other_b)")
    found = compare_tensors(float_net(), parse(text, make_weights()), [images()])
    assert [one.name for one in found.tensors] == ["logits"]
    assert found.first_bad is None
    assert found.unmatched == ("input", "a", "b", "c", "d", "e", "size", "f")


def test_other_models_and_bad_numbers_are_refused() -> None:
    other = parse("other (float[N, 3, 8, 8] input) => (float[N, 3, 8, 8] y, float[N, 3, 8, 8] a) { y = Abs (input) a = Neg (input) }", {})
    with pytest.raises(ModelError, match="a tensor has another shape in the other file: a: "):
        compare_tensors(float_net(), other, [images()])
    with pytest.raises(ModelError, match="no tensor in common"):
        compare_tensors(parse("one (float[N, 3, 8, 8] input) => (int64[4] y) { y = Shape (input) }", {}), float_net(), [images()])
    with pytest.raises(DataError, match="at least one image"):
        compare_tensors(float_net(), float_net(), [])
    with pytest.raises(DataError, match="the model refuses this input"):
        compare_tensors(float_net(), float_net(), [{"input": np.ones((1, 3, 9), np.float32)}])
    with pytest.raises(ConfigError, match="least ratio"):
        compare_tensors(float_net(), float_net(), [images()], least_db=math.nan)


def test_views_and_ancestors_of_a_foreign_form() -> None:
    """As `onnxruntime.quantization` writes it: the float name is in front of the pair, and a channel may have its own scale."""
    text = """
    net (float[N, 2] x) => (float[N, 2] y) {
        x_q = QuantizeLinear (x, s, z)
        x_dq = DequantizeLinear (x_q, s, z)
        h = Relu (x_dq)
        h_q = QuantizeLinear <axis = 1> (h, channel_s, channel_z)
        h_dq = DequantizeLinear <axis = 1> (h_q, channel_s, channel_z)
        w_dq = DequantizeLinear (w_q, s, z)
        y = MatMul (h_dq, w_dq)
    }
    """
    weights = {
        "s": np.float32(0.5),
        "z": np.uint8(10),
        "channel_s": np.array([0.5, 0.25], np.float32),
        "channel_z": np.array([0, 2], np.uint8),
        "w_q": np.array([[10, 12], [14, 16]], np.uint8),
    }
    views = list_views(parse(text, {name: np.asarray(array) for name, array in weights.items()}))
    assert (views["x"].source, views["x_dq"].source, views["h"].source, views["y"].source) == ("x_q", "x_q", "h_q", "y")
    assert "w_dq" not in views, "a constant"
    assert views["x"].read({"x_q": np.array([[9, 10], [12, 255]], np.uint8)}).tolist() == [[-0.5, 0], [1, 122.5]]
    assert views["h"].read({"h_q": np.array([[4, 4], [0, 1]], np.uint8)}).tolist() == [[2, 0.5], [0, -0.25]]
    assert ancestors(float_net(), {"input", "b", "d", "logits"}) == {"input": (), "b": ("input",), "d": ("b",), "logits": ("d",)}
