"""`edgerec quantize` as people type it: files, exit codes, and that a failure leaves the old file or none."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest

from edgerec.benchmarks.kernel import Kernel
from edgerec.benchmarks.kernel_times import KernelTimes, save_times, this_device
from edgerec.cli import main
from edgerec.compress.quantization import Quantization, quantize
from edgerec.graph.file import read_spec, save_onnx, with_spec
from edgerec.runtime.session import open_session
from edgerec.runtime.spec import InputSpec, ModelSpec

SPEC = ModelSpec((InputSpec(8, 8, scale=1 / 64, mean=(2.0,) * 3, std=(1.0,) * 3),), tuple("abcd"))
ELSEWHERE = ["--target", "openvino"]  # its kernels are not timed here: quick, and the same on every machine


def net() -> onnx.ModelProto:
    body = """
        [stem] a = Conv <pads = [1, 1, 1, 1]> (input, w0)
        [act] r = Relu (a)
        [inner] b = Conv <pads = [1, 1, 1, 1]> (r, w1)
        [pool] p = GlobalAveragePool (b)
        [flat] f = Flatten (p)
        [head] logits = Gemm <transB = 1> (f, w2)
    """
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> net (float[N, 3, 8, 8] input) => (float[N, 4] logits) {{ {body} }}'
    )
    draw = np.random.default_rng(0)
    for name, shape in {"w0": (16, 3, 3, 3), "w1": (16, 16, 3, 3), "w2": (4, 16)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array((draw.normal(size=shape) * 0.2).astype(np.float32), name))
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float file, the same without its spec, 1,600 pictures with the classes that it gives them, and a table of slow kernels."""
    folder = tmp_path_factory.mktemp("quantize")
    save_onnx(with_spec(net(), SPEC), folder / "net.onnx")
    save_onnx(net(), folder / "bare.onnx")
    images = np.random.default_rng(3).integers(0, 256, (1600, 8, 8, 3), np.uint8)
    ready = (images.transpose(0, 3, 1, 2) / 64 - 2).astype(np.float32)
    labels = open_session(net().SerializeToString()).run({"input": ready})["logits"].argmax(axis=1)
    np.savez(folder / "data.npz", images=images, labels=labels, label_names=np.array(list("abcd")))
    met: dict[Kernel, float] = {}

    def slow(kernels: Iterable[Kernel]) -> KernelTimes:
        met.update({one: 9.0 if one.precision == "int8" else 1.0 for one in kernels})
        return KernelTimes(this_device(1), met, 1.0)

    quantize(net(), [{"input": ready[:8]}], Quantization(target="openvino"), times_of=slow)
    save_times(slow(()), folder / "slow.json")
    return folder


def command(folder: Path, output: Path, *more: str, model: str = "net.onnx", data: bool = True) -> list[str]:
    return ["quantize", str(folder / model), "-o", str(output), *(["--data", str(folder / "data.npz")] if data else []), *more]


def error_of(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int = 1) -> str:
    """Expect this exit code and three parts without a traceback; return stderr."""
    capsys.readouterr()
    assert main(arguments) == code
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert [line.split(":")[0].strip() for line in err.splitlines()[-3:]] == ["error", "given", "what to do"], err
    return err


def test_the_file_its_record_and_what_is_printed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "a.onnx"
    assert main(command(folder, output, *ELSEWHERE)) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["layer", "stem", "inner", "pool", "head"]
    assert "dB on calibration images" in err
    record = json.loads((tmp_path / "a.quantize.json").read_text())
    assert (record["target"], record["file"], record["size_bytes_after"] > 0) == ("openvino", "a.onnx", True)
    spec = read_spec(onnx.load(output))
    assert spec is not None
    assert (spec.labels, spec.provenance.history[-1]["step"]) == (SPEC.labels, "quantize")
    assert main(command(folder, tmp_path / "b.onnx", *ELSEWHERE, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["sqnr_db"] == record["sqnr_db"]
    assert (tmp_path / "b.onnx").read_bytes() == output.read_bytes(), "the same command gives the same bytes"


def test_what_is_typed_decides(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "layers.toml"
    rules.write_text('[[layer]]\nname = "head"\nprecision = "float"\n')
    typed = ["--layers", str(rules), "--keep-float", "st*", "--op-types", "Conv,Gemm", "--correct", "none", "--method", "mse"]
    assert main(command(folder, tmp_path / "a.onnx", *ELSEWHERE, *typed, "--samples", "16", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["name"]: one["precision"] for one in told["layers"] if one["op_type"] in ("Conv", "Gemm")} == {
        "stem": "float",
        "inner": "int8",
        "head": "float",
    }
    assert (told["images"], told["method"]) == (16, "mse")


def test_what_was_typed_for_a_foreign_file_travels_inside_the_new_one(folder: Path, tmp_path: Path) -> None:
    typed = ["--input-size", "3x8x8", "--scale", str(1 / 64), "--mean", "2,2,2", "--std", "1,1,1"]
    assert main(command(folder, tmp_path / "a.onnx", *ELSEWHERE, *typed, "-q", model="bare.onnx")) == 0
    spec = read_spec(onnx.load(tmp_path / "a.onnx"))
    assert spec is not None
    assert (spec.input.scale, spec.input.mean) == (1 / 64, (2, 2, 2))


def test_never_slower(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = [*ELSEWHERE, "--kernel-times", str(folder / "slow.json")]
    assert main(command(folder, tmp_path / "a.onnx", *slow)) == 0
    assert "the file stays float" in capsys.readouterr().err
    assert not any(node.op_type == "QuantizeLinear" for node in onnx.load(tmp_path / "a.onnx").graph.node)
    assert "nothing became int8" in error_of(capsys, command(folder, tmp_path / "b.onnx", *slow, "--require-int8"), code=3)
    assert not (tmp_path / "b.onnx").exists()
    assert main(command(folder, tmp_path / "b.onnx", *slow, "--require-int8", "--force", "-q")) == 0
    assert any(node.op_type == "QuantizeLinear" for node in onnx.load(tmp_path / "b.onnx").graph.node)


def test_a_budget_that_nothing_keeps(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fast = json.loads((folder / "slow.json").read_text())
    for row in fast["kernels"]:
        row["us"] = 0.1 if row["precision"] == "int8" else 1.0
    (tmp_path / "fast.json").write_text(json.dumps(fast))
    budget = [*ELSEWHERE, "--kernel-times", str(tmp_path / "fast.json"), "--max-drop"]
    assert main(command(folder, tmp_path / "a.onnx", *budget, "0.1")) == 3
    out, err = capsys.readouterr()
    assert "undecided" in out
    assert "images, or a larger --max-drop" in err
    assert not list(tmp_path.glob("a.*"))
    (tmp_path / "scores.py").write_text("def right():\n    return lambda outputs, batch: outputs['logits'].argmax(1) == batch.labels\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(command(folder, tmp_path / "a.onnx", *budget, "0.9", "--metric", "scores:right")) == 0
    out, err = capsys.readouterr()
    assert "inside" in out
    assert (tmp_path / "a.onnx").is_file()


def test_statistics_stand_for_the_images(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = [*ELSEWHERE, "--statistics", str(tmp_path / "net.stat"), "--method", "minmax", "--json"]
    ranges: list[object] = []
    for number, data in enumerate((True, False)):
        assert main(command(folder, tmp_path / f"{number}.onnx", *typed, data=data)) == 0
        ranges.append(json.loads(capsys.readouterr().out)["ranges"])
    assert ranges[0] == ranges[1]
    changed = with_spec(net(), SPEC)
    changed.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((16, 3, 3, 3), np.float32), "w0"))
    save_onnx(changed, tmp_path / "other.onnx")
    again = ["quantize", str(tmp_path / "other.onnx"), "-o", str(tmp_path / "c.onnx"), *typed[:-1]]
    assert "statistics are of another model" in error_of(capsys, again)
    assert not (tmp_path / "c.onnx").exists()


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", onnx.TensorProto.FLOAT), ("fp16", onnx.TensorProto.FLOAT16)])
def test_float_files(precision: str, dtype: int, folder: Path, tmp_path: Path) -> None:
    assert main(command(folder, tmp_path / "a.onnx", "--precision", precision, "-q", data=False)) == 0
    assert {one.data_type for one in onnx.load(tmp_path / "a.onnx").graph.initializer if len(one.dims) == 4} == {dtype}


WRONG = {
    "no images": ([], "calibration needs images"),
    "method": (["--method", "median"], "minmax, percentile"),
    "percentile": (["--method", "percentile", "--percentile", "0.99"], "percentile must be"),
    "correction": (["--correct", "bias,magic"], "equalise, bias, rounding, gates, or none"),
    "precision": (["--precision", "int4"], "int8, fp16, fp32"),
    "target": (["--target", "toaster"], "tensorrt"),
    "operators": (["--op-types", "Conv,Softmax"], "no int8 form"),
    "pattern": (["--keep-float", "gone*"], "no node has this name"),
    "layers": (["--layers", "gone.toml"], "gone.toml"),
    "metric without limit": (["--metric", "a:b"], "--max-drop"),
    "table": (["--kernel-times", "gone.json"], "gone.json"),
    "no table": (["--max-drop", "1"], "--kernel-times"),
}


@pytest.mark.parametrize(("typed", "told"), WRONG.values(), ids=WRONG.keys())
def test_wrong_options_leave_nothing(typed: list[str], told: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = [] if "--target" in typed else ELSEWHERE
    assert told in error_of(capsys, command(folder, tmp_path / "a.onnx", *elsewhere, *typed, data=bool(typed)))
    assert not list(tmp_path.iterdir())


def test_an_output_never_replaces_its_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "net.onnx").read_bytes()
    error_of(capsys, command(folder, folder / "net.onnx", *ELSEWHERE))
    assert (folder / "net.onnx").read_bytes() == before


def run_with(start: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    code = f"{start}; import sys; from edgerec.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.name == "nt", reason="no limit on the size of files")
@pytest.mark.parametrize("bytes_left", [0, 3000])
def test_a_disk_that_takes_no_more_leaves_the_old_file(bytes_left: int, folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "a.onnx"
    old.write_bytes(b"old")
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes_left}, {bytes_left}))"
    done = run_with(limit, command(folder, old, *ELSEWHERE))
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


# Each function is replaced by one that kills the process, as `kill -9` would, when it is reached.
MOMENTS = ["graph.file.load_onnx", "graph.cleanup.normalise", "compress.quantization.engine.fit", "runtime.files._sync"]


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_process_leaves_the_old_file(moment: str, folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "a.onnx"
    old.write_bytes(b"old")
    module, _, name = f"edgerec.{moment}".rpartition(".")
    kill = f"import os, importlib; importlib.import_module('{module}').{name} = lambda *_: os.kill(os.getpid(), 9)"
    done = run_with(kill, command(folder, old, *ELSEWHERE))
    assert done.returncode == -9, done.stderr
    assert old.read_bytes() == b"old"
