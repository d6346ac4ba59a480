"""What `train` and `distill` share: options that change a recipe, and the drawing of a training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from .console import Bar, say

if TYPE_CHECKING:
    from ..train.augment import Policy
    from ..train.loop import Progress
    from ..train.settings import Settings

Epochs = Annotated[int | None, typer.Option("--epochs", help="Passes over the images; the model's recipe by default.")]
Batch = Annotated[int | None, typer.Option("--batch", help="Images a step, over all processes; the recipe by default.")]
Optimizer = Annotated[str | None, typer.Option("--optimizer", help="sgd, adam or adamw; the recipe by default.")]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Highest learning rate; the recipe by default.")]
Schedule = Annotated[str | None, typer.Option("--schedule", help="constant, cosine or one_cycle; the recipe by default.")]
LabelSmoothing = Annotated[float | None, typer.Option("--label-smoothing", help="Share of each label that is spread over all classes.")]
Ema = Annotated[float | None, typer.Option("--ema", help="Decay of the moving average of the weights, such as 0.999; 0 is off.")]
Precision = Annotated[str | None, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")]
AugmentName = Annotated[str | None, typer.Option("--augment", help="A named augmentation policy, or none; the data set's own by default.")]
Mixup = Annotated[float | None, typer.Option("--mixup", help="Mix pairs of images, in shares from Beta(mixup, mixup); 0 is off.")]
Recorded = Annotated[
    bool, typer.Option("--recorded", help="Record a step as a CUDA graph and replay it: much faster for small networks on one GPU.")
]
Blocks = Annotated[str | None, typer.Option("--blocks", help="Blocks of a registry ResNet's three stages, such as 2,3,5.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run of the same command.")]


@dataclass(frozen=True, slots=True)
class Changes:
    """What the command line says instead of a recipe; None keeps the recipe's value."""

    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    lr: float | None = None
    schedule: str | None = None
    label_smoothing: float | None = None
    ema_decay: float | None = None
    precision: str | None = None
    recorded: bool | None = None

    def over(self, recipe: "Settings", seed: int) -> "Settings":
        """Return the recipe with these changes.

        Raises:
            ConfigError: A value is out of range.
        """
        own = {"epochs": self.epochs, "batch_size": self.batch_size, "label_smoothing": self.label_smoothing}
        own |= {"ema_decay": self.ema_decay, "precision": self.precision, "seed": seed, "recorded": self.recorded}
        return replace(
            recipe,
            optimizer=replace(recipe.optimizer, **_given({"method": self.optimizer, "lr": self.lr})),
            schedule=replace(recipe.schedule, **_given({"shape": self.schedule})),
            **_given(own),
        )


def parse_blocks(text: str | None) -> tuple[int, ...]:
    """Turn `2,3,5` into numbers; empty without a text.

    Raises:
        ConfigError: It is no list of numbers.
    """
    from ..runtime.errors import ConfigError

    try:
        return () if text is None else tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError("--blocks needs whole numbers with commas between them", repr(text), "for example 2,3,5") from error


def choose_policy(named: str | None, data: str, mixup: float | None = None) -> "Policy":
    """Return the augmentation that was asked for, or the one for the data set.

    Raises:
        ConfigError: No policy has this name, or mixup is out of range.
    """
    from ..runtime.errors import ConfigError
    from ..train.augment import POLICIES, policy_for

    if named is not None and named not in POLICIES:
        raise ConfigError("no augmentation policy has this name", repr(named), f"choose one of {', '.join(POLICIES)}")
    policy = policy_for(named or data)
    return policy if mixup is None else replace(policy, mixup_alpha=mixup)


def follow(bar: Bar, *, quiet: bool) -> "Progress":
    """Return what draws a training: the bar moves with every step, every epoch is a line."""
    from ..train.steps import Step

    def show(event: object) -> None:
        if isinstance(event, Step):
            bar.show(event.step, event.steps, f"loss {event.loss:.3f}")
        else:
            epoch = asdict(event)  # type: ignore[call-overload]  # the other kind of event
            told = f"loss {epoch['loss']:.4f}, validation top-1 {epoch['top1']:.2%}, {epoch['images_per_s']:.0f} images/s"
            say(f"epoch {epoch['epoch']}: {told}", quiet=quiet)

    return show


def _given(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
