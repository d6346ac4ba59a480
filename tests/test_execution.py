"""Running a model in memory: with taps, without optimisation, beyond protobuf's limit; and finding where NaN begins."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from edgerec.graph.execution import first_bad_tensor, open_model
from edgerec.runtime.errors import ModelError, OutputError

X = np.array([[1.0, -2.0]], np.float32)


def model(body: str) -> ModelProto:
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[N, 2] x) => (float[N, A] y) {{ {body} }}'
    parsed = onnx.parser.parse_model(text)
    weight = np.arange(2 * 512, dtype=np.float32).reshape(2, 512)
    parsed.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return parsed


CHAIN = "a = Relu (x) b = Neg (a) y = MatMul (b, w)"


def test_taps_become_outputs_and_the_model_stays_as_it_is() -> None:
    one = model(CHAIN)
    before = one.SerializeToString()
    found = open_model(one, threads=1, taps=["a", "b", "a", "x", "y"]).run({"x": X})
    assert list(found) == ["y", "a", "b"]
    np.testing.assert_array_equal(found["a"], [[1, 0]])
    np.testing.assert_array_equal(found["b"], [[-1, 0]])
    assert one.SerializeToString() == before


def test_above_the_limit_the_weights_go_through_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    inline, outside = (open_model(model(CHAIN), threads=1, taps=["b"], inline_limit_bytes=limit) for limit in (2**20, 100))
    assert list(tmp_path.iterdir()) == [], "the folder is gone, and the session still runs"
    expected, found = inline.run({"x": X}), outside.run({"x": X})
    assert list(found) == list(expected) == ["y", "b"]
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_a_temporary_folder_that_takes_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="disk is full"):
        open_model(model(CHAIN), inline_limit_bytes=100)


def test_without_optimisation_every_node_is_there() -> None:
    idle = model("a = Identity (x) b = Identity (a) y = MatMul (b, w)")
    counts = [sum(open_model(idle, threads=1, optimise=optimise).placement.nodes.values()) for optimise in (True, False)]
    assert counts == [1, 3]


def test_a_damaged_graph_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot load this model"):
        open_model(model("y = MatMul (nowhere, w)"))


def test_the_first_node_that_gives_nan_is_named() -> None:
    one = model("a = Sqrt (x) b = Relu (x) c = Add (a, b) y = MatMul (c, w)")
    one.graph.node[0].name = "root"
    assert first_bad_tensor(one, {"x": X}) == ("root", "a")
    assert first_bad_tensor(one, {"x": abs(X)}) is None


def test_infinity_is_no_fault() -> None:
    assert first_bad_tensor(model("a = Reciprocal (x) b = Tanh (a) y = MatMul (b, w)"), {"x": 0 * X}) is None
