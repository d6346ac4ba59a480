"""Our files with old ONNX Runtimes, really loaded: in environments of their own, whose Pythons `EDGEREC_TEST_OLDEST` lists.

The first must have `graph.versions.OLDEST_ONNXRUNTIME`, and runs edgerec's runtime as well; others may be older, for devices that load our
files with a runtime of their own. `python -m venv old && old/bin/pip install onnxruntime==1.24.1 numpy pillow` makes one.
"""

import json
import os
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from edgerec.cli import main
from edgerec.export import to_onnx
from edgerec.graph.file import IR_VERSION, OPSET
from edgerec.graph.versions import OLDEST_ONNXRUNTIME
from edgerec.runtime import InputSpec, ModelSpec, Recognizer, open_session
from edgerec.train.checkpoint import Checkpoint

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = [one for one in os.environ.get("EDGEREC_TEST_OLDEST", "").split(os.pathsep) if one]
needs_old = pytest.mark.skipif(
    not PYTHONS, reason=f"did not run: EDGEREC_TEST_OLDEST names no Python with onnxruntime {OLDEST_ONNXRUNTIME}"
)

PLAIN = """
import json, sys
import numpy as np, onnxruntime
feeds = np.load(sys.argv[1])
found = {}
for file in sys.argv[2:]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    inputs = {one.name: feeds["image" if one.type == "tensor(float)" else "pixels"] for one in session.get_inputs()}
    found[file] = [np.asarray(one).tolist() for one in session.run(None, inputs)]
print(json.dumps({"version": onnxruntime.__version__, "found": found}))
"""
OURS = """
import json, sys
from pathlib import Path
import numpy as np
from edgerec.runtime import Recognizer, open_session
feeds = np.load(sys.argv[1])
labels = {}
for file in sys.argv[2:]:
    session = open_session(Path(file))
    labels[file] = [[one.label, one.score] for one in Recognizer.load(Path(file)).predict(feeds["pixels"][0])]
print(json.dumps(labels))
"""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.head = nn.Linear(16, 4)

    def forward(self, image: Tensor) -> Tensor:
        features = nn.functional.hardswish(self.first(image))
        return self.head(torch.relu(self.second(features) + nn.functional.avg_pool2d(features, 2)).mean((2, 3)))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An exported, an int8 and a packed file, and one of any image size."""
    folder = tmp_path_factory.mktemp("oldest")
    pixels = np.random.default_rng(0).integers(0, 256, (80, 16, 16, 3), dtype=np.uint8)
    spec = ModelSpec((InputSpec(16, 16, name="image"),))
    found = {name: folder / f"{name}.onnx" for name in ("float", "int8", "packed", "any")}
    checkpoint = Checkpoint(Net(), spec)
    to_onnx(checkpoint, found["float"], {"image": pixels[:8]})
    to_onnx(checkpoint, found["any"], {"image": pixels[:8]}, size="free")
    np.savez(folder / "data.npz", images=pixels, labels=np.arange(80) % 4)
    assert main(["quantize", str(found["float"]), "--data", str(folder / "data.npz"), "--force", "-o", str(found["int8"]), "-q"]) == 0
    assert main(["pack", str(found["int8"]), "-o", str(found["packed"]), "-q"]) == 0
    np.savez(folder / "feeds.npz", image=np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32), pixels=pixels[:1])
    return found


@needs_old
@pytest.mark.parametrize("python", PYTHONS)
def test_old_runtimes_give_the_same_answers(python: str, files: dict[str, Path]) -> None:
    feeds = files["float"].with_name("feeds.npz")
    told = json.loads(asked(python, PLAIN, feeds, *files.values()))
    if python == PYTHONS[0]:
        assert told["version"] == OLDEST_ONNXRUNTIME
    assert tuple(map(int, told["version"].split("."))) <= tuple(map(int, OLDEST_ONNXRUNTIME.split(".")))
    arrays = np.load(feeds)
    for name, path in files.items():
        session = open_session(path)
        given = {one.name: arrays["image" if one.type == "tensor(float)" else "pixels"] for one in session.inputs}
        expected = list(session.run(given).values())
        assert len(expected) == len(told["found"][str(path)])
        for one, other in zip(expected, told["found"][str(path)], strict=True):
            # Float kernels sum in another order from release to release, which may move an integer by one step.
            np.testing.assert_allclose(other, one, atol=(1e-5 if name in ("float", "any") else 2e-2) * np.abs(one).max())


@needs_old
def test_edgerecs_runtime_runs_on_the_oldest(files: dict[str, Path], tmp_path: Path) -> None:
    package = tmp_path / "edgerec"  # this checkout's runtime, in an environment that may hold another edgerec or none
    package.mkdir()
    (package / "__init__.py").symlink_to(ROOT / "edgerec" / "__init__.py")
    (package / "runtime").symlink_to(ROOT / "runtime", target_is_directory=True)
    feeds = files["float"].with_name("feeds.npz")
    told = json.loads(asked(PYTHONS[0], OURS, feeds, *files.values(), path=tmp_path))
    for path in files.values():
        expected = Recognizer.load(path).predict(np.load(feeds)["pixels"][0])
        assert {label for label, _ in told[str(path)]} == {one.label for one in expected}
        scores = dict(told[str(path)])
        assert all(abs(scores[one.label] - one.score) < 1e-2 for one in expected)


def asked(python: str, code: str, *arguments: Path, path: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | ({"PYTHONPATH": str(path)} if path else {})
    command = [python, "-P", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_oldest_runtime_is_named_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extra, flavour in (("cpu", "onnxruntime"), ("cuda", "onnxruntime-gpu"), ("openvino", "onnxruntime-openvino")):
        (requirement,) = project[extra]
        assert requirement.replace("[cuda,cudnn]", "") == f"{flavour}>={OLDEST_ONNXRUNTIME}"


def test_opset_and_ir_are_older_than_the_oldest_runtime() -> None:
    """By onnx's own table: its 1.12 came with opset 17 and IR 8, and ONNX Runtime 1.24 is built on a much later one."""
    release = {name: (ir, opset) for name, ir, opset, *_ in onnx.helper.VERSION_TABLE}
    assert release["1.12.0"] == (IR_VERSION, OPSET)
