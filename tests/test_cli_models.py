"""Models and files that edgerec did not make, given on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgerec.cli import main


def test_a_foreign_file_takes_its_spec_from_the_options(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], error_of: Callable[..., str], bare: Path
) -> None:
    natural = json.loads(_metadata(exported / "a.onnx"))["inputs"][0]
    options = ["--input-size", "1x12x12", "--mean", str(natural["mean"][0]), "--std", str(natural["std"][0])]
    assert main(["bench", "--starts", "1", str(bare), "--data", str(exported / "data"), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["records"][0]["accuracy"]["top1"] == 1.0
    error_of(
        "bench", "--starts", "1", str(bare), "--data", str(exported / "data"), "--input-size", "1x13x12"
    )  # the model refuses the shape
    error_of("bench", "--starts", "1", str(bare), "--data", str(exported / "data"), "--input-size", "12")


def test_your_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error_of: Callable[..., str]) -> None:
    (tmp_path / "my_models.py").write_text(
        "from torch import nn\n"
        "def build(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))\n"
        "def broken(): raise RuntimeError('no licence')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    out = str(tmp_path / "own.onnx")
    assert "no licence" in error_of("export", "my_models:broken", "--input-size", "3x16x16", "-o", out)
    assert "input-size" in error_of("export", "my_models:build", "-o", out)
    assert main(["export", "my_models:build", "--input-size", "3x16x16", "-o", out, "-q"]) == 0
    assert Path(out).is_file()


def test_a_pickle_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error_of: Callable[..., str]) -> None:
    (tmp_path / "own_model.py").write_text("from torch import nn\ndef build(): return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))\n")
    monkeypatch.syspath_prepend(tmp_path)
    trace = tmp_path / "executed"
    # A pickle by hand whose loading would call os.mkdir (protocol 0: GLOBAL, argument, REDUCE).
    (tmp_path / "evil.pth").write_bytes(f"cos\nmkdir\n(V{trace}\ntR.".encode())
    error_of(
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


def test_training_goes_on_from_a_checkpoint(exported: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    common = ["--data", str(exported / "data"), "--epochs", "1", "--batch", "16", "--augment", "none", "-q"]
    assert main(["train", "--model", str(exported / "a.safetensors"), *common, "-o", str(again)]) == 0
    from edgerec.train import load_checkpoint

    assert [step["step"] for step in load_checkpoint(again).spec.provenance.history] == ["train", "train"]


def test_your_own_model_trains_distils_and_is_measured(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error_of: Callable[..., str]
) -> None:
    (tmp_path / "dense_model.py").write_text("from torch import nn\ndef build(): return nn.Sequential(nn.Flatten(), nn.Linear(144, 2))\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # for the processes that measure
    data = ["--data", str(exported / "data")]
    common = [*data, "--epochs", "1", "--batch", "16", "--augment", "none", "-q"]
    own, taught = str(tmp_path / "own.safetensors"), str(tmp_path / "taught.safetensors")
    assert main(["train", "--model", "dense_model:build", "--input-size", "1x12x12", *common, "-o", own]) == 0
    assert "dense_model:build" in error_of("export", own, "-o", str(tmp_path / "o.onnx"))
    mine = ["--factory", "dense_model:build"]
    assert main(["distill", own, "--teacher", str(exported / "a.safetensors"), *mine, *common, "-o", taught]) == 0
    assert (
        main(["distill", str(exported / "a.safetensors"), "--teacher", taught, *mine, *common, "-o", str(tmp_path / "b.safetensors")]) == 0
    )
    assert main(["bench", "--starts", "1", str(exported / "a.safetensors"), taught, *mine, *data, "-q"]) == 0


def test_probabilities_stay_what_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str], error_of: Callable[..., str]) -> None:
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
    assert "logits, probabilities" in error_of(*arguments, "--scores", "odds")


def test_labels_come_from_a_file(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], error_of: Callable[..., str]) -> None:
    names = tmp_path / "names.txt"
    names.write_text("day\nnight\n")
    picture = str(exported / "data" / "dark" / "0.png")
    assert main(["predict", str(exported / "a.onnx"), picture, "--labels", str(names), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["predictions"][0]["label"] == "night"
    names.write_bytes(b"\xff\xfe\xff")
    error_of("predict", str(exported / "a.onnx"), picture, "--labels", str(names))
    error_of("predict", str(exported / "a.onnx"), picture, "--labels", str(tmp_path / "no.txt"))


def test_a_model_that_refuses_the_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error_of: Callable[..., str]) -> None:
    (tmp_path / "square_model.py").write_text("from torch import nn\ndef build(): return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "input-size" in error_of("export", "square_model:build", "--input-size", "3x5x5", "-o", str(tmp_path / "o.onnx"))
    assert not (tmp_path / "o.onnx").exists()


def test_a_file_that_knows_its_input_is_believed_aloud(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "--starts", "1", str(exported / "a.onnx"), "--data", str(exported / "data"), "--json"]
    assert main([*arguments, "--scale", "1"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["records"][0]["accuracy"]["top1"] == 1.0
    assert "a.onnx says itself" in err


def _metadata(model: Path) -> str:
    import onnx

    return {entry.key: entry.value for entry in onnx.load(model).metadata_props}["edgerec"]
