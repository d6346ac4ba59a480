"""One model of each family goes through torch's exporter (seconds each); the rest uses tiny modules.

tests/test_registry.py exports every model of the registry; here it is judged what the files look like.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgerec.export import Exported, to_onnx
from edgerec.graph.exported import clean
from edgerec.graph.file import IR_VERSION, OPSET, load_onnx, read_spec
from edgerec.graph.parity import Answer, Tolerance
from edgerec.graph.shapes import count_macs
from edgerec.runtime.errors import ConfigError, EdgerecError, GateError, ModelError, OutputError
from edgerec.runtime.session import open_session
from edgerec.runtime.spec import InputSpec, ModelSpec
from edgerec.train.checkpoint import Checkpoint, fresh_checkpoint
from edgerec.train.models import Architecture

GREY_28 = InputSpec(28, 28, name="image", color="grey", mean=(0.2860,), std=(0.3530,))
SPEC = ModelSpec(inputs=(GREY_28,), labels=tuple("0123456789"))
FAMILIES = ("cnn", "rnn", "rnn_gru", "vit_tiny", "resnet8", "mobilenet_v3_small", "efficientnet_lite0_silu")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 1), dtype=np.uint8)


class Tiny(nn.Module):
    """Conv, batch norm, dropout, pool: what evaluation mode and folding must get right."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.linear = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.drop(torch.relu(self.norm(self.conv(images)))).mean(dim=(2, 3)))


def trained_(model: nn.Module) -> nn.Module:
    """Give batch norms statistics as training would: with the fresh ones (0 and 1) a wrong fold could go unseen."""
    draw = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in ((module.running_mean, -0.3, 0.3), (module.running_var, 0.5, 2.0), (module.weight.data, 0.5, 1.5)):
                tensor.copy_(torch.empty_like(tensor).uniform_(low, high, generator=draw))
    return model


def tiny() -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(trained_(Tiny()), SPEC, factory="tests:tiny")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_exports_as_plain_onnx(name: str, tmp_path: Path) -> None:
    checkpoint = fresh_checkpoint(Architecture(name, 10, 1, 28, 0.25), SPEC)
    trained_(checkpoint.model)
    exported = to_onnx(checkpoint, tmp_path / "model.onnx", {"image": IMAGES})
    assert exported.parity.max_abs < 1e-4 * max(1.0, exported.parity.largest)
    assert exported.parity.top1_agreement == 1.0
    model = load_onnx(exported.path)
    assert (model.opset_import[0].version, model.ir_version) == (OPSET, IR_VERSION)
    ops = Counter(node.op_type for node in model.graph.node)
    assert not ops.keys() & {"BatchNormalization", "Constant", "Identity", "Shape", "Dropout", "Cast"}, "all folded or settled"
    assert count_macs(model, 2) == {node: 2 * macs for node, macs in count_macs(model).items()}
    assert _hidden_paths(exported.path) == []


def _hidden_paths(path: Path) -> list[bytes]:
    """Return what in the file tells where it was made."""
    content = path.read_bytes()
    telling = [
        str(Path.home()),
        str(Path(__file__).parents[1]),
        str(path.parent),
        "site-packages",
        "stack_trace",
        "pkg.",
        ".py",
        "torch.nn",
    ]
    return [word.encode() for word in telling if word.encode() in content]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return to_onnx(tiny(), tmp_path_factory.mktemp("export") / "tiny.onnx", {"image": IMAGES})


def test_names_and_the_free_batch(exported: Exported) -> None:
    session = open_session(exported.path, threads=1)
    assert [(one.name, one.shape[1:]) for one in session.inputs] == [("image", (1, 28, 28))]
    assert [(one.name, one.shape[1:]) for one in session.outputs] == [("logits", (10,))]
    assert isinstance(session.inputs[0].shape[0], str)
    for batch in (1, 3, 64):
        assert session.run({"image": np.zeros((batch, 1, 28, 28), np.float32)})["logits"].shape == (batch, 10)


def test_batch_norm_is_folded_and_dropout_is_gone(exported: Exported) -> None:
    assert [node.op_type for node in load_onnx(exported.path).graph.node] == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]


def test_the_spec_travels_with_its_history(exported: Exported) -> None:
    spec = read_spec(load_onnx(exported.path))
    assert spec == exported.spec
    assert (spec.inputs, spec.labels) == (SPEC.inputs, SPEC.labels)
    assert [step["step"] for step in spec.provenance.history] == ["export"]
    assert {"edgerec", "torch", "onnxscript"} <= spec.provenance.versions.keys()


def test_the_same_checkpoint_gives_the_same_bytes(exported: Exported, tmp_path: Path) -> None:
    again = to_onnx(tiny(), tmp_path / "other.onnx", {"image": IMAGES})
    assert again.path.read_bytes() == exported.path.read_bytes()


def test_every_image_is_compared_once(exported: Exported) -> None:
    assert exported.parity.images == len(IMAGES)


def test_it_says_nothing_and_leaves_the_model_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint = tiny()
    checkpoint.model.train()
    before = {name: tensor.clone() for name, tensor in checkpoint.model.state_dict().items()}
    to_onnx(checkpoint, tmp_path / "tiny.onnx", {"image": IMAGES})
    assert capfd.readouterr() == ("", "")
    assert all(module.training for module in checkpoint.model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in checkpoint.model.state_dict().items())


def test_prepared_images_do_as_well(tmp_path: Path) -> None:
    prepared = np.random.default_rng(0).standard_normal((3, 1, 28, 28)).astype(np.float32)
    assert to_onnx(flat(), tmp_path / "flat.onnx", {"image": prepared}).parity.images == 3


def flat(factor: float = 1.0) -> Checkpoint:
    """Return the quickest model to export; `factor` scales its weights."""
    torch.manual_seed(0)
    linear = nn.Linear(784, 10)
    linear.weight.data *= factor
    return Checkpoint(nn.Sequential(nn.Flatten(), linear), SPEC, factory="tests:flat")


def _lying(batch: int) -> Answer:
    """Return a runtime that is right, but for one batch size."""

    def run(feeds):
        with torch.inference_mode():
            logits = flat().model(torch.from_numpy(feeds["image"])).numpy()
        return logits + (len(logits) == batch)

    return run


@pytest.mark.parametrize(("batch", "old"), [(1, None), (len(IMAGES) - 1, b"old")])
def test_a_failed_gate_leaves_the_old_file_or_none(batch: int, old: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "flat.onnx"
    if old:
        path.write_bytes(old)
    with pytest.raises(GateError, match="do not give the same answers") as caught:
        to_onnx(flat(), path, {"image": IMAGES}, run=lambda _: _lying(batch))
    assert caught.value.exit_code == 3
    assert [one.read_bytes() for one in tmp_path.iterdir()] == ([old] if old else [])


def test_a_loose_tolerance_lets_a_difference_pass(tmp_path: Path) -> None:
    loose = Tolerance(max_abs=2.0, cosine=-1.0, top1_agreement=0.0)
    exported = to_onnx(flat(), tmp_path / "flat.onnx", {"image": IMAGES}, tolerance=loose, run=lambda _: _lying(1))
    assert exported.parity.max_abs == pytest.approx(1.0)


def test_a_model_that_gives_nan_fails_the_gate(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="nan"):
        to_onnx(flat(float("nan")), tmp_path / "flat.onnx", {"image": IMAGES})


class Refuses(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("expected 3 channels")


class Branches(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)[:, :10]
        return flat if flat.sum() > 0 else -flat


class FixedBatch(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(2, 784)[:, :10]


class AlwaysTwoRows(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(2, -1)[:, :10]


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (Refuses(), "refuses its input"),
        (Branches(), "torch cannot export this model"),
        (FixedBatch(), "refuses a batch"),
        (AlwaysTwoRows(), "one row of logits for each image"),
    ],
)
def test_a_model_that_cannot_be_exported_is_told_and_nothing_written(module: nn.Module, told: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=told) as caught:
        to_onnx(Checkpoint(module, SPEC, factory="tests:module"), tmp_path / "model.onnx", {"image": IMAGES}, exporter="dynamo")
    assert caught.value.given
    assert caught.value.fix
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("feeds", "told"),
    [
        ({"image": IMAGES[:2]}, "at least three images"),
        ({"picture": IMAGES}, "do not fit the model's inputs"),
        ({}, "do not fit the model's inputs"),
        ({"image": IMAGES[:, :14]}, "another shape"),
    ],
)
def test_images_that_prove_nothing_are_refused(feeds: dict[str, np.ndarray], told: str, tmp_path: Path) -> None:
    with pytest.raises(EdgerecError, match=told) as caught:
        to_onnx(tiny(), tmp_path / "tiny.onnx", feeds)
    assert isinstance(caught.value, ConfigError)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        to_onnx(Checkpoint(Refuses(), SPEC), tmp_path / "missing" / "tiny.onnx", {"image": IMAGES})


def test_two_inputs_keep_their_names_and_order(tmp_path: Path) -> None:
    class Difference(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(784, 10)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return self.linear((left - 2 * right).flatten(1))

    spec = replace(SPEC, inputs=(replace(GREY_28, name="left"), replace(GREY_28, name="right")))
    exported = to_onnx(Checkpoint(Difference(), spec), tmp_path / "two.onnx", {"right": IMAGES[::-1], "left": IMAGES})
    assert [one.name for one in open_session(exported.path).inputs] == ["left", "right"]


def test_cleaning_twice_changes_nothing(exported: Exported) -> None:
    model = load_onnx(exported.path)
    del model.metadata_props[:]
    assert clean(model) == model
