"""ORT format: the same scores and metadata, the operators of a reduced build, and nobody's logging touched."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto

from edgerec.export import Packing, pack, test_card
from edgerec.export.ort_format import write_ort
from edgerec.graph.file import save_onnx, with_spec
from edgerec.runtime import InputSpec, ModelError, ModelSpec, OutputError, Recognizer


@pytest.fixture
def packed(make_core: Callable[..., ModelProto], tmp_path: Path) -> Path:
    save_onnx(with_spec(make_core(quantizer=(0.0186, 113)), ModelSpec((InputSpec(16, 16),), ("a", "b", "c", "d"))), tmp_path / "core.onnx")
    return pack(tmp_path / "core.onnx", tmp_path / "device.onnx", Packing(size="any")).path


def test_the_same_answers_and_metadata(packed: Path) -> None:
    handlers, level = [*logging.getLogger().handlers], logging.getLogger().level
    made = write_ort(packed)
    assert (logging.getLogger().handlers, logging.getLogger().level) == (handlers, level)
    assert made.path.name == "device.ort"
    assert made.path.read_bytes()[4:8] == b"ORTM"
    one, two = Recognizer.load(packed), Recognizer.load(made.path, replay=True)
    assert one.spec == two.spec
    for size in ((20, 30), (16, 16)):
        image = test_card.draw(*size, 3)
        for first, second in zip(one.predict(image), two.predict(image), strict=True):
            assert first.label == second.label
            assert first.score == pytest.approx(second.score, abs=1e-6)  # fused at other levels, the last bits differ
    maps = [onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map for path in (packed, made.path)]
    assert maps[0] == maps[1]
    assert maps[0]["edgerec.labels"] == "a\nb\nc\nd"


def test_the_lists_hold_what_the_file_runs_and_no_path(packed: Path) -> None:
    made = write_ort(packed)
    operators, types = made.operators.read_text(), made.types.read_text()
    for name in ("Resize", "TopK", "Softmax", "QuantizeLinear"):
        assert name in operators
        assert name in types
    assert '"inputs"' in types
    assert '"inputs"' not in operators
    assert str(packed.parent) not in operators + types
    assert made.types.name in made.build
    again = write_ort(packed)
    assert (again.operators.read_text(), again.types.read_text()) == (operators, types)
    assert sorted(one.suffix for one in packed.parent.iterdir()) == [".config", ".config", ".onnx", ".onnx", ".ort"]


def test_int8_activations_stay_int8(packed: Path, tmp_path: Path) -> None:
    """Made for ARM; on x86, ONNX Runtime would turn them to uint8."""
    from onnx import numpy_helper

    from edgerec.graph.file import load_onnx
    from edgerec.runtime.session import open_session

    model = load_onnx(tmp_path / "core.onnx")
    for one in model.graph.initializer:
        if one.name == "z":
            one.CopyFrom(numpy_helper.from_array(np.array(-15, np.int8), "z"))
    save_onnx(model, tmp_path / "core.onnx")
    made = write_ort(pack(tmp_path / "core.onnx", tmp_path / "arm.onnx", Packing(size="fixed")).path)
    assert "int8_t" in made.types.read_text().replace("uint8_t", "")
    assert open_session(made.path).spec is not None


def test_refusals(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not a packed file|lost its metadata"):
        write_ort(tmp_path / "core.onnx")
    assert not (tmp_path / "core.ort").exists()
    (tmp_path / "device.ort").mkdir()
    with pytest.raises(OutputError):
        write_ort(packed)
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError):
        write_ort(tmp_path / "bad.onnx")
