"""Inputs that are one number, and sequences of tensors: what quantization has no business with goes through untouched."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import ModelProto, numpy_helper

from edgerec.compress.quantization import Corrections, Quantization, quantize
from edgerec.compress.quantization.feeds import check_feeds, images_in, runs_of
from edgerec.graph.cleanup import normalise
from edgerec.runtime.errors import DataError, ModelError
from edgerec.runtime.session import open_session

Array = np.ndarray
EVERYTHING = Quantization(method="minmax", speed="int8", target="x86-vnni")


def net(text: str) -> ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> net {text}')
    draw = np.random.default_rng(0)
    for name in ("w", "v"):
        if any(name in node.input for node in model.graph.node):
            model.graph.initializer.append(numpy_helper.from_array(draw.normal(size=(8, 8, 3, 3)).astype(np.float32) / 8, name))
    for number, name in enumerate(("zero", "one")):
        model.graph.initializer.append(numpy_helper.from_array(np.array(number), name))
    return model


def images(count: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=(count, 8, 8, 8)).astype(np.float32)


def sqnr(model: ModelProto, other: ModelProto, feeds: Mapping[str, Array]) -> float:
    expected, found = (open_session(one.SerializeToString(), threads=1).run(feeds)["y"] for one in (model, other))
    return float(10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum()))


SCALED = """(float[N, 8, 8, 8] x, float s) => (float[N, 8, 4, 4] y)
    { [conv] c = Conv (x, w) [gain] g = Mul (c, s) [relu] r = Relu (g) [last] y = Conv (r, v) }"""


@pytest.mark.parametrize("order", ["x first", "s first"])
@pytest.mark.parametrize("batch", [5, 16])
def test_a_number_as_input_stays_what_it_is(order: str, batch: int) -> None:
    text = SCALED if order == "x first" else SCALED.replace("float[N, 8, 8, 8] x, float s", "float s, float[N, 8, 8, 8] x")
    model, gain = net(text), np.array(2, np.float32)
    calibration = [{"x": images(batch, seed), "s": gain} for seed in range(2)]
    result = quantize(model, calibration, EVERYTHING)
    assert result.report.images == 2 * batch
    assert {"conv", "last"} <= {one.name for one in result.report.layers if one.precision == "int8"}
    assert "s" not in result.report.ranges
    assert all("s" not in node.input for node in result.model.graph.node if node.op_type == "QuantizeLinear")
    assert [len(one.type.tensor_type.shape.dim) for one in result.model.graph.input if one.name == "s"] == [0]
    assert sqnr(model, result.model, {"x": images(4, 9), "s": gain}) > 25


def test_a_number_of_another_kind_goes_through_as_well() -> None:
    text = SCALED.replace("float s", "int64 k").replace("[gain] g = Mul (c, s)", "s = Cast <to = 1> (k) [gain] g = Mul (c, s)")
    feeds = {"x": images(8), "k": np.array(3)}
    result = quantize(net(text), [feeds], EVERYTHING)
    assert sqnr(net(text), result.model, feeds) > 25


def test_runs_of_images_all_get_the_number() -> None:
    model = net(SCALED)
    batches = [{"x": images(3), "s": np.array(2, np.float32)}, {"x": images(2), "s": np.array(5, np.float32)}]
    runs = list(runs_of(model, batches, 10))
    assert [(one["x"].shape[0], one["s"].item()) for one in runs] == [(1, 2), (1, 2), (1, 2), (1, 5), (1, 5)]
    fixed = net(SCALED.replace("[N,", "[2,"))
    # The third image waits for a fourth, which comes with another number: no run can have both.
    assert [(one["x"].shape[0], one["s"].item()) for one in runs_of(fixed, batches, 10)] == [(2, 2), (2, 5)]
    assert images_in(batches[0]) == 3


def test_arrays_that_differ_in_their_number_of_images_are_still_refused() -> None:
    model = net(SCALED.replace("float s", "float[N] s"))
    with pytest.raises(DataError, match="number of images"):
        check_feeds(model, {"x": images(3), "s": np.ones(2, np.float32)})
    with pytest.raises(DataError, match="do not fit the input 's'"):
        check_feeds(net(SCALED), {"x": images(3), "s": np.ones(3, np.float32)})


INSIDE = """(float[N, 8, 8, 8] x) => (float[N, 8, 4, 4] y)
    { [conv] c = Conv (x, w) [pack] q = SequenceConstruct (x, c) [hold] k = Identity (q) [inner] d = Conv (c, v)
      [take] t = SequenceAt (k, one) [outer] e = Conv (t, v) [sum] y = Add (d, e) }"""


def test_layers_beside_a_sequence_become_int8() -> None:
    normalised = normalise(net(INSIDE), {"x": images(2)})
    assert not normalised.undone, "a sequence must not be called a tensor"
    result = quantize(net(INSIDE), [{"x": images(16)}], EVERYTHING)
    assert {"conv", "inner"} <= {one.name for one in result.report.layers if one.precision == "int8"}
    assert sqnr(net(INSIDE), result.model, {"x": images(4, 9)}) > 25


def test_layers_that_read_from_sequences_only_are_refused_with_the_reason() -> None:
    text = "(float[N, 8, 8, 8] x) => (float[N, 8, 6, 6] y) { q = SplitToSequence <axis = 1> (x) k = SequenceAt (q, zero) y = Abs (k) }"
    with pytest.raises(ModelError, match=r"sequences.*SplitToSequence.*without sequences"):
        quantize(net(text), [{"x": images(4)}], Quantization(corrections=Corrections(equalise=False)))


def test_an_input_that_is_a_sequence_is_named() -> None:
    text = "(seq(float[N, 8, 8, 8]) many) => (float[N, 8, 6, 6] y) { t = SequenceAt (many, zero) y = Conv (t, w) }"
    with pytest.raises(ModelError, match=r"'many'.*one tensor for each input"):
        quantize(net(text), [{"many": images(4)}], EVERYTHING)
