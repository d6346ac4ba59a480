"""Tests of cli/inspect.py: the command as people type it."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerec.cli import main
from edgerec.graph.file import save_onnx


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a convolution with its weight quantized, for images of any size."""
    arrays = {
        "scale": np.array(0.1, np.float32),
        "zero": np.array(128, np.uint8),
        "w": np.ones((4, 3, 3, 3), np.int8),
        "w_zero": np.array(0, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["x_q"], "enter"),
        helper.make_node("DequantizeLinear", ["x_q", "scale", "zero"], ["x_d"], "enter_back"),
        helper.make_node("DequantizeLinear", ["w", "scale", "w_zero"], ["w_d"], "weight"),
        helper.make_node("Conv", ["x_d", "w_d"], ["c"], "conv"),
        helper.make_node("QuantizeLinear", ["c", "scale", "zero"], ["c_q"], "leave"),
        helper.make_node("DequantizeLinear", ["c_q", "scale", "zero"], ["y"], "leave_back"),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w_"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, "h_y", "w_y"])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    path = tmp_path / "small.onnx"
    save_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_people_get_a_paragraph_tables_and_findings(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(file), "--input-size", "3x8x8", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("One run takes ")
    assert "QLinearConv" in out
    assert "one scale a tensor" in out
    assert "no multiple of 4" in out


def test_machines_get_everything(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(file), "--input-size", "3x8x8", "--threads", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["int8_macs_share"] == 1
    assert found["macs"] == 6 * 6 * 4 * 27
    assert [node["title"] for node in found["nodes"] if node["kind"] == "int8"] == ["conv"]
    assert {"findings", "islands", "explanation", "peak", "placement", "machine", "versions"} <= set(found)


def test_a_narrow_terminal_breaks_no_line(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert main(["inspect", str(file), "--input-size", "3x8x8", "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= 50


def test_an_open_size_and_a_missing_file_are_told_without_traceback(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(file)]) == 1
    assert "--input-size" in capsys.readouterr().err
    assert main(["inspect", str(file.with_name("none.onnx"))]) == 1
    assert "what to do: check the path" in capsys.readouterr().err


def test_without_cuda_its_findings_are_told_all_the_same(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("CUDA is installed here")
    assert main(["inspect", str(file), "--provider", "cuda"]) == 1
    told = capsys.readouterr()
    assert "int8 convolutions have no kernel on CUDA" in told.out
    assert "--precision fp16" in " ".join(told.out.split())
    assert "is not installed" in told.err


def test_quiet_prints_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(file), "--input-size", "3x8x8", "--threads", "1", "-q"]) == 0
    assert capsys.readouterr().out == ""
