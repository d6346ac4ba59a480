"""Files that take any height and width, several inputs of several types, and float16 files: against PyTorch at sizes the gate never saw."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from PIL import Image
from torch import Tensor, nn

from edgerec.cli import main
from edgerec.export import to_onnx
from edgerec.export.sizes import ask_at_sizes
from edgerec.runtime.errors import ConfigError, EdgerecError, GateError, ModelError
from edgerec.runtime.recognizer import Recognizer
from edgerec.runtime.session import open_session
from edgerec.runtime.spec import InputSpec, ModelSpec
from edgerec.train.checkpoint import Checkpoint

IMAGE = InputSpec(16, 16, name="image", mean=(0.5,) * 3, std=(0.25,) * 3)
SPEC = ModelSpec(inputs=(IMAGE,))
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)


class Pooled(nn.Module):
    def __init__(self, features: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(features, 4)

    def features(self, image: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(image)))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image).mean((2, 3)))


class Flattened(Pooled):
    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image).flatten(1))


class Positions(nn.Module):
    """As a vision transformer with one embedding a place."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.positions = nn.Parameter(torch.zeros(1, 16, 8))
        self.head = nn.Linear(8, 4)

    def forward(self, image: Tensor) -> Tensor:
        return self.head((self.patch(image).flatten(2).transpose(1, 2) + self.positions).mean(1))


class Mask(nn.Module):
    """Halves an image, doubles it again and joins both: sizes that do not halve fail."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down = nn.Conv2d(3, 4, 3, 2, 1)
        self.up = nn.ConvTranspose2d(4, 2, 2, 2)

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([image, self.up(torch.relu(self.down(image)))], 1)


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = Pooled()
        self.table = nn.Embedding(10, 4)
        self.linear = nn.Linear(5, 4)

    def forward(self, image: Tensor, ids: Tensor, extra: Tensor) -> Tensor:
        return self.image(image) + self.table(ids).mean(1) + self.linear(extra)


def ask(module: nn.Module, *arrays: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return module.eval()(*map(torch.from_numpy, arrays)).numpy()


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_pooled_network_takes_any_size(exporter: str, tmp_path: Path) -> None:
    module = Pooled()
    exported = to_onnx(Checkpoint(module, SPEC), tmp_path / "any.onnx", {"image": IMAGES}, size="free", exporter=exporter)
    assert exported.parity.images == 5 + 2 * 2
    assert exported.spec.provenance.history[-1]["size"] == "free"
    assert exported.spec.input == IMAGE, "an image file is still brought to the size that the model was trained for"
    session = open_session(exported.path)
    assert session.inputs[0].shape == ("batch", 3, "height", "width")
    for shape in ((1, 3, 16, 16), (2, 3, 21, 13), (1, 3, 7, 64)):
        np.testing.assert_allclose(session.run({"image": drawn(*shape)})["logits"], ask(module, drawn(*shape)), atol=1e-5)


def test_a_mask_grows_with_its_image_and_is_no_classifier(tmp_path: Path) -> None:
    exported = to_onnx(Checkpoint(Mask(), SPEC), tmp_path / "mask.onnx", {"image": IMAGES}, size="free")
    assert exported.spec.task == "other"
    x = drawn(1, 3, 10, 30)
    np.testing.assert_allclose(open_session(exported.path).run({"image": x})["logits"], ask(Mask(), x), atol=1e-5)
    with pytest.raises(ModelError, match="one row of logits"):
        to_onnx(Checkpoint(Mask(), replace(SPEC, labels=("a", "b"))), tmp_path / "labelled.onnx", {"image": IMAGES})


@pytest.mark.parametrize(("module", "name"), [(Flattened(8 * 8 * 8), "Linear 'head'"), (Positions(), "Positions refuses")])
def test_a_network_of_one_size_is_named(module: nn.Module, name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="takes one image size only") as caught:
        to_onnx(Checkpoint(module, SPEC), tmp_path / "any.onnx", {"image": IMAGES}, size="free")
    assert name in caught.value.given
    assert "(3, 32, 48)" in caught.value.given
    assert "--dynamic-size" in caught.value.fix
    assert list(tmp_path.iterdir()) == []
    assert to_onnx(Checkpoint(module, SPEC), tmp_path / "one.onnx", {"image": IMAGES}).path.exists()


def test_an_export_that_fixed_the_size_fails_the_gate(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module = nn.Sequential(Pooled().conv, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4))
    with pytest.raises(EdgerecError) as caught:
        to_onnx(Checkpoint(module, SPEC), tmp_path / "any.onnx", {"image": IMAGES}, size="free")
    assert "leave --dynamic-size out" in caught.value.fix
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().out == "", "torch prints its graph where --json is"


def test_the_other_sizes_are_larger_not_square_and_as_even() -> None:
    asked: list[tuple[int, ...]] = []

    class Notes(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            asked.append(tuple(image.shape[2:]))
            return image.mean((2, 3))

    for size in (224, 28, 7):
        list(ask_at_sizes(Notes(), {"image": np.zeros((1, 3, size, size), np.float32)}, {"image": {0: "batch", 2: "height", 3: "width"}}))
    assert asked == [(256, 288), (288, 256), (32, 36), (36, 32), (8, 9), (9, 8)]
    assert list(ask_at_sizes(Notes(), {"image": np.zeros((1, 3, 8, 8), np.float32)}, {"image": {0: "batch"}})) == []


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the command these classes under a name of a module."""
    here = Path(__file__)
    (tmp_path / "free_nets.py").write_text(
        f"import importlib.util as u\ns = u.spec_from_file_location('free_nets_of_tests', {str(here)!r})\n"
        "m = u.module_from_spec(s)\ns.loader.exec_module(m)\nPooled, Mixed = m.Pooled, m.Mixed\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_and_what_comes_after_it(nets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "free_nets:Pooled", "--input-size", "3x16x16", "--dynamic-size", "-o", "any.onnx", "-q"]) == 0
    np.savez("data.npz", images=np.repeat(IMAGES, 16, axis=0), labels=np.arange(80) % 4)
    assert main(["quantize", "any.onnx", "--data", "data.npz", "--force", "-o", "int8.onnx", "-q"]) == 0
    Image.fromarray(IMAGES[0]).resize((40, 30)).save("photo.png")
    capsys.readouterr()
    for file in ("any.onnx", "int8.onnx"):
        assert main(["predict", file, "photo.png", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)
        assert open_session(Path(file)).inputs[0].shape[2:] == ("height", "width")
    # The quantized file takes another size as well, and stays close to the float one there.
    x = drawn(1, 3, 24, 40)
    float_, int8 = (next(iter(open_session(Path(name)).run({"input": x}).values())) for name in ("any.onnx", "int8.onnx"))
    assert np.abs(float_ - int8).max() < 0.1 * np.abs(float_).max()
    assert main(["pack", "int8.onnx", "-o", "packed.onnx", "-q"]) == 0
    assert main(["predict", "packed.onnx", "photo.png"]) == 0


def test_the_command_takes_several_inputs(nets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = ["--input", "image=3x16x16", "--input", "ids=int64:6", "--input", "extra=5"]
    assert main(["export", "free_nets:Mixed", *inputs, "-o", "mixed.onnx"]) == 0
    session = open_session(nets / "mixed.onnx")
    assert [(one.name, one.shape[1:], one.type) for one in session.inputs] == [
        ("image", (3, 16, 16), "tensor(float)"),
        ("ids", (6,), "tensor(int64)"),
        ("extra", (5,), "tensor(float)"),
    ]
    rows = {"image": IMAGES[0], "ids": np.zeros((1, 6), np.int64), "extra": drawn(1, 5)}
    assert len(Recognizer.load(nets / "mixed.onnx").predict(rows)) == 4
    capsys.readouterr()
    assert main(["predict", "mixed.onnx", "mixed.onnx"]) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--input", "image"], "needs a name and a shape"),
        (["--input", "image=3x16x"], "needs a name and a shape"),
        (["--input", "image=0x16x16"], "sizes are 1 or more"),
        (["--input", "ids=text:6"], "unknown type"),
        (["--input", "a=5", "--input", "a=5"], "same name"),
        (["--input", "a=5", "--input-size", "3x8x8"], "leave --input-size out"),
        (["--input", "ids=int64:6", "--input", "image=3x16x16", "--input", "extra=5"], "the model refuses its input"),
        (["--input-size", "3x16x16", "--precision", "fp8"], "unknown precision"),
    ],
)
def test_inputs_that_make_no_sense(options: list[str], told: str, nets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "free_nets:Mixed", *options, "-o", "mixed.onnx"]) == 1
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (nets / "mixed.onnx").exists()


def test_free_sizes_need_an_image(tmp_path: Path) -> None:
    feeds = {"x": drawn(4, 5)}
    with pytest.raises(ConfigError, match="takes no image"):
        to_onnx(Checkpoint(nn.Linear(5, 4), ModelSpec(())), tmp_path / "no.onnx", feeds, size="free", order=["x"])
    assert to_onnx(Checkpoint(nn.Linear(5, 4), ModelSpec(())), tmp_path / "yes.onnx", feeds, order=["x"]).parity.images == 4


def types(path: Path) -> tuple[list[int], list[int], set[int]]:
    graph = onnx.load(path).graph
    values = ([one.type.tensor_type.elem_type for one in part] for part in (graph.input, graph.output))
    return (*values, {one.data_type for one in graph.initializer if len(one.dims) > 1})


@pytest.mark.parametrize(("precision", "outside"), [("fp16", TensorProto.FLOAT), ("fp16-io", TensorProto.FLOAT16)])
def test_float16_files(precision: str, outside: int, tmp_path: Path) -> None:
    exported = to_onnx(Checkpoint(Pooled(), SPEC), tmp_path / "half.onnx", {"image": IMAGES}, precision=precision)
    assert types(exported.path) == ([outside], [outside], {TensorProto.FLOAT16})
    assert 0 < exported.parity.max_abs < 1e-2 * max(1.0, exported.parity.largest)
    x = drawn(2, 3, 16, 16)
    found = open_session(exported.path).run({"image": x.astype(np.float16 if outside == TensorProto.FLOAT16 else np.float32)})["logits"]
    np.testing.assert_allclose(found, ask(Pooled(), x), atol=5e-3)
    assert exported.spec.provenance.history[-1]["precision"] == precision
    assert len(Recognizer.load(exported.path).predict(IMAGES[0])) == 4


def test_a_network_that_float16_breaks_is_not_written(tmp_path: Path) -> None:
    class Cancels(Pooled):
        """A difference of large numbers: float32 keeps it, float16 does not."""

        def forward(self, image: Tensor) -> Tensor:
            logits = super().forward(image)
            return (logits + 1000) - 1000

    with pytest.raises(GateError, match="float16 loses too much"):
        to_onnx(Checkpoint(Cancels(), SPEC), tmp_path / "half.onnx", {"image": IMAGES}, precision="fp16")
    assert list(tmp_path.iterdir()) == []
