"""Model files that try to configure the session, or to read files outside their folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgerec.runtime import open_session
from edgerec.runtime.errors import ModelError

LOAD = """
import sys
from pathlib import Path
if sys.argv[2] == "edgerec":
    from edgerec.runtime import open_session
    session = open_session(Path(sys.argv[1]), threads=1, cache=False).ort
else:
    import onnxruntime
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.end_profiling()
"""


def weights_outside(location: str) -> bytes:
    """A model that adds a weight which lies in another file."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        weight.external_data.add(key=key, value=value)
    declared = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", declared[:1], declared[1:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, with a secret of another beside it."""
    (tmp_path / "secret.bin").write_bytes(np.full(4, 42, np.float32).tobytes())
    inside = tmp_path / "model"
    inside.mkdir()
    (inside / "own.bin").write_bytes(np.full(4, 7, np.float32).tobytes())
    return inside


def run(path: Path | bytes) -> np.ndarray:
    return open_session(path, threads=1).run({"x": np.zeros(4, np.float32)})["y"]


def test_weights_in_the_models_folder_are_read(folder: Path) -> None:
    (folder / "m.onnx").write_bytes(weights_outside("own.bin"))
    np.testing.assert_array_equal(run(folder / "m.onnx"), np.full(4, 7))


@pytest.mark.parametrize("how", ["../secret.bin", "sub/../../secret.bin", "absolute", "link", "linked folder"])
def test_weights_outside_the_models_folder_are_refused(folder: Path, how: str) -> None:
    secret = folder.parent / "secret.bin"
    location = {"absolute": str(secret), "link": "link.bin", "linked folder": "linked/secret.bin"}.get(how, how)
    (folder / "sub").mkdir()
    (folder / "link.bin").symlink_to(secret)
    (folder / "linked").symlink_to(folder.parent, target_is_directory=True)
    (folder / "m.onnx").write_bytes(weights_outside(location))
    with pytest.raises(ModelError):
        run(folder / "m.onnx")


def test_bytes_never_read_files_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for location in ("../secret.bin", str(folder.parent / "secret.bin")):
        with pytest.raises(ModelError):
            run(weights_outside(location))


@pytest.mark.parametrize(("by", "profiles"), [("onnxruntime", 1), ("edgerec", 0)])
def test_a_model_does_not_configure_the_session(tmp_path: Path, by: str, profiles: int) -> None:
    """ONNX Runtime itself shows that the trap is armed: it writes the profile that the model's metadata asks for."""
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Add (x, x) }"""
    model = onnx.parser.parse_model(text)
    helper.set_model_props(model, {"ort_config": json.dumps({"session_options": {"enable_profiling": 1}})})
    onnx.save(model, tmp_path / "m.onnx")
    environment = os.environ | {"ORT_LOAD_CONFIG_FROM_MODEL": "1"}
    command = [sys.executable, "-P", "-c", LOAD, str(tmp_path / "m.onnx"), by]
    subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=False, timeout=60)
    written = [path for path in tmp_path.iterdir() if path.suffix == ".json"]
    assert len(written) == profiles
