"""Checkpoints: same bytes, same model back, and a clear refusal of everything that is not one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgerec.runtime.errors import ConfigError, ModelError, OutputError
from edgerec.runtime.spec import InputSpec, ModelSpec
from edgerec.train.checkpoint import Checkpoint, fresh_checkpoint, load_checkpoint, save_checkpoint
from edgerec.train.models import Architecture
from edgerec.train.plan import PruningPlan, apply_plan

SPEC = ModelSpec(inputs=(InputSpec(8, 8, color="grey", mean=(0.5,), std=(0.25,)),), labels=("cat", "dog"))
CNN = Architecture("cnn", classes=2, channels=1, size=8, width=0.25)
PLAN = PruningPlan(out={"conv1": (0, 3, 4)}, inputs={"conv2": (0, 3, 4)})
IMAGES = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))

FACTORY = """
from torch import nn

def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))

def other():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))

def broken():
    raise RuntimeError("no licence file")
"""


def pruned() -> Checkpoint:
    whole = fresh_checkpoint(CNN, SPEC)
    return replace(whole, model=apply_plan(whole.model, PLAN), plan=PLAN)


def logits(model: nn.Module) -> Tensor:
    with torch.inference_mode():
        return model.eval()(IMAGES)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "nets_of_" + tmp_path.name.replace("-", "_")
    (tmp_path / f"{name}.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_pruned_model_comes_back(tmp_path: Path) -> None:
    checkpoint = pruned()
    save_checkpoint(checkpoint, tmp_path / "small.safetensors")
    loaded = load_checkpoint(tmp_path / "small.safetensors")
    assert torch.equal(logits(loaded.model), logits(checkpoint.model))
    assert (loaded.spec, loaded.architecture, loaded.plan, loaded.factory) == (checkpoint.spec, CNN, PLAN, None)


def test_the_same_checkpoint_gives_the_same_bytes(tmp_path: Path) -> None:
    for number in range(5):  # a hash map's order would differ within a few tries
        save_checkpoint(pruned(), tmp_path / f"{number}.safetensors")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_the_header_is_what_other_tools_read(tmp_path: Path) -> None:
    save_checkpoint(pruned(), tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    assert (8 + size) % 8 == 0
    assert sorted(metadata) == ["architecture", "edgerec", "plan"]
    assert json.loads(metadata["architecture"])["name"] == "cnn"


def test_fresh_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = fresh_checkpoint(CNN, SPEC, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(logits(first.model), logits(fresh_checkpoint(CNN, SPEC, seed=3).model))
    assert not torch.equal(logits(first.model), logits(fresh_checkpoint(CNN, SPEC, seed=4).model))
    assert {"edgerec", "torch"} <= first.spec.provenance.versions.keys()


def test_tied_weights_are_kept(tmp_path: Path, own_module: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    model[1].bias = nn.Parameter(model[1].weight[0, :2])  # shares memory with the weight
    save_checkpoint(Checkpoint(model, SPEC, factory=f"{own_module}:build"), tmp_path / "tied.safetensors")
    loaded = load_checkpoint(tmp_path / "tied.safetensors", f"{own_module}:build")
    assert torch.equal(logits(loaded.model), logits(model))


def test_a_users_factory_must_be_given_again(tmp_path: Path, own_module: str) -> None:
    path = tmp_path / "own.safetensors"
    checkpoint = fresh_checkpoint(f"{own_module}:build", SPEC)
    save_checkpoint(checkpoint, path)
    assert torch.equal(logits(load_checkpoint(path, f"{own_module}:build").model), logits(checkpoint.model))
    with pytest.raises(ModelError, match="not imported because a file says so"):
        load_checkpoint(path)
    with pytest.raises(ModelError, match=f"{own_module}:other, the file says {own_module}:build"):
        load_checkpoint(path, f"{own_module}:other")


def test_a_file_that_names_a_factory_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile.py").write_text(f"open({str(tmp_path / 'was_here')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    save_checkpoint(Checkpoint(nn.Linear(1, 1), SPEC, factory="hostile:build"), tmp_path / "a.safetensors")
    with pytest.raises(ModelError):
        load_checkpoint(tmp_path / "a.safetensors")
    assert not (tmp_path / "was_here").exists()


def test_a_factory_that_raises(own_module: str) -> None:
    with pytest.raises(ModelError, match="no licence file"):
        fresh_checkpoint(f"{own_module}:broken", SPEC)


def test_a_factory_for_a_model_of_the_registry(tmp_path: Path) -> None:
    save_checkpoint(pruned(), tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="load it without a factory"):
        load_checkpoint(tmp_path / "a.safetensors", "some.module:build")


def test_an_unknown_model_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match="resnet20"):
        fresh_checkpoint(replace(CNN, name="resnet21"), SPEC)


def test_a_resnet_of_any_depth_reloads_by_itself(tmp_path: Path) -> None:
    uneven = fresh_checkpoint(Architecture("resnet20", 2, 1, 8, 0.5, blocks=(1, 3, 2)), SPEC)
    save_checkpoint(uneven, tmp_path / "a.safetensors")
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert loaded.architecture == uneven.architecture
    assert len(loaded.model.layer2) == 3


def test_a_file_from_before_blocks_could_be_given(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "a.safetensors", architecture='{"name":"cnn","classes":2,"channels":1,"size":8,"width":0.25}')
    assert load_checkpoint(path).architecture == CNN


def rewritten(path: Path, **changes: str) -> Path:
    """Save a good checkpoint with other metadata."""
    save_checkpoint(pruned(), path)
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"].update(changes)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    return path


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("architecture", '{"name":"cnn","classes":2,"channels":1,"size":8,"width":0.5}', r"another model.*other shapes \(conv2.weight"),
        ("architecture", '{"name":"resnet8","classes":2,"channels":1,"size":8,"width":0.25}', "no such module: 'conv2'|another model"),
        ("architecture", '{"name":"gone","classes":2}', "cannot be built.*no model"),
        ("architecture", '{"name":"cnn"}', "damaged"),
        ("architecture", "[]", "damaged"),
        ("architecture", "{", "damaged"),
        ("architecture", '{"name":["cnn"],"classes":2}', "damaged"),
        ("architecture", '{"name":"cnn","classes":true}', "damaged"),
        ("architecture", '{"name":"cnn","classes":2.5}', "damaged"),
        ("architecture", '{"name":"cnn","classes":2,"width":"1"}', "damaged"),
        ("architecture", '{"name":"cnn","classes":2,"width":1e300}', "damaged"),
        ("architecture", '{"name":"cnn","classes":1000000000000000000000000000000}', "damaged"),
        ("architecture", '{"name":"resnet8","classes":2,"blocks":[1,1]}', "cannot be built.*3 stages"),
        ("architecture", '{"name":"resnet8","classes":2,"blocks":[1,1,1000000]}', "damaged"),
        ("architecture", '{"name":"resnet8","classes":2,"blocks":7}', "damaged"),
        # 80 GB of weights, described in a few bytes: they are never made.
        ("architecture", '{"name":"cnn","classes":1000000,"channels":1,"size":8,"width":100}', "another model|out of range"),
        ("plan", "{", "not a pruning plan"),
        ("plan", '{"plan_version":1,"out":{},"inputs":{},"removed":[]}', "another model"),
        ("edgerec", "{", "not a spec"),
    ],
)
def test_metadata_that_does_not_fit(tmp_path: Path, key: str, text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_checkpoint(rewritten(tmp_path / "a.safetensors", **{key: text}))


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_cut_off_file(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(pruned(), path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelError, match=r"not a whole \.safetensors"):
        load_checkpoint(path)


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load_checkpoint(tmp_path / "missing.safetensors")
    with pytest.raises(ModelError, match="does not exist"):
        load_checkpoint(tmp_path)
    (tmp_path / "text.safetensors").write_text("these are no tensors at all")
    with pytest.raises(ModelError, match="not a whole"):
        load_checkpoint(tmp_path / "text.safetensors")
    save_file({"weight": torch.ones(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ModelError, match="not an edgerec checkpoint"):
        load_checkpoint(tmp_path / "foreign.safetensors")


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"write a\.safetensors"):
        save_checkpoint(pruned(), tmp_path / "a.pt")
    with pytest.raises(OutputError):
        save_checkpoint(pruned(), tmp_path / "missing" / "a.safetensors")
    with pytest.raises(ConfigError, match="either an architecture or a factory"):
        save_checkpoint(replace(pruned(), architecture=None), tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []
