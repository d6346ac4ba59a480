"""Augmentation: what is kept, what repeats, and each operation's own law."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from edgerec.runtime.errors import ConfigError
from edgerec.train.augment import POLICIES, Augment, Policy, policy_for

CLASSES = 10


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def augment(policy: Policy, images: torch.Tensor, *, seed: int = 0, step: int = 0) -> torch.Tensor:
    return Augment(policy, CLASSES, seed)(images, torch.zeros(len(images), dtype=torch.int64), step)[0]


@pytest.mark.parametrize("shape", [(6, 1, 28, 28), (6, 3, 32, 32), (2, 3, 48, 40), (1, 1, 28, 28)])
@pytest.mark.parametrize("name", POLICIES)
def test_shape_range_and_labels_are_kept(name: str, shape: tuple[int, ...]) -> None:
    images, labels = torch.rand(shape), torch.arange(shape[0])
    before = images.clone()
    result, same = Augment(POLICIES[name], CLASSES)(images, labels, step=3)
    assert result.shape == images.shape
    assert result.dtype == torch.float32
    assert result.min() >= 0
    assert result.max() <= 1
    assert torch.equal(same, labels)
    assert torch.equal(images, before)
    assert torch.equal(result, images) == (name == "none")


@pytest.mark.parametrize("name", set(POLICIES) - {"none"})
def test_seed_and_step_decide_everything(name: str) -> None:
    images = torch.rand(8, 3, 32, 32)
    policy = dataclasses.replace(POLICIES[name], mixup_alpha=0.4)
    labels = torch.arange(8)
    first = Augment(policy, CLASSES, seed=1)(images, labels, step=5)
    torch.rand(17)  # what else is drawn in between does not matter
    Augment(policy, CLASSES, seed=1)(images, labels, step=6)
    again = Augment(policy, CLASSES, seed=1)(images, labels, step=5)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    for seed, step in ((1, 6), (2, 5), (5, 1)):
        assert not torch.equal(first[0], Augment(policy, CLASSES, seed)(images, labels, step)[0])


def test_the_random_generator_is_left_as_it_was() -> None:
    images = torch.rand(4, 1, 28, 28)
    state = torch.get_rng_state()
    augment(POLICIES["fashion-mnist"], images)
    assert torch.equal(torch.get_rng_state(), state)


def test_flip_mirrors_about_half() -> None:
    images = torch.rand(400, 1, 2, 8)
    result = augment(Policy(flip=True), images)
    mirrored = (result == images.flip(3)).flatten(1).all(dim=1)
    kept = (result == images).flatten(1).all(dim=1)
    assert (mirrored | kept).all()
    assert 140 < mirrored.sum() < 260  # 200 +- 6 standard deviations


def test_crop_moves_whole_pixels_by_at_most_the_padding() -> None:
    images = torch.zeros(300, 1, 16, 16)
    images[:, 0, 8, 8] = 1
    result = augment(Policy(crop_padding=0.125), images)  # 2 pixels of 16
    rows, columns = result[:, 0].flatten(1).argmax(dim=1) // 16, result[:, 0].flatten(1).argmax(dim=1) % 16
    assert (result.sum(dim=(1, 2, 3)) == 1).all()
    assert set(rows.tolist()) == set(columns.tolist()) == {6, 7, 8, 9, 10}


def test_rotation_keeps_the_centre_and_bounds_the_angle() -> None:
    images = torch.zeros(100, 1, 33, 33)
    images[:, 0, 16, 16:] = 1  # a line from the centre to the right
    result = augment(Policy(rotation_degrees=10), images)
    assert (result[:, 0, 16, 16] > 0.9).all()
    end = result[:, 0, :, 30].argmax(dim=1) - 16  # 14 pixels from the centre
    assert end.abs().max() <= 3  # 14 tan(10 degrees) = 2.5
    assert end.min() < 0 < end.max()


@pytest.mark.parametrize("channels", [1, 3])
def test_color_jitter_keeps_the_place_of_edges(channels: int) -> None:
    images = torch.full((50, channels, 8, 8), 0.5)
    result = augment(Policy(color_jitter=0.2), images)
    assert (result.flatten(2).std(dim=2) < 1e-5).all()  # a flat image stays flat
    assert result[:, 0, 0, 0].std() > 0.01  # but each gets its own brightness


def test_erasing_zeroes_one_rectangle() -> None:
    result = augment(Policy(erasing=1.0), torch.ones(50, 1, 32, 32))[:, 0]
    for image in result:
        hole = image == 0
        height, width = hole.any(dim=1).sum(), hole.any(dim=0).sum()
        assert hole.sum() == height * width
        assert 0.01 < hole.float().mean() < 0.36


def test_erasing_has_its_probability() -> None:
    touched = (augment(Policy(erasing=0.25), torch.ones(400, 1, 16, 16)).amin(dim=(1, 2, 3)) == 0).sum()
    assert 50 < touched < 150  # 100 +- 6 standard deviations


def test_mixup_mixes_labels_as_it_mixes_images() -> None:
    labels = torch.arange(8)
    images = torch.zeros(8, CLASSES, 4, 4)
    images[labels, labels] = 1  # channel k of an image says how much of class k is in it
    mixed, soft = Augment(Policy(mixup_alpha=1.0), CLASSES)(images, labels, step=0)
    assert soft.shape == (8, CLASSES)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(8))
    torch.testing.assert_close(mixed.mean(dim=(2, 3)), soft)
    assert (soft.max(dim=1).values < 1).any()


def test_known_names_and_others() -> None:
    assert policy_for("mnist-8k") is POLICIES["mnist-8k"]
    assert policy_for("my-photos") is POLICIES["folder"]
    assert not any(POLICIES[name].flip for name in ("mnist", "mnist-8k"))


@pytest.mark.parametrize("values", [{"crop_padding": -0.1}, {"erasing": 1.5}, {"rotation_degrees": float("nan")}, {"mixup_alpha": -1.0}])
def test_impossible_policies(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError) as caught:
        Policy(**values)
    assert next(iter(values)) in caught.value.problem


def test_kornia_is_loaded_when_it_is_needed() -> None:
    code = "import sys, edgerec.train.augment; print('kornia' in sys.modules)"
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
