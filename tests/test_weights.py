"""A user's weights: formats, wrappers, prefixes, and what is refused."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgerec.runtime.errors import ModelError
from edgerec.train.weights import LoadedWeights, load_weights


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


STATE: dict[str, Tensor] = {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in net().state_dict().items()}


def same(model: nn.Module) -> bool:
    return all(torch.equal(tensor, STATE[name]) for name, tensor in model.state_dict().items())


def test_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.safetensors")
    model = net()
    assert load_weights(model, tmp_path / "w.safetensors") == LoadedWeights(tensors=7)
    assert same(model)


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("wrapper", ["", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_pickled_state_dicts(tmp_path: Path, suffix: str, wrapper: str, prefix: str) -> None:
    state = {prefix + name: tensor for name, tensor in STATE.items()}
    path = tmp_path / f"w{suffix}"
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, path)
    model = net()
    assert load_weights(model, path) == LoadedWeights(7, wrapper, prefix)
    assert same(model)


class Hostile:
    """Unpickling it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_with_code_is_never_run(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1), "extra": Hostile(tmp_path / "was_here")}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="could run code"):
        load_weights(net(), tmp_path / "w.pt")
    assert not (tmp_path / "was_here").exists()


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"torch\.save\(model\.state_dict\(\), path\)"):
        load_weights(net(), tmp_path / "w.pt")


@pytest.mark.parametrize("content", [torch.ones(3), [1, 2], {}, {"weight": 3}, {1: torch.ones(1)}, "text"])
def test_plain_values_that_are_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="not a plain state dict"):
        load_weights(net(), tmp_path / "w.pt")


@pytest.mark.parametrize("content", [b"", b"no tensors", b"PK\x03\x04 cut off", b"\x80\x02}q\x00."])
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    for name in ("w.pt", "w.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError):
            load_weights(net(), tmp_path / name)


def test_a_missing_file_and_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load_weights(net(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match="unknown format"):
        load_weights(net(), tmp_path / "w.h5")


def test_weights_of_another_model_are_counted_and_not_copied(tmp_path: Path) -> None:
    other = {name: tensor for name, tensor in STATE.items() if name != "0.bias"} | {
        "0.weight": torch.ones(5, 1, 3, 3),
        "head.weight": torch.ones(1),
    }
    save_file(other, tmp_path / "w.safetensors")
    model = net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_weights(model, tmp_path / "w.safetensors")
    text = str(caught.value)
    assert "1 missing (0.bias)" in text
    assert "1 unexpected (head.weight)" in text
    assert "1 other shapes (0.weight (5, 1, 3, 3) instead of (2, 1, 3, 3))" in text
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_files_without_batch_counters_load(tmp_path: Path) -> None:
    """As the published CIFAR ResNets are."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    tensors = {name: torch.full_like(tensor, 3) for name, tensor in model.state_dict().items() if "num_batches" not in name}
    save_file(tensors, tmp_path / "w.safetensors")
    load_weights(model, tmp_path / "w.safetensors")
    assert model[1].running_mean.tolist() == [3, 3]
