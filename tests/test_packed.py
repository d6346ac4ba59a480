"""The golden pair: replayed, and refused where the file or the machine is not what it was."""

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from edgerec.export import Packing, pack
from edgerec.graph.file import load_onnx, save_onnx, with_spec
from edgerec.runtime import ConfigError, DataError, GateError, InputSpec, ModelError, ModelSpec, Recognizer
from edgerec.runtime.packed import pack_image, replay, unpack
from edgerec.runtime.packed_spec import Golden, Packed

LABELS = ("ant", "bee", "cat", "dog")
GOLDEN = Golden(pack_image(np.arange(24, dtype=np.uint8)), 2, 4, (0,), (0.5,), 1e-3)
SPEC = ModelSpec((InputSpec(4, 4, name="image", layout="NHWC"),), packed=Packed("any", 1, 0, "float", GOLDEN))


@pytest.fixture(scope="module", params=["any", "fixed"])
def packed(request: pytest.FixtureRequest, make_core: Callable[..., ModelProto], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    save_onnx(with_spec(make_core(), ModelSpec((InputSpec(16, 16),), LABELS)), folder / "core.onnx")
    return pack(folder / "core.onnx", folder / "packed.onnx", Packing(size=request.param)).path


def changed(packed: Path, folder: Path, change: Callable[[Golden], Golden]) -> Path:
    model = load_onnx(packed)
    spec = Recognizer.load(packed).spec
    assert spec.packed is not None
    save_onnx(with_spec(model, replace(spec, packed=replace(spec.packed, golden=change(spec.packed.golden)))), folder / "changed.onnx")
    return folder / "changed.onnx"


def test_a_replay_that_holds(packed: Path) -> None:
    model = Recognizer.load(packed, replay=True)
    assert replay(model.session, model.spec) <= 1e-6
    assert model.spec.packed is not None
    # By hand: the golden image is an image like any other.
    best = model.predict(unpack(model.spec.packed.golden, model.spec))
    assert [one.index for one in best] == list(model.spec.packed.golden.indices)


def test_a_difference_is_named(packed: Path, tmp_path: Path) -> None:
    other = changed(packed, tmp_path, lambda golden: replace(golden, scores=(golden.scores[0] - 0.25, *golden.scores[1:])))
    Recognizer.load(other)  # only a replay looks
    index = Recognizer.load(packed).spec.packed.golden.indices[0]  # type: ignore[union-attr]
    with pytest.raises(GateError, match=rf"golden answer.*{LABELS[index]}: score 0\.\d+, 0\.\d+ when it was packed, allowed 0\.001"):
        Recognizer.load(other, replay=True)


@pytest.mark.parametrize(
    "image",
    ["", "!!", "AAAA", base64.b64encode(zlib.compress(b"short")).decode(), base64.b64encode(zlib.compress(bytes(10**7))).decode()],
)
def test_a_damaged_image_is_refused(image: str, packed: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="golden pair of the packed file is damaged"):
        Recognizer.load(changed(packed, tmp_path, lambda golden: replace(golden, image=image)), replay=True)


def test_a_class_that_the_model_does_not_have(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="class 9 of 4"):
        Recognizer.load(changed(packed, tmp_path, lambda golden: replace(golden, indices=(9,), scores=(0.5,))), replay=True)


def test_a_core_file_has_nothing_to_replay(packed: Path) -> None:
    with pytest.raises(ModelError, match="not a packed file"):
        Recognizer.load(packed.parent / "core.onnx", replay=True)


@pytest.mark.parametrize(
    "image", [np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5, 2), np.uint8), np.zeros(5, np.uint8), np.zeros((5, 5, 3), np.float32)]
)
def test_what_is_no_image_is_refused(image: np.ndarray, packed: Path) -> None:
    with pytest.raises(DataError):
        Recognizer.load(packed).predict(image)


def test_a_golden_image_fills_a_fixed_size() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(unpack(GOLDEN, SPEC), pixels)
    assert SPEC.packed is not None
    fixed = replace(SPEC, packed=replace(SPEC.packed, size="fixed"))
    np.testing.assert_array_equal(unpack(GOLDEN, fixed), pixels.repeat(2, axis=0))


def test_the_spec_travels_and_core_files_say_what_they_always_said() -> None:
    assert ModelSpec.from_json(SPEC.to_json()) == SPEC
    assert json.loads(SPEC.to_json())["schema_version"] == 2
    core = json.loads(replace(SPEC, packed=None).to_json())
    assert core["schema_version"] == 1
    assert "packed" not in core
    newer = json.loads(SPEC.to_json()) | {"schema_version": 3}
    with pytest.raises(ModelError, match="update edgerec"):
        ModelSpec.from_json(json.dumps(newer))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", "some"),
        ("normalisation", "magic"),
        ("top", 0),
        ("golden", None),
        ("golden", {}),
        ("golden", {"image": 1}),
        ("top", "many"),
        ("top", 1.5),
        ("top", True),
    ],
)
def test_damaged_metadata(field: str, value: object) -> None:
    raw = json.loads(SPEC.to_json())
    raw["packed"][field] = value
    with pytest.raises(ModelError, match="metadata is damaged"):
        ModelSpec.from_json(json.dumps(raw))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", 0),
        ("width", 10**9),
        ("height", 2.5),
        ("image", 7),
        ("indices", []),
        ("indices", [-1]),
        ("indices", ["a"]),
        ("scores", [None]),
        ("scores", [float("nan")]),
        ("tolerance", -1),
        ("tolerance", "wide"),
    ],
)
def test_a_damaged_golden_pair(field: str, value: object) -> None:
    raw = json.loads(SPEC.to_json())
    raw["packed"]["golden"][field] = value
    with pytest.raises((ModelError, ConfigError)):
        ModelSpec.from_json(json.dumps(raw))
