"""The command as people type it: what it prints, its exit codes, and that bad input leaves no trace."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgerec.cli import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of two easy classes, trained by the command itself."""
    folder = tmp_path_factory.mktemp("trained")
    images(folder / "data")
    code = main(
        [
            "train",
            "--model",
            "cnn",
            "--data",
            str(folder / "data"),
            "--input-size",
            "1x12x12",
            "--epochs",
            "3",
            "--batch",
            "16",
            "--augment",
            "none",
            "-o",
            str(folder / "a.safetensors"),
            "-q",
        ]
    )
    assert code == 0
    return folder


@pytest.fixture(scope="module")
def exported(trained: Path) -> Path:
    assert main(["export", str(trained / "a.safetensors"), "-o", str(trained / "a.onnx"), "--data", str(trained / "data"), "-q"]) == 0
    return trained


def images(folder: Path, count: int = 60) -> None:
    """Dark and bright pictures, one sub-folder a class."""
    noise = np.random.default_rng(0)
    for name, level in (("bright", 200), ("dark", 40)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(noise.integers(level - 40, level + 40, (12, 12), np.uint8)).save(folder / name / f"{number}.png")


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 1) -> str:
    """Run the command, expect this exit code and no traceback, return what it printed on stderr."""
    capsys.readouterr()
    assert main(list(arguments)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    if code in (1, 3):
        assert err.splitlines()[-3].startswith("error: "), err
        assert err.splitlines()[-2].startswith("  given: "), err
        assert err.splitlines()[-1].startswith("  what to do: "), err
    return err


def test_the_whole_road_from_a_folder(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, data = exported, str(exported / "data")
    assert (
        main(
            [
                "prune",
                str(folder / "a.safetensors"),
                "--speedup",
                "1.5",
                "-o",
                str(folder / "b.safetensors"),
                "--plan",
                str(folder / "plan.json"),
                "--data",
                data,
                "-q",
            ]
        )
        == 0
    )
    assert (
        main(["prune", str(folder / "a.safetensors"), "--apply", str(folder / "plan.json"), "-o", str(folder / "again.safetensors"), "-q"])
        == 0
    )
    assert (
        main(
            [
                "distill",
                str(folder / "b.safetensors"),
                "--teacher",
                str(folder / "a.onnx"),
                "--data",
                data,
                "--epochs",
                "2",
                "--batch",
                "16",
                "--augment",
                "none",
                "-o",
                str(folder / "c.safetensors"),
                "-q",
            ]
        )
        == 0
    )
    assert main(["export", str(folder / "c.safetensors"), "-o", str(folder / "c.onnx"), "-q"]) == 0
    assert main(["quantize", str(folder / "c.onnx"), "--data", data, "-o", str(folder / "c.int8.onnx"), "-q"]) == 0
    capsys.readouterr()
    assert (
        main(
            [
                "bench",
                str(folder / "a.safetensors"),
                str(folder / "a.onnx"),
                str(folder / "c.int8.onnx"),
                "--data",
                data,
                "--threads",
                "1",
                "--json",
            ]
        )
        == 0
    )
    records = json.loads(capsys.readouterr().out)
    assert [record["provider"] for record in records] == ["torch", "cpu", "cpu"]
    assert [record["accuracy"]["top1"] for record in records] == [1.0] * 3, "dark and bright are easy to tell apart"
    assert records[0]["speedup"]["ratio"] == 1
    assert main(["predict", str(folder / "c.int8.onnx"), str(folder / "data" / "dark" / "0.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["predictions"][0]["label"] == "dark"


def test_the_same_command_gives_the_same_bytes(exported: Path) -> None:
    again = exported / "again.onnx"
    assert main(["export", str(exported / "a.safetensors"), "-o", str(again), "--data", str(exported / "data"), "-q"]) == 0
    assert again.read_bytes() == (exported / "a.onnx").read_bytes()


def test_help_names_every_verb_and_each_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for verb in ("train", "prune", "distill", "export", "quantize", "bench", "predict", "demo", "cache"):
        assert verb in told
        assert main([verb, "--help"]) == 0
        assert f"Example: edgerec {verb}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "arguments", [["fly"], ["predict"], ["train", "--model", "cnn"], ["bench", "a.onnx", "--data", "mnist-8k", "--batch", "none"]]
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    error_of(capsys, *arguments, code=2)


def test_unknown_names_list_the_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str], exported: Path) -> None:
    out = str(tmp_path / "a.safetensors")
    assert "resnet20" in error_of(capsys, "train", "--model", "resnet21", "--data", "mnist-8k", "-o", out)
    assert "fashion-mnist" in error_of(capsys, "train", "--model", "cnn", "--data", "fashion", "-o", out)
    assert "openvino" in error_of(capsys, "bench", str(exported / "a.onnx"), "--data", str(exported / "data"), "--provider", "gpu")
    assert "folder" in error_of(capsys, "train", "--model", "cnn", "--data", "mnist-8k", "--augment", "wild", "-o", out)
    assert "percentile" in error_of(
        capsys, "quantize", str(exported / "a.onnx"), "--data", "mnist-8k", "--method", "entropy", "-o", str(tmp_path / "a.onnx")
    )
    assert list(tmp_path.iterdir()) == []


def test_a_provider_that_is_not_installed_says_which_extra(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("CUDA is installed here")
    assert "edgerec[cuda]" in error_of(capsys, "bench", str(exported / "a.onnx"), "--data", str(exported / "data"), "--provider", "cuda")


def test_missing_empty_and_damaged_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def train(data: Path, *more: str) -> list[str]:
        return [
            "train",
            "--model",
            "cnn",
            "--data",
            str(data),
            "--epochs",
            "1",
            "-o",
            str(tmp_path / "a.safetensors"),
            "--input-size",
            "1x12x12",
            *more,
        ]

    assert "does not exist" in error_of(capsys, *train(tmp_path / "no" / "where"))
    (tmp_path / "empty").mkdir()
    error_of(capsys, *train(tmp_path / "empty"))
    images(tmp_path / "data")
    (tmp_path / "data" / "void").mkdir()
    assert "void" in error_of(capsys, *train(tmp_path / "data"))
    (tmp_path / "data" / "void").rmdir()
    for number in range(10):  # enough that training meets one: the calibration images are not read here
        damaged = tmp_path / "data" / "dark" / f"{number}.png"
        damaged.write_bytes(damaged.read_bytes()[:60])
    assert re.search(r"dark/\d\.png", error_of(capsys, *train(tmp_path / "data")).replace(os.sep, "/"))
    assert not (tmp_path / "a.safetensors").exists()
    assert main(train(tmp_path / "data", "--skip-bad")) == 0


def test_files_that_are_not_what_they_should_be(tmp_path: Path, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "o.onnx")
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{broken}")
    error_of(capsys, "export", str(junk), "-o", out)
    error_of(capsys, "export", str(tmp_path / "none.safetensors"), "-o", out)
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    error_of(capsys, "quantize", str(tmp_path / "junk.onnx"), "--data", str(exported / "data"), "-o", out)
    error_of(capsys, "predict", str(tmp_path / "junk.onnx"), str(exported / "data" / "dark" / "0.png"))
    error_of(capsys, "predict", str(exported / "a.onnx"), str(junk))
    assert "safetensors" in error_of(capsys, "prune", str(exported / "a.onnx"), "--speedup", "2", "-o", str(tmp_path / "p.safetensors"))
    assert "input-size" in error_of(
        capsys, "bench", str(_without_metadata(exported / "a.onnx", tmp_path)), "--data", str(exported / "data")
    )
    assert not Path(out).exists()


def _without_metadata(model: Path, folder: Path) -> Path:
    import onnx

    bare = onnx.load(model)
    del bare.metadata_props[:]
    onnx.save(bare, folder / "bare.onnx")
    return folder / "bare.onnx"


def test_a_foreign_file_takes_its_spec_from_the_options(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = str(_without_metadata(exported / "a.onnx", tmp_path))
    options = ["--input-size", "1x12x12", "--mean", "0.449", "--std", "0.226"]
    assert main(["bench", bare, "--data", str(exported / "data"), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["accuracy"]["top1"] == 1.0
    error_of(capsys, "bench", bare, "--data", str(exported / "data"), "--input-size", "1x13x12")  # the model refuses the shape
    error_of(capsys, "bench", bare, "--data", str(exported / "data"), "--input-size", "12")


def test_outputs_that_cannot_be_written(tmp_path: Path, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = time.perf_counter()
    error_of(capsys, "train", "--model", "cnn", "--data", "mnist-8k", "-o", str(tmp_path / "no" / "a.safetensors"))
    error_of(capsys, "export", str(exported / "a.safetensors"), "-o", str(tmp_path / "no" / "a.onnx"))
    error_of(capsys, "quantize", str(exported / "a.onnx"), "--data", "mnist-8k", "-o", str(tmp_path / "no" / "a.onnx"))
    error_of(capsys, "demo", "-o", str(tmp_path / "no" / "demo"))
    assert time.perf_counter() - start < 10, "said before any work"
    assert list(tmp_path.iterdir()) == []


def test_your_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my_models.py").write_text(
        "from torch import nn\n"
        "def build(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))\n"
        "def broken(): raise RuntimeError('no licence')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    out = str(tmp_path / "own.onnx")
    assert "no licence" in error_of(capsys, "export", "my_models:broken", "--input-size", "3x16x16", "-o", out)
    assert "input-size" in error_of(capsys, "export", "my_models:build", "-o", out)
    assert main(["export", "my_models:build", "--input-size", "3x16x16", "-o", out, "-q"]) == 0
    assert Path(out).is_file()


def test_a_pickle_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own_model.py").write_text("from torch import nn\ndef build(): return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))\n")
    monkeypatch.syspath_prepend(tmp_path)
    trace = tmp_path / "executed"
    # A pickle by hand whose loading would call os.mkdir (protocol 0: GLOBAL, argument, REDUCE).
    (tmp_path / "evil.pth").write_bytes(f"cos\nmkdir\n(V{trace}\ntR.".encode())
    error_of(
        capsys,
        "export",
        "own_model:build",
        "--weights",
        str(tmp_path / "evil.pth"),
        "--input-size",
        "3x4x4",
        "-o",
        str(tmp_path / "o.onnx"),
    )
    assert not trace.exists()


def test_cache_lists_and_clears(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edgerec.runtime import cache

    cache.store("logits", "key", bytes(2000))
    assert main(["cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kinds"] == {"logits": {"files": 1, "size_bytes": 2000}}
    assert main(["cache", "--clear", "all"]) == 0
    assert cache.entries() == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for child processes")
def test_an_interrupt_is_130_and_leaves_old_files_intact(tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    target.write_bytes(b"old")
    command = [sys.executable, "-m", "edgerec", "train", "--model", "cnn", "--data", "mnist-8k", "--epochs", "500", "-o", str(target)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    time.sleep(1.0)  # somewhere between the imports and the first epoch
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


LIMITED = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); from edgerec.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.skipif(os.name == "nt", reason="no limit on the size of files")
@pytest.mark.parametrize("verb", ["train", "export", "quantize"])
def test_a_disk_that_takes_no_more_leaves_the_old_file(verb: str, tmp_path: Path, exported: Path) -> None:
    old = tmp_path / ("a.safetensors" if verb == "train" else "a.onnx")
    old.write_bytes(b"old")
    data = str(exported / "data")
    source = {
        "train": ["--model", "cnn", "--input-size", "1x12x12", "--epochs", "1"],
        "export": [str(exported / "a.safetensors")],
        "quantize": [str(exported / "a.onnx")],
    }
    command = [sys.executable, "-c", LIMITED, verb, *source[verb], "--data", data, "-o", str(old)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search("error: the (output cannot be written|temporary folder takes no more)", done.stderr), done.stderr
    assert "what to do: " in done.stderr
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


def test_a_model_that_refuses_the_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "square_model.py").write_text("from torch import nn\ndef build(): return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "input-size" in error_of(capsys, "export", "square_model:build", "--input-size", "3x5x5", "-o", str(tmp_path / "o.onnx"))
    assert not (tmp_path / "o.onnx").exists()
