"""Bad input, interrupts and full disks: an exit code, three lines, and no trace in the files."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgerec.cli import main

INTERRUPTIBLE = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from edgerec.cli import main; sys.exit(main(sys.argv[1:]))"
)
LIMITED = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); from edgerec.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.parametrize(
    "arguments", [["fly"], ["predict"], ["train", "--model", "cnn"], ["bench", "a.onnx", "--data", "mnist-8k", "--batch", "none"]]
)
def test_wrong_usage_is_2(arguments: list[str], error_of: Callable[..., str]) -> None:
    error_of(*arguments, code=2)


def test_unknown_names_list_the_choices(tmp_path: Path, exported: Path, error_of: Callable[..., str]) -> None:
    out = str(tmp_path / "a.safetensors")
    assert "resnet20" in error_of("train", "--model", "resnet21", "--data", "mnist-8k", "-o", out)
    assert "fashion-mnist" in error_of("train", "--model", "cnn", "--data", "fashion", "-o", out)
    assert "openvino" in error_of("bench", str(exported / "a.onnx"), "--data", str(exported / "data"), "--provider", "gpu")
    assert "folder" in error_of("train", "--model", "cnn", "--data", "mnist-8k", "--augment", "wild", "-o", out)
    assert list(tmp_path.iterdir()) == []


def test_a_provider_that_is_not_installed_says_which_extra(exported: Path, error_of: Callable[..., str]) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("CUDA is installed here")
    assert "edgerec[cuda]" in error_of("bench", str(exported / "a.onnx"), "--data", str(exported / "data"), "--provider", "cuda")


def test_missing_empty_and_damaged_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error_of: Callable[..., str], make_pictures: Callable[..., None]
) -> None:
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

    assert "does not exist" in error_of(*train(tmp_path / "no" / "where"))
    (tmp_path / "empty").mkdir()
    error_of(*train(tmp_path / "empty"))
    make_pictures(tmp_path / "data")
    (tmp_path / "data" / "void").mkdir()
    assert "void" in error_of(*train(tmp_path / "data"))
    (tmp_path / "data" / "void").rmdir()
    for number in range(10):  # enough that training meets one: the calibration images are not read here
        damaged = tmp_path / "data" / "dark" / f"{number}.png"
        damaged.write_bytes(damaged.read_bytes()[:60])
    assert re.search(r"dark/\d\.png", error_of(*train(tmp_path / "data")).replace(os.sep, "/"))
    assert not (tmp_path / "a.safetensors").exists()
    assert not list(tmp_path.glob("a.*")), "said before training"
    capsys.readouterr()
    assert main(train(tmp_path / "data", "--skip-bad")) == 0
    assert "damaged images" in capsys.readouterr().err


def test_files_that_are_not_what_they_should_be(
    tmp_path: Path, exported: Path, capsys: pytest.CaptureFixture[str], error_of: Callable[..., str], bare: Path
) -> None:
    out = str(tmp_path / "o.onnx")
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{broken}")
    error_of("export", str(junk), "-o", out)
    error_of("export", str(tmp_path / "none.safetensors"), "-o", out)
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    error_of("quantize", str(tmp_path / "junk.onnx"), "--data", str(exported / "data"), "-o", out)
    error_of("predict", str(tmp_path / "junk.onnx"), str(exported / "data" / "dark" / "0.png"))
    error_of("predict", str(exported / "a.onnx"), str(junk))
    assert "safetensors" in error_of("prune", str(exported / "a.onnx"), "--speedup", "2", "-o", str(tmp_path / "p.safetensors"))
    assert "input-size" in error_of("bench", str(bare), "--data", str(exported / "data"))
    assert not Path(out).exists()


def test_outputs_that_cannot_be_written(tmp_path: Path, exported: Path, error_of: Callable[..., str]) -> None:
    start = time.perf_counter()
    error_of("train", "--model", "cnn", "--data", "mnist-8k", "-o", str(tmp_path / "no" / "a.safetensors"))
    error_of("export", str(exported / "a.safetensors"), "-o", str(tmp_path / "no" / "a.onnx"))
    error_of("quantize", str(exported / "a.onnx"), "--data", "mnist-8k", "-o", str(tmp_path / "no" / "a.onnx"))
    error_of("demo", "-o", str(tmp_path / "no" / "demo"))
    assert time.perf_counter() - start < 10, "said before any work"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for child processes")
def test_an_interrupt_is_130_and_leaves_old_files_intact(tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    target.write_bytes(b"old")
    arguments = ["train", "--model", "cnn", "--data", "mnist-8k", "--epochs", "500", "-o", str(target)]
    command = [sys.executable, "-c", INTERRUPTIBLE, *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("epoch 1: ")
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted" in err
    assert target.read_bytes() == b"old"
    assert main([*arguments, "--epochs", "2", "--resume"]) == 1, "other settings are another run"
    assert target.read_bytes() == b"old"


def test_an_interrupt_while_the_command_loads_is_130() -> None:
    code = (
        "import sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith('edgerec.cli.app'): raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from edgerec.cli import main\n"
        "sys.exit(main(['--help']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("package", "extra", "verb"), [("torch", "toolkit", "train"), ("onnx", "quantize", "quantize"), ("onnxruntime", "cpu", "bench")]
)
def test_a_missing_package_names_its_extra(package: str, extra: str, verb: str, exported: Path, tmp_path: Path) -> None:
    out = str(tmp_path / ("o.safetensors" if verb == "train" else "o.onnx"))
    arguments = {
        "train": ["--model", "cnn", "-o", out],
        "quantize": [str(exported / "a.onnx"), "-o", out],
        "bench": [str(exported / "a.onnx")],
    }
    code = f"import sys; sys.modules[{package!r}] = None; from edgerec.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, verb, *arguments[verb], "--data", str(exported / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert f"edgerec[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_images_of_other_classes_are_refused(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], error_of: Callable[..., str], make_pictures: Callable[..., None]
) -> None:
    make_pictures(tmp_path / "data")
    (tmp_path / "data" / "dark").rename(tmp_path / "data" / "night")
    assert "night" in error_of("bench", str(exported / "a.onnx"), "--data", str(tmp_path / "data"))
    assert "night" in error_of("quantize", str(exported / "a.onnx"), "--data", str(tmp_path / "data"), "-o", str(tmp_path / "q.onnx"))


@pytest.mark.skipif(os.name == "nt", reason="no limit on the size of files")
@pytest.mark.parametrize("verb", ["train", "export"])
def test_a_disk_that_takes_no_more_leaves_the_old_file(verb: str, tmp_path: Path, exported: Path) -> None:
    old = tmp_path / ("a.safetensors" if verb == "train" else "a.onnx")
    old.write_bytes(b"old")
    data = str(exported / "data")
    source = {
        "train": ["--model", "cnn", "--input-size", "1x12x12", "--epochs", "1"],
        "export": [str(exported / "a.safetensors")],
    }
    command = [sys.executable, "-c", LIMITED, verb, *source[verb], "--data", data, "-o", str(old)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search("error: the (output cannot be written|temporary folder takes no more)", done.stderr), done.stderr
    assert "what to do: " in done.stderr
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


def test_an_output_never_replaces_its_input(exported: Path, error_of: Callable[..., str]) -> None:
    before = (exported / "a.onnx").read_bytes()
    error_of("quantize", str(exported / "a.onnx"), "--data", str(exported / "data"), "-o", str(exported / "a.onnx"))
    error_of("prune", str(exported / "a.safetensors"), "--speedup", "2", "-o", str(exported / "a.safetensors"))
    assert (exported / "a.onnx").read_bytes() == before
