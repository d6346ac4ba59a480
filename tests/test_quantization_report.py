"""The report: every layer once, with its reason; figures that can be checked against the files."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx.numpy_helper
import onnx.parser
import pytest
from onnx import ModelProto

from edgerec.benchmarks.kernel_times import Device, KernelTimes
from edgerec.benchmarks.sequential import Verdict
from edgerec.cli.quantize_report import show, write_record
from edgerec.compress.quantization import Budget, Corrections, Limit, Quantization, Quantized, Rules, quantize
from edgerec.compress.quantization.kernels import TimesOf
from edgerec.graph.file import save_onnx
from edgerec.runtime.files import sha256
from edgerec.runtime.session import open_session

CONFIG = Quantization(
    method="minmax", target="openvino", corrections=Corrections(equalise=False, correct_bias=False, round_weights=False), speed="int8"
)
IMAGES = {"input": np.random.default_rng(1).normal(size=(16, 3, 8, 8)).astype(np.float32)}


def net() -> ModelProto:
    body = """
        [stem] a = Conv <pads = [1, 1, 1, 1]> (input, w0)
        [act] r = Relu (a)
        [inner] b = Conv <pads = [1, 1, 1, 1]> (r, w1)
        [curve] e = Elu (b)
        [pool] p = GlobalAveragePool (e)
        [flat] f = Flatten (p)
        [head] logits = Gemm <transB = 1> (f, w2)
    """
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> net (float[N, 3, 8, 8] input) => (float[N, 4] logits) {{ {body} }}'
    )
    draw = np.random.default_rng(0)
    for name, shape in {"w0": (8, 3, 3, 3), "w1": (8, 8, 3, 3), "w2": (4, 8)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array((draw.normal(size=shape) * 0.2).astype(np.float32), name))
    return model


def times(int8_us: float) -> TimesOf:
    return lambda kernels: KernelTimes(Device("made up", (), "0", 1), {one: int8_us if one.precision == "int8" else 1.0 for one in kernels})


def limited() -> Quantized:
    def judge(_proposal: object, _alpha: float) -> Verdict:
        return Verdict("inside", 0.25, -0.5, 0.75, 400)

    limit = Limit(Budget(1), lambda _reference, candidate, _budget: lambda one, alpha: (candidate(one), judge(one, alpha))[1])
    return quantize(net(), [IMAGES], replace(CONFIG, speed="fastest"), limit=limit, times_of=times(0.25))


def test_every_layer_once_in_the_order_of_the_graph_with_its_reason() -> None:
    config = replace(CONFIG, rules=Rules(keep_float=("inner",)))
    layers = {one.name: one for one in quantize(net(), [IMAGES], config).report.layers}
    assert list(layers) == ["stem", "inner", "curve", "pool", "flat", "head"], "the Relu is part of the stem"
    assert [one.precision for one in layers.values()] == ["int8", "float", "float", "float", "float", "int8"]
    assert (layers["stem"].reason, layers["inner"].reason, layers["curve"].reason) == ("", "kept by the user", "no int8 kernel")
    assert layers["stem"].op_type == "Conv"
    assert layers["stem"].low == 0
    assert layers["inner"].low is layers["inner"].high is None


def test_figures_are_those_of_the_files() -> None:
    result = quantize(net(), [IMAGES], CONFIG)
    report = result.report
    assert report.size_bytes_before == net().ByteSize()
    assert report.size_bytes_after == result.model.ByteSize()
    expected, found = (open_session(one.SerializeToString(), threads=1).run(IMAGES)["logits"] for one in (net(), result.model))
    assert report.sqnr_db == pytest.approx(10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum()), abs=1)
    assert (report.images, report.target, report.method, report.speedup, report.tried) == (16, "openvino", "minmax", None, ())
    assert "infer-shapes" in report.rewrites
    assert not report.is_float


def test_times_and_errors_are_told_where_they_were_measured() -> None:
    plain = {one.name: one for one in quantize(net(), [IMAGES], CONFIG).report.layers}
    assert plain["stem"].error_db is plain["stem"].float_us is plain["stem"].int8_us is None
    layers = {one.name: one for one in limited().report.layers}
    assert (layers["stem"].float_us, layers["stem"].int8_us) == (1, 0.25)
    assert layers["stem"].error_db is not None
    assert 20 < layers["stem"].error_db < 80
    assert layers["curve"].error_db is None


def test_the_record_is_json_that_any_program_reads(tmp_path: Path) -> None:
    guarded = quantize(net(), [IMAGES], replace(CONFIG, target="x86-avx2"), times_of=times(0.25))
    bounded = tuple(replace(one, sqnr_db=float("inf")) for one in guarded.report.saturation)  # as where nothing was narrowed
    for result in (limited(), replace(guarded, report=replace(guarded.report, saturation=bounded))):
        output = tmp_path / "net.int8.onnx"
        save_onnx(result.model, output)
        text = write_record(result, output).read_text(encoding="utf-8")
        record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert (record["file"], record["sha256"]) == ("net.int8.onnx", sha256(output))
        assert [one["name"] for one in record["layers"]] == [one.name for one in result.report.layers]
        assert record["machine"]["cpu"]
        assert record["versions"]["onnxruntime"]
        for trial in record["tried"]:
            assert trial["proposal"]["nodes"] == sorted(trial["proposal"]["nodes"])
        assert text == write_record(result, output).read_text(encoding="utf-8")


def test_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = limited().report
    show(report, tmp_path / "a.onnx", tmp_path / "a.json", json=False, quiet=False, skipped=0)
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split()[:3] == ["stem", "Conv", "int8"]
    assert "float: no kernel" in out
    assert "inside" in out
    assert "drop 0.25 points (-0.50 to 0.75, 400 images)" in err
    show(report, tmp_path / "a.onnx", tmp_path / "a.json", json=True, quiet=False, skipped=3)
    printed = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (printed["skipped"], printed["images"]) == (3, 16)
    assert printed["tried"][0]["proposal"]["nodes"] == sorted(report.tried[0].proposal.nodes)
    assert asdict(report)["notes"] == tuple(printed["notes"])


def test_many_layers_are_counted_by_operator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = quantize(net(), [IMAGES], CONFIG).report
    many = replace(report, layers=report.layers * 10)
    show(many, tmp_path / "a.onnx", tmp_path / "a.json", json=False, quiet=False, skipped=0)
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["Conv"] == ["20", "0"]
    assert rows["Elu"] == ["0", "10", "no", "int8", "kernel"]


def test_logits_that_stay_float_have_no_range() -> None:
    layers = {one.name: one for one in quantize(net(), [IMAGES], replace(CONFIG, speed="int8"), times_of=times(0.25)).report.layers}
    assert layers["stem"].low == 0  # its grid ends where Relu cuts
    assert (layers["head"].precision, layers["head"].low, layers["head"].high) == ("int8", None, None)
