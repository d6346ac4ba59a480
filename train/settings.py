"""Every knob of training, as frozen records that check themselves and can be stored."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from ..runtime.errors import ConfigError

Method = Literal["sgd", "adam", "adamw"]
Shape = Literal["constant", "cosine", "one_cycle"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

# torch.optim.lr_scheduler.OneCycleLR's defaults: the first rate is 1/25 of the highest, the last 1/10,000 of the first.
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = ONE_CYCLE_START / 1e4


@dataclass(frozen=True, slots=True)
class Optimizer:
    """How a step follows from the gradient.

    Attributes:
        method: `sgd` has Nesterov momentum; `adam` adds weight decay to the gradient, `adamw` decouples it (arXiv 1711.05101).
        lr: Highest learning rate of the schedule.
        weight_decay: On kernels and matrices only; biases and the scales of normalisations have none.
        momentum: Of `sgd`.
        clip_norm: The gradient is scaled down to this L2 norm when it is longer; 0 turns it off.
    """

    method: Method = "sgd"
    lr: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that cannot train.

        Raises:
            ConfigError: A field is out of range.
        """
        _choice("optimizer", self.method, Method)
        _require(_positive(self.lr), "lr must be a positive number", self.lr, "0.1 suits SGD, 0.001 Adam")
        _require(_at_least_0(self.weight_decay), "weight_decay must be 0 or more", self.weight_decay, "0.0005 is usual")
        _require(0 <= self.momentum < 1, "momentum must be in [0, 1)", self.momentum, "0.9 is usual")
        _require(_at_least_0(self.clip_norm), "clip_norm must be 0 or more", self.clip_norm, "0 turns clipping off")


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the learning rate moves over the whole of training.

    Attributes:
        shape: `constant`; `cosine` falls to 0 (arXiv 1608.03983); `one_cycle` rises from 1/25 and falls to almost 0 (arXiv 1708.07120).
        warmup: Fraction of all steps with a rising rate, in [0, 1).
    """

    shape: Shape = "cosine"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that cannot train.

        Raises:
            ConfigError: A field is out of range.
        """
        _choice("schedule", self.shape, Shape)
        _require(0 <= self.warmup < 1, "warmup must be in [0, 1)", self.warmup, "0.05 warms up over a twentieth of the steps")

    def factor(self, step: int, steps: int) -> float:
        """Return the share of the highest rate that `step` (from 0) of `steps` takes."""
        rising = self.warmup * steps
        if self.shape == "one_cycle":
            # The highest rate is at the last rising step, the lowest at the last of all, as in torch's OneCycleLR.
            peak = max(rising - 1, 0.0)
            if step < peak:
                return _cosine(ONE_CYCLE_START, 1.0, step / peak)
            return _cosine(1.0, ONE_CYCLE_END, (step - peak) / max(steps - 1 - peak, 1.0))
        if step < rising:
            return (step + 1) / (rising + 1)
        return _cosine(1.0, 0.0, (step - rising) / (steps - rising)) if self.shape == "cosine" else 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is trained.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images a step, over all processes together.
        optimizer: How a step follows from the gradient.
        schedule: How the learning rate moves.
        label_smoothing: Share of each label that is spread over all classes, for `cross_entropy`.
        ema_decay: Decay of the exponential moving average of the weights, which then is what gets validated and saved; 0 turns it off.
        precision: `bf16` and `fp16` compute layers in 16 bits where that is safe (autocast) and keep weights in 32; `auto` is bf16 where
            the device computes in it, else fp32.
        seed: Of shuffling, augmentation and dropout.
        recorded: Record one step as a CUDA graph and replay it: several times as fast for small networks on one GPU. Only for models whose
            `forward` does the same in every step; what Python decides in it (`random.random() < 0.5`) is recorded as it was once.
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    precision: Precision = "auto"
    seed: int = 0
    recorded: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot train.

        Raises:
            ConfigError: A field is out of range.
        """
        _choice("precision", self.precision, Precision)
        _require(self.epochs >= 1, "training needs at least one epoch", self.epochs, "give 1 or more")
        _require(self.batch_size >= 1, "a batch needs at least one image", self.batch_size, "128 is usual")
        _require(0 <= self.label_smoothing < 1, "label_smoothing must be in [0, 1)", self.label_smoothing, "0.1 is usual")
        _require(0 <= self.ema_decay < 1, "ema_decay must be in [0, 1)", self.ema_decay, "0.999 is usual, 0 turns the average off")
        _require(self.seed >= 0, "a seed must be 0 or more", self.seed, "give another number")


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _at_least_0(value: float) -> bool:
    return math.isfinite(value) and value >= 0


def _choice(what: str, given: str, allowed: object) -> None:
    _require(given in get_args(allowed), f"unknown {what}", repr(given), f"choose one of {', '.join(get_args(allowed))}")


def _require(kept: bool, problem: str, given: object, fix: str) -> None:
    if not kept:
        raise ConfigError(problem, given, fix)
