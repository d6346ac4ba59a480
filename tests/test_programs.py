"""Programs of torch.export: loaded, exported behind the gate, and refused where loading them could run code."""

import contextlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from edgerec.cli import main
from edgerec.export import Program, load_program, to_onnx
from edgerec.export.programs import inputs_of
from edgerec.runtime.errors import ConfigError, GateError, ModelError
from edgerec.runtime.recognizer import Recognizer
from edgerec.runtime.session import open_session
from edgerec.runtime.spec import InputSpec, ModelSpec

SPEC = ModelSpec(inputs=(InputSpec(8, 8, name="image"),))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.linear = nn.Linear(8, 5)

    def forward(self, image: Tensor, shift: Tensor) -> dict[str, Tensor]:
        features = torch.relu(self.conv(image)).mean((2, 3))
        return {"classes": self.linear(features) + shift, "features": features}


class Plain(Net):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image, torch.zeros(5))["classes"]


def program(free: bool = True, size: bool = False):
    sides = {2: Dim.DYNAMIC, 3: Dim.DYNAMIC} if size else {}
    shapes = ({0: Dim("n"), **sides},) if free else None
    return torch.export.export(Plain().eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=shapes)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "plain.pt2"
    torch.export.save(program(), path)
    return path


def images(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def test_the_command_takes_a_program_and_its_own_shapes(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model.onnx"
    assert main(["export", str(saved), "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exporter"] == "dynamo"
    session = open_session(out)
    assert [(one.name, one.shape) for one in session.inputs] == [("image", ("batch", 3, 8, 8))]
    for count in (1, 7):
        x = np.random.default_rng(count).standard_normal((count, 3, 8, 8)).astype(np.float32)
        with torch.inference_mode():
            expected = Plain().eval()(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(session.run({"image": x})["logits"], expected, atol=1e-5)
    assert len(Recognizer.load(out).predict(np.zeros((30, 20, 3), np.uint8))) == 5


def test_several_inputs_and_outputs_keep_the_programs_names(tmp_path: Path) -> None:
    n = Dim("n")
    example = (torch.zeros(2, 3, 8, 8),), {"shift": torch.zeros(2, 5)}
    made = torch.export.export(Net().eval(), *example, dynamic_shapes={"image": {0: n}, "shift": {0: n}})
    shift = np.random.default_rng(1).standard_normal((5, 5)).astype(np.float32)
    exported = to_onnx(Program(made, SPEC), tmp_path / "net.onnx", {"shift": shift, "image": images()})
    session = open_session(exported.path)
    assert [one.name for one in session.inputs] == ["image", "shift"]
    assert [one.name for one in session.outputs] == ["classes", "features"]
    assert exported.batch is None


def test_a_program_of_one_batch_gives_a_file_of_one_batch_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fixed, out = tmp_path / "fixed.pt2", tmp_path / "fixed.onnx"
    torch.export.save(program(free=False), fixed)
    assert main(["export", str(fixed), "-o", str(out)]) == 0
    assert "batches of 2 only" in " ".join(capsys.readouterr().err.split())
    assert open_session(out).fixed_batch == 2
    with pytest.raises(ConfigError, match="says itself which batch"):
        to_onnx(Program(load_program(fixed), SPEC), out, {"image": images()}, batch=3)
    with pytest.raises(ConfigError, match="takes one image size only"):
        to_onnx(Program(load_program(fixed), SPEC), out, {"image": images()}, size="free")


def test_a_program_of_any_size_is_compared_at_three(tmp_path: Path) -> None:
    exported = to_onnx(Program(program(size=True), SPEC), tmp_path / "any.onnx", {"image": images()})
    assert exported.parity.images == 5 + 2 * 2  # one, the other four, and two at each other size
    (declared,) = open_session(exported.path).inputs
    assert declared.shape == ("batch", 3, "height", "width")
    x = np.random.default_rng(0).standard_normal((1, 3, 21, 13)).astype(np.float32)
    with torch.inference_mode():
        expected = Plain().eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(open_session(exported.path).run({"image": x})["logits"], expected, atol=1e-5)


def ones(feeds) -> np.ndarray:
    return np.ones((len(feeds["image"]), 5), np.float32)


def test_a_wrong_file_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(GateError):
        to_onnx(Program(program(), SPEC), tmp_path / "model.onnx", {"image": images()}, run=lambda _: ones)
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_a_program_is_told(tmp_path: Path, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model.onnx"
    with pytest.raises(ConfigError, match="not programs"):
        to_onnx(Program(program(), SPEC), out, {"image": images()}, exporter="torchscript")
    with pytest.raises(ConfigError, match="do not fit the model's inputs"):
        to_onnx(Program(program(), ModelSpec((InputSpec(8, 8, name="picture"),))), out, {"picture": images()})
    for option in (["--input-size", "3x8x8"], ["--input", "x=3x8x8"], ["--weights", "w.pt"]):
        assert main(["export", str(saved), "-o", str(out), *option]) == 1
        assert "leave --" in " ".join(capsys.readouterr().err.split())
    takes_a_number = torch.export.export(Scaled(), (torch.zeros(2, 3), 2))
    with pytest.raises(ModelError, match="something else than tensors"):
        inputs_of(takes_a_number)


class Scaled(nn.Module):
    def forward(self, x: Tensor, factor: int) -> Tensor:
        return x * factor


def test_other_files_of_torchs_are_told_apart(tmp_path: Path) -> None:
    net = nn.Linear(3, 3)
    torch.save(net.state_dict(), tmp_path / "state.pt2")
    torch.save(net, tmp_path / "module.pt2")
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.trace(net, torch.zeros(1, 3)), tmp_path / "script.pt2")
    (tmp_path / "old.pt2").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "empty.pt2").touch()
    told = {
        "state": "pickled checkpoint",
        "module": "pickled checkpoint",
        "script": "TorchScript",
        "old": "nor any archive",
        "empty": "nor any",
    }
    for name, what in told.items():
        with pytest.raises(ModelError, match=what) as caught:
            load_program(tmp_path / f"{name}.pt2")
        assert caught.value.fix
    with pytest.raises(ModelError, match="does not exist"):
        load_program(tmp_path / "none.pt2")


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def edited(source: Path, target: Path, edit: Callable[[str, bytes], bytes | None], extra: dict[str, bytes] | None = None) -> Path:
    """Copy an archive entry by entry, stored and aligned as torch's reader wants it; None leaves an entry out."""
    writer = torch._C.PyTorchFileWriter(str(target))
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            short = name.split("/", 1)[1]
            if short in (".data/version", ".data/serialization_id"):
                continue  # the writer writes its own
            content = edit(short, archive.read(name))
            if content is not None:
                writer.write_record(short, content, len(content))
    for name, content in (extra or {}).items():
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return target


def pickled() -> bytes:
    buffer = io.BytesIO()
    torch.save((Bomb(),), buffer)
    return buffer.getvalue()


def in_program(old: str, new: str) -> Callable[[str, bytes], bytes]:
    def edit(name: str, content: bytes) -> bytes:
        if name != "models/model.json":
            return content
        assert old.encode() in content
        return content.replace(old.encode(), new.encode())

    return edit


def in_weights(name: str, content: bytes) -> bytes:
    if name != "data/weights/model_weights_config.json":
        return pickled() if name == "data/weights/weight_0" else content
    return content.replace(b'"use_pickle": false', b'"use_pickle": true').replace(b'"use_pickle":false', b'"use_pickle":true')


def in_constants(name: str, content: bytes) -> bytes:
    if name != "data/constants/model_constants_config.json":
        return content
    one = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": None}
    return json.dumps({"config": {"a": one}}).encode()


def in_samples(name: str, content: bytes) -> bytes:
    return pickled() if name.startswith("data/sample_inputs/") else content


HOSTILE = {
    "pickled weights": (in_weights, "pickled objects"),
    "pickled constants": (in_constants, "pickled objects"),
    "pickled examples": (in_samples, "example inputs"),
    "an operator": (in_program("torch.ops.aten.relu.default", "torch.os.system"), "not torch's own"),
    "a loader": (in_program("torch.ops.aten.relu.default", "torch.ops.load_library"), "not torch's own"),
    "a size": (in_program("positive=True", "x=__import__(chr(111))"), "no arithmetic"),
    "a guard": (in_program('"guards_code": []', '"guards_code": ["open(L[\'image\'].size()[0])"]'), "no arithmetic"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_could_run_code_is_refused_before_it_is_loaded(
    name: str, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    edit, told = HOSTILE[name]
    hostile = edited(saved, tmp_path / "hostile.pt2", edit, {"data/constants/opaque_obj_0": pickle.dumps(Bomb())})
    with pytest.raises(ModelError, match="could run code while it is loaded") as caught:
        load_program(hostile)
    assert told in caught.value.given
    assert not (tmp_path / "exploded").exists()


def test_torch_itself_would_have_run_it(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason for all of this; when torch changes, the docs should."""
    monkeypatch.chdir(tmp_path)
    hostile = edited(saved, tmp_path / "hostile.pt2", in_samples)
    with contextlib.suppress(Exception):  # it goes on with what the pickle gave
        torch.export.load(hostile)
    assert (tmp_path / "exploded").exists()


def test_compiled_code_is_refused(saved: Path, tmp_path: Path) -> None:
    compiled = edited(saved, tmp_path / "compiled.pt2", lambda _, content: content, {"data/aotinductor/model/a.so": b"x"})
    with pytest.raises(ModelError, match="could run code") as caught:
        load_program(compiled)
    assert "AOTInductor" in caught.value.given


def test_an_edited_copy_that_changes_nothing_loads(saved: Path, tmp_path: Path) -> None:
    """Otherwise the refusals above could come from the copying."""
    same = edited(saved, tmp_path / "same.pt2", lambda _, content: content)
    assert [one.name for one in inputs_of(load_program(same))] == ["image"]


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_a_cut_off_program(keep: float, saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    (tmp_path / "cut.pt2").write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ModelError):
        load_program(tmp_path / "cut.pt2")


def test_damaged_bytes_never_end_in_a_traceback(saved: Path, tmp_path: Path) -> None:
    content, draw, loaded = bytearray(saved.read_bytes()), np.random.default_rng(0), 0
    for _ in range(60):
        mutant = bytearray(content)
        for at in draw.integers(0, len(content), 4):
            mutant[at] ^= int(draw.integers(1, 256))
        (tmp_path / "mutant.pt2").write_bytes(mutant)
        try:
            load_program(tmp_path / "mutant.pt2")
            loaded += 1
        except ModelError:
            pass
    assert loaded < 60, "some must have been hit"


def test_the_file_says_how_it_was_made(tmp_path: Path) -> None:
    exported = to_onnx(Program(program(size=True), SPEC), tmp_path / "any.onnx", {"image": images()}, size="free")
    assert exported.spec.provenance.history[-1]["size"] == "free"
    assert onnx.load(exported.path).ir_version == 8
