"""Two exporters: each where the other fails, the gate between them, and faults put into a graph to see who is blamed and where."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from edgerec.export import exporter as exporting
from edgerec.export import to_onnx
from edgerec.export.tracing import Traced, trace
from edgerec.graph.file import load_onnx, read_spec
from edgerec.runtime.errors import ConfigError, GateError, ModelError
from edgerec.runtime.session import open_session
from edgerec.runtime.spec import InputSpec, ModelSpec
from edgerec.train.checkpoint import Checkpoint

SPEC = ModelSpec(inputs=(InputSpec(8, 8, name="image", color="grey", mean=(0.0,), std=(1.0,)),))
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 4, 3)
        self.second = nn.Conv2d(4, 4, 3)
        self.linear = nn.Linear(4, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.linear(torch.relu(self.second(torch.relu(self.conv(image)))).mean((2, 3)))


class Branching(Net):
    """It branches on a value: torch.export cannot follow that, and a recording takes the branch of its example."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) if float(image.sum()) >= 0 else -image.flatten(1)[:, :10]


class Counting(Net):
    """It computes with the batch as a Python number: a recording keeps the example's, torch.export keeps a symbol."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) * torch.sym_float(image.shape[0])


class Both(Counting):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) if float(image.sum()) >= 0 else image.flatten(1)[:, :10]


def export(module: nn.Module, folder: Path, **options):
    return to_onnx(Checkpoint(module, SPEC), folder / "model.onnx", {"image": IMAGES}, **options)


def test_what_dynamo_cannot_follow_torchscript_records_and_the_file_says_so(tmp_path: Path) -> None:
    exported = export(Branching(), tmp_path)
    assert exported.exporter == "torchscript"
    assert "cannot export" in exported.failed["dynamo"]
    assert any("test_exporters.py:" in one for one in exported.cautions)
    step = read_spec(load_onnx(exported.path)).provenance.history[-1]
    assert (step["exporter"], step["failed"], step["cautions"]) == ("torchscript", exported.failed, list(exported.cautions))


def test_a_recording_that_froze_the_batch_fails_where_dynamo_is_right(tmp_path: Path) -> None:
    module = Counting()
    with pytest.raises(GateError, match="at batch 1 the exporter's graph is wrong"):
        export(module, tmp_path, exporter="torchscript")
    assert list(tmp_path.iterdir()) == []
    exported = export(module, tmp_path, exporter="auto")
    assert (exported.exporter, exported.failed) == ("dynamo", {})
    for size in (1, 4):
        image = np.random.default_rng(1).standard_normal((size, 1, 8, 8)).astype(np.float32)
        with torch.inference_mode():
            expected = module.eval()(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(open_session(exported.path).run({"image": image})["logits"], expected, atol=1e-4)


def test_where_both_fail_both_are_told(tmp_path: Path) -> None:
    with pytest.raises(GateError) as caught:
        export(Both(), tmp_path)
    assert "dynamo: torch cannot export" in caught.value.given
    assert "torchscript: the two models do not give the same answers" in caught.value.given
    assert list(tmp_path.iterdir()) == []


def test_either_exporter_on_request(tmp_path: Path) -> None:
    for name in ("dynamo", "torchscript"):
        assert export(Net(), tmp_path, exporter=name).exporter == name
    with pytest.raises(ModelError, match="cannot export"):
        export(Branching(), tmp_path, exporter="dynamo")
    with pytest.raises(ConfigError, match="unknown exporter"):
        export(Net(), tmp_path, exporter="jit")


def edited(model, index: int):
    """Return a copy whose weight of this index is off by 1 in one place."""
    copy = type(model)()
    copy.CopyFrom(model)
    weight = [one for one in copy.graph.initializer if len(one.dims) == 4][index]
    array = numpy_helper.to_array(weight).copy()
    array.flat[0] += 1
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    return copy


@pytest.mark.parametrize(("index", "path"), [(0, "conv"), (1, "second")])
@pytest.mark.parametrize("name", ["dynamo", "torchscript"])
def test_a_weight_that_the_exporter_spoilt_is_found(
    name: str, index: int, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "trace", lambda *given: Traced(edited(trace(*given).model, index)))
    with pytest.raises(GateError, match=f"the exporter's graph is wrong; first at module {path}, Conv node"):
        export(Net(), tmp_path, exporter=name)


@pytest.mark.parametrize("index", [0, 1])
def test_a_rewrite_that_went_wrong_is_found(index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = exporting.clean
    monkeypatch.setattr(exporting, "clean", lambda model: edited(clean(model), index))
    convs: list[str] = []
    monkeypatch.setattr(exporting, "trace", lambda *given: remember(trace(*given), convs))
    with pytest.raises(GateError, match="edgerec's clean-up is wrong; first at Conv node") as caught:
        export(Net(), tmp_path, exporter="dynamo")
    assert repr(convs[index]) in caught.value.given


def remember(traced: Traced, convs: list[str]) -> Traced:
    convs.extend(node.output[0] for node in traced.model.graph.node if node.op_type == "Conv")
    return traced


def test_an_optimiser_that_goes_wrong_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgerec.export import divergence

    honest = divergence.open_model

    def lying(model, *, taps=(), optimise=True):
        return honest(edited(model, 1) if optimise else model, taps=taps, optimise=optimise)

    monkeypatch.setattr(divergence, "open_model", lying)
    monkeypatch.setattr(exporting, "ask_file", lambda _, names: lambda feeds: {names[0]: np.zeros((len(feeds["image"]), 10), np.float32)})
    with pytest.raises(GateError, match="ONNX Runtime's optimiser is wrong; first at Conv node") as caught:
        export(Net(), tmp_path, exporter="dynamo")
    assert "second" in caught.value.given or "conv2d_1" in caught.value.given


def test_a_batch_norm_folded_into_its_convolution_is_not_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    net.conv = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    net.conv[1].running_var.fill_(4)
    # The folded weight comes last, so the first one is the second convolution's.
    monkeypatch.setattr(exporting, "trace", lambda *given: Traced(edited(trace(*given).model, 0)))
    with pytest.raises(GateError, match="first at module second, Conv node"):
        export(net, tmp_path, exporter="torchscript")


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"classes": self.net(image), "features": image.mean((2, 3)).abs()}


class Pair(Heads):
    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.net(image), image.mean(1)


@pytest.mark.parametrize("name", ["dynamo", "torchscript"])
@pytest.mark.parametrize(("module", "names"), [(Heads, ["classes", "features"]), (Pair, ["logits", "output_1"])])
def test_every_output_has_its_name(module: type[nn.Module], names: list[str], name: str, tmp_path: Path) -> None:
    exported = export(module(), tmp_path, exporter=name)
    assert [one.name for one in open_session(exported.path).outputs] == names


def test_a_forward_that_returns_no_tensor_is_refused(tmp_path: Path) -> None:
    class Texts(Net):
        def forward(self, image: Tensor) -> dict[str, object]:
            return {"logits": super().forward(image), "name": "net"}

    with pytest.raises(ModelError, match="name is a str"):
        export(Texts(), tmp_path)


def test_a_forward_of_other_arguments_is_told(tmp_path: Path) -> None:
    spec = replace(SPEC, inputs=(SPEC.inputs[0], replace(SPEC.inputs[0], name="second")))
    with pytest.raises(ModelError, match=r"takes other arguments than image, second"):
        to_onnx(Checkpoint(Net(), spec), tmp_path / "model.onnx", {"image": IMAGES, "second": IMAGES})


def test_a_model_of_one_batch_size_is_told_and_exported_on_request(tmp_path: Path) -> None:
    class Two(Net):
        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image).reshape(2, 10)

    with pytest.raises(ModelError, match="--batch"):
        export(Two(), tmp_path)
    exported = export(Two(), tmp_path, batch=2)
    assert open_session(exported.path).fixed_batch == 2
    with pytest.raises(ConfigError, match="that many images"):
        export(Two(), tmp_path, batch=6)
