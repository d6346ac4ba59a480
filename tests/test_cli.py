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
    assert main(["quantize", str(folder / "c.onnx"), "--data", data, "--force", "-o", str(folder / "c.int8.onnx"), "-q"]) == 0
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
    for verb in ("train", "prune", "distill", "export", "quantize", "bench", "diff", "inspect", "predict", "demo", "cache"):
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
    assert not list(tmp_path.glob("a.*")), "said before training"
    capsys.readouterr()
    assert main(train(tmp_path / "data", "--skip-bad")) == 0
    assert "damaged images" in capsys.readouterr().err


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


def _metadata(model: Path) -> str:
    import onnx

    return {entry.key: entry.value for entry in onnx.load(model).metadata_props}["edgerec"]


def test_a_foreign_file_takes_its_spec_from_the_options(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = str(_without_metadata(exported / "a.onnx", tmp_path))
    natural = json.loads(_metadata(exported / "a.onnx"))["inputs"][0]
    options = ["--input-size", "1x12x12", "--mean", str(natural["mean"][0]), "--std", str(natural["std"][0])]
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

    cache.store("teacher-logits", "key", bytes(2000))
    assert main(["cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kinds"] == {"teacher-logits": {"files": 1, "size_bytes": 2000}}
    assert main(["cache", "--clear", "all"]) == 0
    assert cache.entries() == []


# A process whose parent runs in the background inherits that SIGINT is ignored.
INTERRUPTIBLE = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from edgerec.cli import main; sys.exit(main(sys.argv[1:]))"
)


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


def test_a_seed_does_not_move_images_between_splits(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = str(exported / "data"), exported / "seven.safetensors"
    common = ["--data", data, "--input-size", "1x12x12", "--epochs", "1", "--batch", "16"]
    assert main(["train", "--model", "cnn", *common, "--seed", "7", "-o", str(out), "-q"]) == 0
    from edgerec.train import load_checkpoint

    trained = load_checkpoint(out).spec.provenance.data_fingerprint
    capsys.readouterr()
    assert main(["bench", str(exported / "a.onnx"), "--data", data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["data_fingerprint"] == trained


def test_images_of_other_classes_are_refused(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images(tmp_path / "data")
    (tmp_path / "data" / "dark").rename(tmp_path / "data" / "night")
    assert "night" in error_of(capsys, "bench", str(exported / "a.onnx"), "--data", str(tmp_path / "data"))
    assert "night" in error_of(
        capsys, "quantize", str(exported / "a.onnx"), "--data", str(tmp_path / "data"), "-o", str(tmp_path / "q.onnx")
    )


def test_training_goes_on_from_a_checkpoint(exported: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    common = ["--data", str(exported / "data"), "--epochs", "1", "--batch", "16", "--augment", "none", "-q"]
    assert main(["train", "--model", str(exported / "a.safetensors"), *common, "-o", str(again)]) == 0
    from edgerec.train import load_checkpoint

    assert [step["step"] for step in load_checkpoint(again).spec.provenance.history] == ["train", "train"]


def test_your_own_model_trains_distils_and_is_measured(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dense_model.py").write_text("from torch import nn\ndef build(): return nn.Sequential(nn.Flatten(), nn.Linear(144, 2))\n")
    monkeypatch.syspath_prepend(tmp_path)
    data = ["--data", str(exported / "data")]
    common = [*data, "--epochs", "1", "--batch", "16", "--augment", "none", "-q"]
    own, taught = str(tmp_path / "own.safetensors"), str(tmp_path / "taught.safetensors")
    assert main(["train", "--model", "dense_model:build", "--input-size", "1x12x12", *common, "-o", own]) == 0
    assert "dense_model:build" in error_of(capsys, "export", own, "-o", str(tmp_path / "o.onnx"))
    mine = ["--factory", "dense_model:build"]
    assert main(["distill", own, "--teacher", str(exported / "a.safetensors"), *mine, *common, "-o", taught]) == 0
    assert (
        main(["distill", str(exported / "a.safetensors"), "--teacher", taught, *mine, *common, "-o", str(tmp_path / "b.safetensors")]) == 0
    )
    assert main(["bench", str(exported / "a.safetensors"), taught, *mine, *data, "-q"]) == 0


def test_probabilities_stay_what_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from onnx import TensorProto, helper, save

    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 2, 2])  # a fixed batch of one
    shares = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("Softmax", ["flat"], ["y"])]
    save(
        helper.make_model(helper.make_graph(nodes, "g", [image], [shares]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "p.onnx",
    )
    for number in range(2):
        Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8)).save(tmp_path / f"{number}.png")
    arguments = [
        "predict",
        str(tmp_path / "p.onnx"),
        str(tmp_path / "0.png"),
        str(tmp_path / "1.png"),
        "--input-size",
        "1x2x2",
        "--scale",
        "1",
        "--json",
    ]
    assert main([*arguments, "--scores", "probabilities"]) == 0
    found = [one["predictions"][0] for one in json.loads(capsys.readouterr().out)]
    expected = np.exp(3) / np.exp(np.arange(4)).sum()  # softmax of the pixels 0, 1, 2, 3
    assert [(one["index"], pytest.approx(one["score"])) for one in found] == [(3, expected)] * 2
    assert "logits, probabilities" in error_of(capsys, *arguments, "--scores", "odds")


def test_labels_come_from_a_file(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "names.txt"
    names.write_text("day\nnight\n")
    picture = str(exported / "data" / "dark" / "0.png")
    assert main(["predict", str(exported / "a.onnx"), picture, "--labels", str(names), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["predictions"][0]["label"] == "night"
    names.write_bytes(b"\xff\xfe\xff")
    error_of(capsys, "predict", str(exported / "a.onnx"), picture, "--labels", str(names))
    error_of(capsys, "predict", str(exported / "a.onnx"), picture, "--labels", str(tmp_path / "no.txt"))


def test_the_demo_does_not_write_into_somebody_elses_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text("mine")
    error_of(capsys, "demo", "-o", str(tmp_path))
    assert (tmp_path / "README.md").read_text() == "mine"


LIMITED = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); from edgerec.cli import main; sys.exit(main(sys.argv[1:]))"


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


def test_a_model_that_refuses_the_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "square_model.py").write_text("from torch import nn\ndef build(): return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "input-size" in error_of(capsys, "export", "square_model:build", "--input-size", "3x5x5", "-o", str(tmp_path / "o.onnx"))
    assert not (tmp_path / "o.onnx").exists()


def test_a_file_that_knows_its_input_is_believed_aloud(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", str(exported / "a.onnx"), "--data", str(exported / "data"), "--json"]
    assert main([*arguments, "--scale", "1"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)[0]["accuracy"]["top1"] == 1.0
    assert "a.onnx says itself" in err


def test_an_output_never_replaces_its_input(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (exported / "a.onnx").read_bytes()
    error_of(capsys, "quantize", str(exported / "a.onnx"), "--data", str(exported / "data"), "-o", str(exported / "a.onnx"))
    error_of(capsys, "prune", str(exported / "a.safetensors"), "--speedup", "2", "-o", str(exported / "a.safetensors"))
    assert (exported / "a.onnx").read_bytes() == before


def test_tables_go_to_stdout_and_fit_narrow_terminals(
    exported: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["bench", str(exported / "a.onnx"), "--data", str(exported / "data")]
    assert main(arguments) == 0
    wide = capsys.readouterr().out.splitlines()
    assert (len(wide), wide[0].split()[0], wide[1].split()[0]) == (2, "model", "a.onnx")
    monkeypatch.setenv("COLUMNS", "60")
    assert main(arguments) == 0
    narrow = capsys.readouterr().out.splitlines()
    assert max(map(len, narrow)) <= 60
    assert narrow[0].split() == ["model", "a.onnx"]
