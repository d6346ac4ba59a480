"""`edgerec diff` as people type it."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest
from PIL import Image

from edgerec.cli import main
from edgerec.graph.file import save_onnx, with_spec
from edgerec.runtime.spec import InputSpec, ModelSpec

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3, 8, 8] input) => (float[N, 2] logits) {
    a_layer_with_a_name_that_is_longer_than_the_columns = Conv (input, w0)
    b = Relu (a_layer_with_a_name_that_is_longer_than_the_columns)
    c = GlobalAveragePool (b)
    d = Flatten (c)
    logits = Gemm <transB = 1> (d, w1)
}
"""
SPEC = ModelSpec((InputSpec(8, 8),), labels=("bright", "dark"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of two classes, a file, one with a wrong weight, and one that says nothing about its input."""
    noise = np.random.default_rng(0)
    for name, level in (("bright", 200), ("dark", 40)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(30):
            Image.fromarray(noise.integers(level - 40, level + 40, (8, 8, 3), np.uint8)).save(tmp_path / "data" / name / f"{number}.png")
    weights = {"w0": noise.normal(size=(4, 3, 3, 3)).astype(np.float32), "w1": noise.normal(size=(2, 4)).astype(np.float32)}
    for file, scale in (("a", 1.0), ("wrong", -1.0)):
        model = onnx.parser.parse_model(TEXT)
        for name, weight in weights.items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(weight * np.float32(scale if name == "w1" else 1), name))
        save_onnx(with_spec(model, SPEC), tmp_path / f"{file}.onnx")
        save_onnx(model, tmp_path / f"{file}-foreign.onnx")
    return tmp_path


def run(folder: Path, *arguments: str, code: int = 0) -> None:
    assert (
        main(["diff", *(str(folder / one) if one.endswith(".onnx") else one for one in arguments), "--data", str(folder / "data")]) == code
    )


def test_the_table_marks_the_first_bad_tensor(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run(folder, "a.onnx", "wrong.onnx")
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["tensor", "input", "a_layer..columns", "b", "c", "d", "logits"]
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if "bad" in line] == [lines[-1]]
    assert lines[-1].endswith("first bad")
    assert "-6.0" in lines[-1], "the opposite of a number is 6 dB of noise away"
    assert "the first is logits" in err
    run(folder, "a.onnx", "a.onnx")
    out, err = capsys.readouterr()
    assert out.count("equal") == 6
    assert "none is bad" in err


def test_json_is_one_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder, "a.onnx", "wrong.onnx", "--json", "--samples", "3", "--split", "test", "-q")
    out, err = capsys.readouterr()
    assert not err
    told = json.loads(out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert (told["images"], told["split"], told["first_bad"], told["unmatched"]) == (3, "test", "logits", [])
    assert [one["name"] for one in told["tensors"]][1] == "a_layer_with_a_name_that_is_longer_than_the_columns"
    assert told["tensors"][0]["sqnr_db"] is None
    assert told["tensors"][-1]["sqnr_db"] == pytest.approx(-6.02, abs=0.01)


def test_files_that_say_nothing_are_told_their_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder, "a-foreign.onnx", "wrong-foreign.onnx", "-q", code=1)
    assert "--input-size" in capsys.readouterr().err
    run(folder, "a-foreign.onnx", "wrong-foreign.onnx", "--input-size", "3x8x8", "-q")
    foreign = capsys.readouterr().out
    run(folder, "a-foreign.onnx", "wrong.onnx", "-q")
    run(folder, "a.onnx", "wrong.onnx")
    assert foreign == ""
    assert "logits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a.onnx", "no.onnx"], "does not exist"),
        (["a.onnx", "wrong.onnx", "--split", "holdout"], "validation"),
        (["a.onnx", "wrong.onnx", "--least-db", "nan"], "10 dB is usual"),
    ],
)
def test_bad_input_is_named(folder: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder, *arguments, code=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert [line.split(":")[0].strip() for line in err.splitlines()[-3:]] == ["error", "given", "what to do"]


def test_wrong_usage_is_2(folder: Path) -> None:
    run(folder, "a.onnx", code=2)
    run(folder, "a.onnx", "wrong.onnx", "--samples", "0", code=2)
