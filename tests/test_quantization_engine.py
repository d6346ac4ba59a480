"""Which file is written: the fastest one by a table of kernel times, inside a budget, for a target. Times are made up, never measured."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx.numpy_helper
import onnx.parser
import pytest
from onnx import ModelProto

from edgerec.benchmarks.kernel import Kernel
from edgerec.benchmarks.kernel_times import Device, KernelTimes
from edgerec.benchmarks.latency import Comparison, Latency, Speedup
from edgerec.benchmarks.sequential import Verdict
from edgerec.compress.quantization import Budget, Corrections, Layer, Limit, Quantization, QuantizationReport, quantize
from edgerec.compress.quantization.budget import BudgetError, Proposal
from edgerec.compress.quantization.judges import judge_by, judge_top1
from edgerec.compress.quantization.kernels import TimesOf
from edgerec.data.arrays import from_arrays
from edgerec.data.splits import Batch, Split
from edgerec.runtime.errors import ConfigError
from edgerec.runtime.session import open_session
from edgerec.runtime.spec import InputSpec, ModelSpec

Array = np.ndarray
NONE = Corrections(equalise=False, correct_bias=False, round_weights=False)
# The files of a provider that is not here are not timed: the table alone decides.
ELSEWHERE = Quantization(method="minmax", target="openvino", corrections=NONE)
UNITS = {"stem", "inner", "sum", "pool", "head"}
SPEC = ModelSpec((InputSpec(8, 8, scale=1 / 64, mean=(2.0,) * 3, std=(1.0,) * 3),), tuple("abcd"))


def net(body: str, head: str, shapes: Mapping[str, tuple[int, ...]]) -> ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> net {head} {{ {body} }}')
    draw = np.random.default_rng(0)
    for name, shape in shapes.items():
        values = draw.normal(size=shape) * float(np.prod(shape[1:])) ** -0.5
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    return model


def conv_net() -> ModelProto:
    body = """
        [stem] a = Conv <pads = [1, 1, 1, 1]> (input, w0, b0)
        [act] r = Relu (a)
        [inner] b = Conv <pads = [1, 1, 1, 1]> (r, w1)
        [sum] s = Add (b, r)
        [pool] p = GlobalAveragePool (s)
        [flat] f = Flatten (p)
        [head] logits = Gemm <transB = 1> (f, w2)
    """
    shapes = {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 8, 3, 3), "w2": (4, 8)}
    return net(body, "(float[N, 3, 8, 8] input) => (float[N, 4] logits)", shapes)


def lstm_net() -> ModelProto:
    body = """
        [turn] t = Transpose <perm = [1, 0, 2]> (input)
        [cell] y, h = LSTM <hidden_size = 8> (t, w, r, b)
        axes = Constant <value = int64[1] {0}> ()
        [last] f = Squeeze (h, axes)
        [head] logits = Gemm <transB = 1> (f, w2)
    """
    shapes = {"w": (1, 32, 6), "r": (1, 32, 8), "b": (1, 64), "w2": (4, 8)}
    return net(body, "(float[N, 5, 6] input) => (float[N, 4] logits)", shapes)


def feeds(count: int = 16, seed: int = 1, shape: tuple[int, ...] = (3, 8, 8)) -> dict[str, Array]:
    return {"input": np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)}


def table(int8_us: Callable[[Kernel], float]) -> TimesOf:
    """Every float kernel takes one microsecond."""
    device = Device("made up", (), "0", 1)

    def times_of(kernels: Iterable[Kernel]) -> KernelTimes:
        return KernelTimes(device, {one: int8_us(one) if one.precision == "int8" else 1.0 for one in kernels})

    return times_of


FAST, SLOW = table(lambda _one: 0.25), table(lambda _one: 4.0)


def int8_layers(report: QuantizationReport) -> set[str]:
    return {one.name for one in report.layers if one.precision == "int8"}


def constants(model: ModelProto) -> dict[str, Array]:
    return {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}


def sqnr(model: ModelProto, other: ModelProto, images: Mapping[str, Array]) -> float:
    expected, found = (open_session(one.SerializeToString(), threads=1).run(images)["logits"] for one in (model, other))
    return float(10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum()))


def test_what_is_slower_on_integers_stays_float_up_to_the_whole_file() -> None:
    assert int8_layers(quantize(conv_net(), [feeds()], ELSEWHERE, times_of=FAST).report) == UNITS
    slow = quantize(conv_net(), [feeds()], ELSEWHERE, times_of=SLOW)
    assert slow.report.is_float
    assert any("not faster" in note and "--force" in note for note in slow.report.notes)
    assert {one.reason for one in slow.report.layers} == {"slower"}
    assert not {node.op_type for node in slow.model.graph.node} & {"QuantizeLinear", "DequantizeLinear"}
    assert open_session(slow.model.SerializeToString()).run(feeds()).keys() == {"logits"}


def test_a_slow_layer_alone_stays_float() -> None:
    times = table(lambda one: 20.0 if one.first.op_type == "Gemm" else 0.05)
    report = quantize(conv_net(), [feeds()], ELSEWHERE, times_of=times).report
    assert int8_layers(report) == UNITS - {"head"}
    assert {one.name: one.reason for one in report.layers if one.reason} == {"head": "slower"}


def test_force_does_not_ask_and_a_pinned_layer_neither() -> None:
    forced = quantize(conv_net(), [feeds()], replace(ELSEWHERE, speed="int8"), times_of=SLOW)
    assert int8_layers(forced.report) == UNITS
    for name in ("inner", "act"):  # the activation that a kernel absorbs is as good as its name
        pinned = quantize(conv_net(), [feeds()], replace(ELSEWHERE, layers=(Layer(name, "int8"),)), times_of=SLOW)
        assert int8_layers(pinned.report) == {"stem" if name == "act" else name}


def test_here_the_clock_has_the_last_word_and_a_pinned_layer_holds() -> None:
    """A net this small is slower on integers here, or it is not: both are right, and both are said."""
    free = quantize(conv_net(), [feeds()], Quantization(corrections=NONE), times_of=FAST).report
    assert free.is_float == any("stays float" in note for note in free.notes)
    assert free.speedup is not None
    pinned = quantize(conv_net(), [feeds()], Quantization(corrections=NONE, layers=(Layer("inner", "int8"),)), times_of=SLOW).report
    assert "inner" in int8_layers(pinned)


def test_a_file_that_the_clock_finds_slower_when_it_is_done_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The draft looked faster, on a machine that was busy, say; the finished file is slower."""

    def timed(files: Mapping[str, ModelProto], _images: Sequence[Mapping[str, Array]]) -> Comparison:
        ratio = 0.9 if files.keys() == {"float", "int8"} else 1.2
        return Comparison({}, {name: Speedup(1.0, 1.0, 1.0) if name == "float" else Speedup(ratio, ratio, ratio) for name in files})

    monkeypatch.setattr("edgerec.compress.quantization.engine.time_files", timed)
    free = quantize(conv_net(), [feeds()], Quantization(corrections=NONE), times_of=FAST).report
    assert free.is_float
    assert any("stays float" in note for note in free.notes)
    assert free.speedup == Speedup(1.0, 1.0, 1.0)
    forced = quantize(conv_net(), [feeds()], Quantization(corrections=NONE, speed="int8"), times_of=FAST).report
    assert int8_layers(forced) == UNITS
    assert any("slower than the float file" in note for note in forced.notes)


@pytest.mark.parametrize("target", ["x86-vnni", "x86-avx2", "arm-dot", "any", "tensorrt", "openvino", "qnn"])
def test_grids_are_of_the_types_that_a_target_takes(target: str) -> None:
    result = quantize(conv_net(), [feeds()], Quantization(target=target, speed="int8"), times_of=FAST)
    assert result.report.target == target
    assert sqnr(conv_net(), result.model, feeds(seed=2)) > 20
    held = constants(result.model)
    signed, symmetric = target in ("arm-dot", "tensorrt"), target == "tensorrt"
    outputs = [node for node in result.model.graph.node if node.op_type == "QuantizeLinear"]
    points = [held[node.input[2]] for node in outputs]
    assert {point.dtype.name for point in points} == {"int8" if signed else "uint8"}
    assert not symmetric or not any(point.any() for point in points)
    assert any(array.dtype == np.int32 for array in held.values()) != (target == "tensorrt"), "TensorRT takes float biases"
    scales = {name: array.size for name, array in held.items() if array.dtype == np.int8 and array.ndim}
    heads = [node for node in result.model.graph.node if node.op_type == "DequantizeLinear" and scales.get(node.input[0]) == 32]
    assert {held[node.input[1]].size for node in heads} == ({1} if target == "qnn" else {4})


@pytest.mark.parametrize("target", ["x86-avx2", "any"])
def test_guarded_targets_tell_what_their_layers_do(target: str) -> None:
    result = quantize(conv_net(), [feeds()], Quantization(target=target, speed="int8", corrections=NONE), times_of=FAST)
    findings = {one.name: one for one in result.report.saturation}
    assert findings.keys() == {"stem", "inner", "head"}
    assert all(one.pairs > 0 for one in findings.values())
    if target == "any":  # the bound holds for every layer that is left on integers
        assert all(one.decision != "kept" or one.is_bounded for one in findings.values())
    floats = {name for name, one in findings.items() if one.decision == "float"}
    assert {one.name for one in result.report.layers if one.reason == "saturates"} == floats
    assert quantize(conv_net(), [feeds()], replace(ELSEWHERE, speed="int8")).report.saturation == ()


@pytest.mark.parametrize(("target", "narrow"), [("x86-vnni", False), ("x86-avx2", True), ("any", True)])
def test_lstm_weights_are_int8_and_narrow_where_sums_saturate(target: str, narrow: bool) -> None:
    images = feeds(shape=(5, 6))
    result = quantize(lstm_net(), [images], Quantization(target=target, speed="int8"), times_of=FAST)
    assert "cell" in int8_layers(result.report)
    assert [node.domain for node in result.model.graph.node if node.op_type == "DynamicQuantizeLSTM"] == ["com.microsoft"]
    assert sqnr(lstm_net(), result.model, images) > 35
    weight = constants(result.model)["r_quantized"][0].astype(int).T  # (4 * hidden, columns)
    pairs = weight.reshape(len(weight), -1, 2)
    largest = max(np.maximum(pairs, 0).sum(-1).max(), np.maximum(-pairs, 0).sum(-1).max())
    assert (largest <= 128) == narrow, "two products of 255 fit 16 bits up to a sum of 128"


def test_gru_layers_stay_float_and_the_report_says_so() -> None:
    body = """
        [turn] t = Transpose <perm = [1, 0, 2]> (input)
        [cell] y, h = GRU <hidden_size = 8> (t, w, r)
        axes = Constant <value = int64[1] {0}> ()
        [last] f = Squeeze (h, axes)
        [head] logits = Gemm <transB = 1> (f, w2)
    """
    model = net(body, "(float[N, 5, 6] input) => (float[N, 4] logits)", {"w": (1, 24, 6), "r": (1, 24, 8), "w2": (4, 8)})
    result = quantize(model, [feeds(shape=(5, 6))], ELSEWHERE)
    assert int8_layers(result.report) == {"head"}
    assert any("GRU" in note for note in result.report.notes)


def digits() -> tuple[Split, ModelProto]:
    """600 pictures, labelled with what the float file says: it is always right."""
    images = np.random.default_rng(3).integers(0, 256, (600, 8, 8, 3), np.uint8)
    ready = (images.transpose(0, 3, 1, 2) / 64 - 2).astype(np.float32)
    labels = open_session(conv_net().SerializeToString()).run({"input": ready})["logits"].argmax(axis=1)
    return from_arrays("digits", {"train": (images, labels)}, labels=tuple("abcd")).train, conv_net()


def ready(images: Split) -> list[dict[str, Array]]:
    from edgerec.runtime.preprocess import prepare_feeds

    return [prepare_feeds(batch.feeds, SPEC) for batch in images.take(64).batches(32, SPEC.inputs)]


def top1(images: Split, max_drop: float) -> Limit:
    return Limit(Budget(max_drop), lambda reference, candidate, budget: judge_top1(reference, candidate, images, SPEC, budget))


def test_the_fastest_file_inside_a_budget() -> None:
    images, model = digits()
    result = quantize(model, ready(images), ELSEWHERE, limit=top1(images, 30), times_of=FAST)
    assert int8_layers(result.report) == UNITS
    last = result.report.tried[-1]
    assert last.verdict.decision == "inside"
    assert last.verdict.high <= 30
    assert all(one.error_db is not None and one.float_us == 1 for one in result.report.layers)


def test_a_budget_that_no_file_keeps_or_that_too_few_images_decide() -> None:
    images, model = digits()
    with pytest.raises(BudgetError, match=r"proved.*images") as caught:
        quantize(model, ready(images), ELSEWHERE, limit=top1(images.take(20), 0.5), times_of=FAST)
    assert caught.value.exit_code == 3
    assert {one.verdict.decision for one in caught.value.tried} == {"undecided"}

    def worse(outputs: Mapping[str, Array], _batch: Batch) -> Array:
        # Only the float file gives its own numbers exactly.
        return (outputs["logits"].astype(np.float64) == expected[: len(outputs["logits"])]).all(axis=1).astype(np.float64)

    few = images.take(200)
    expected = open_session(model.SerializeToString()).run(ready_all(few))["logits"]
    limit = Limit(Budget(0.1), lambda reference, candidate, budget: judge_by(worse, reference, candidate, few, SPEC, budget))
    with pytest.raises(BudgetError, match="no file is inside"):
        quantize(model, ready(images), ELSEWHERE, limit=limit, times_of=FAST)


def ready_all(images: Split) -> dict[str, Array]:
    from edgerec.runtime.preprocess import prepare_feeds

    return prepare_feeds(next(images.batches(len(images), SPEC.inputs)).feeds, SPEC)


@pytest.mark.parametrize("bad", ["stem", "head"])
def test_what_the_budget_cannot_afford_stays_float(bad: str) -> None:
    """The convolutions save little and the dense layer much, so that a price on errors takes the convolutions out first."""
    asked: list[Proposal] = []

    def judge(proposal: Proposal, _alpha: float) -> Verdict:
        asked.append(proposal)
        drop = 5.0 if bad in proposal.nodes else 0.0
        return Verdict("outside" if drop else "inside", drop, drop, drop, 100)

    times = table(lambda one: {"Conv": 0.9, "Gemm": 0.1}.get(one.first.op_type, 0.3))
    limit = Limit(Budget(1), lambda _reference, candidate, _budget: lambda one, alpha: (candidate(one), judge(one, alpha))[1])
    if bad == "stem":
        report = quantize(conv_net(), [feeds()], ELSEWHERE, limit=limit, times_of=times).report
        assert int8_layers(report) == asked[-1].nodes & UNITS == {"pool", "head"}
        assert {one.name: one.reason for one in report.layers}["stem"] == "accuracy budget"
    else:
        with pytest.raises(BudgetError, match="no file is inside") as caught:
            quantize(conv_net(), [feeds()], ELSEWHERE, limit=limit, times_of=times)
        assert [one.proposal for one in caught.value.tried] == asked
    assert asked[0].nodes >= UNITS, "the fastest file comes first"
    assert [one.milliseconds for one in asked] == sorted(one.milliseconds for one in asked)


def test_a_budget_without_anything_to_gain_keeps_the_float_file() -> None:
    images, model = digits()
    result = quantize(model, ready(images), ELSEWHERE, limit=top1(images, 1), times_of=SLOW)
    assert result.report.is_float
    assert result.report.tried == ()
    assert any("not faster" in note for note in result.report.notes)


@pytest.mark.parametrize(("ratio", "drop"), [(2.0, 0.0), (0.5, 0.0), (2.0, 5.0)])
def test_a_budget_gives_an_lstm_int8_weights_where_they_are_faster_and_fit(
    ratio: float, drop: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(files: Mapping[str, ModelProto], _images: Sequence[Mapping[str, Array]]) -> Comparison:
        own = {name: ratio if name != "float" else 1.0 for name in files}
        return Comparison(dict.fromkeys(files, Latency(1, 1, 1, 1, 9)), {name: Speedup(one, one, one) for name, one in own.items()})

    monkeypatch.setattr("edgerec.compress.quantization.engine.time_files", timed)
    verdict = Verdict("outside" if drop else "inside", drop, drop, drop, 100)
    limit = Limit(Budget(1), lambda _reference, candidate, _budget: lambda one, _alpha: (candidate(one), verdict)[1])

    def quantized() -> QuantizationReport:
        return quantize(lstm_net(), [feeds(shape=(5, 6))], Quantization(corrections=NONE), limit=limit, times_of=FAST).report

    if drop:
        with pytest.raises(BudgetError, match="no file is inside") as caught:
            quantized()
        assert [one.proposal.nodes for one in caught.value.tried] == [{"cell"}]
        return
    report = quantized()
    assert int8_layers(report) == ({"cell"} if ratio > 1 else set())
    cell = next(one for one in report.layers if one.name == "cell")
    assert cell.error_db is not None
    assert cell.error_db > 30
    assert cell.float_us is not None
    assert cell.int8_us == pytest.approx(cell.float_us - 500 if ratio > 1 else cell.float_us + 1000)  # of a file of 1 ms


def test_a_pinned_lstm_is_int8() -> None:
    config = Quantization(corrections=NONE, method="minmax", layers=(Layer("cell", "int8"),))
    assert "cell" in int8_layers(quantize(lstm_net(), [feeds(shape=(5, 6))], config, times_of=SLOW).report)


def test_a_budget_for_another_device_needs_its_table() -> None:
    images, model = digits()
    with pytest.raises(ConfigError, match="--kernel-times"):
        quantize(model, ready(images), ELSEWHERE, limit=top1(images, 1))


def test_kernels_that_do_not_run_are_not_chosen() -> None:
    report = quantize(conv_net(), [feeds()], ELSEWHERE, times_of=table(lambda _one: math.inf)).report
    assert report.is_float
