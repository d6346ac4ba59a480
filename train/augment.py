"""Augmentation of training batches: a policy for each data set, the same draws for the same seed and step on every device.

Mirroring, cropping and erasing move whole pixels (`views.py`); rotation and colours are kornia's. Evaluation has no augmentation because it
does not call this module.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from ..runtime.errors import ConfigError
from .transfer import to_device
from .views import draw_views, erased, moved


@dataclass(frozen=True, slots=True)
class Policy:
    """What is drawn anew for every image of a batch.

    Attributes:
        flip: Mirror left and right in half of the images.
        crop_padding: Pad with zeros by this fraction of the size, then cut the old size out at a random place, in [0, 1); 0.125
            is 4 pixels of 32, as in He et al. 2015 (arXiv 1512.03385).
        rotation_degrees: Largest angle, either way.
        color_jitter: Largest relative change of brightness, contrast and (of colour images) saturation, in [0, 1].
        erasing: Probability that a random rectangle is set to zero, in [0, 1].
        mixup_alpha: Mix pairs of images and their labels in shares drawn from Beta(alpha, alpha); 0 is off (Zhang et al. 2017,
            arXiv 1710.09412).
    """

    flip: bool = False
    crop_padding: float = 0.0
    rotation_degrees: float = 0.0
    color_jitter: float = 0.0
    erasing: float = 0.0
    mixup_alpha: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            ConfigError: A field is out of range.
        """
        highest = {"crop_padding": 1, "rotation_degrees": 180, "color_jitter": 1, "erasing": 1, "mixup_alpha": 1000}
        for name, limit in highest.items():
            value = getattr(self, name)
            if not 0 <= value <= limit:  # also false for nan
                raise ConfigError(f"{name} must be between 0 and {limit}", value, "0 switches it off")


POLICIES: dict[str, Policy] = {
    "mnist": Policy(crop_padding=0.08, rotation_degrees=10),  # 2 pixels of 28; a mirrored 2 is no digit
    "mnist-8k": Policy(crop_padding=0.08, rotation_degrees=10),
    "fashion-mnist": Policy(flip=True, crop_padding=0.08, erasing=0.25),
    "cifar10": Policy(flip=True, crop_padding=0.125, color_jitter=0.1),
    "flip-crop": Policy(flip=True, crop_padding=0.125),  # what papers on CIFAR mean by "standard augmentation"
    "folder": Policy(flip=True, crop_padding=0.125, color_jitter=0.2),
    "none": Policy(),
}


def policy_for(data_set: str) -> Policy:
    """Return the policy named like the data set, or the one for folders of photographs."""
    return POLICIES.get(data_set, POLICIES["folder"])


@dataclass(frozen=True, slots=True)
class Augment:
    """Apply a policy to batches.

    Attributes:
        policy: What to draw.
        classes: Number of labels; the width of the soft labels that mixup makes.
        seed: With the step it decides everything that is drawn.
    """

    policy: Policy
    classes: int
    seed: int = 0

    def __call__(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return new images and labels; the arguments and torch's random generator are left as they were.

        Args:
            images: Shape (N, C, H, W), float32 in 0..1, on any device.
            labels: Class indices, shape (N,), int64.
            step: Number of the batch, counted over the whole training and all processes.

        Returns:
            Images as given in shape and range; labels as given, or with mixup the share of each class, shape (N, K), float32.
        """
        if self.policy == POLICIES["none"]:
            return images, labels
        policy, (count, _, height, width) = self.policy, images.shape
        seed = _mix(self.seed, step)
        views = None
        if policy.flip or policy.crop_padding > 0 or policy.erasing > 0:
            padding = (round(height * policy.crop_padding), round(width * policy.crop_padding))
            drawn = draw_views(count, (height, width), flip=policy.flip, padding=padding, erasing=policy.erasing, seed=seed)
            views = to_device(drawn, images.device)
        # kornia draws from torch's CPU generator. Only that one is seeded and put back: torch.manual_seed would also seed the GPUs'.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            images = _rotation(policy)(images)
            images = images if views is None else moved(images, views)
            images = _colors(policy)(images)
            images = images if views is None or policy.erasing == 0 else erased(images, views)
            if policy.mixup_alpha > 0:
                return _mixup(images, labels, self.classes, policy.mixup_alpha)
            return images, labels


def _mix(seed: int, step: int) -> int:
    """Return 63 bits in which neighbouring seeds and steps have nothing in common."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _mixup(images: Tensor, labels: Tensor, classes: int, alpha: float) -> tuple[Tensor, Tensor]:
    n = len(images)
    share = to_device(torch.distributions.Beta(alpha, alpha).sample((n,)), images.device)  # (N,)
    partner = to_device(torch.randperm(n), images.device)
    wide = share.view(n, 1, 1, 1)
    one_hot = nn.functional.one_hot(labels, classes).to(images.dtype)  # (N, K)
    mixed = wide * images + (1 - wide) * images[partner]
    return mixed, share.view(n, 1) * one_hot + (1 - share.view(n, 1)) * one_hot[partner]


@cache
def _rotation(policy: Policy) -> nn.Module:
    """Return kornia's operation; it is built once, as that takes longer than a batch."""
    if policy.rotation_degrees == 0:
        return nn.Identity()
    import kornia.augmentation as kornia  # here because it takes 0.3 s, and evaluation never needs it

    return kornia.RandomRotation(policy.rotation_degrees, p=1.0)


@cache
def _colors(policy: Policy) -> nn.Module:
    strength = policy.color_jitter
    if strength == 0:
        return nn.Identity()
    import kornia.augmentation as kornia

    return kornia.ColorJitter(strength, strength, strength, 0.0, p=1.0)
