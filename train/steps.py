"""The steps of one epoch: launched by Python one after the other, or replayed on a GPU."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import torch
from torch import nn

from ..runtime.errors import ModelError
from .batches import Feed, Loss
from .processes import Processes
from .recorded import RecordedStep
from .run import Run, average_, set_lr_
from .settings import Settings
from .transfer import ahead


@dataclass(frozen=True, slots=True)
class Step:
    """Progress after one step.

    Attributes:
        epoch: From 1.
        step: From 1, over all epochs.
        steps: How many there will be.
        loss: Mean over the global batch.
        lr: Learning rate of this step.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    lr: float


@dataclass(frozen=True, slots=True)
class Course:
    """What stays the same while a model trains.

    Attributes:
        settings: How to train.
        loss: What to make smaller.
        feed: This process's share of the batches.
        steps: Steps an epoch.
        dtype: In which type layers compute; float32 means no autocast.
        processes: Those that train together.
    """

    settings: Settings
    loss: Loss
    feed: Feed
    steps: int
    dtype: torch.dtype
    processes: Processes

    def autocast(self) -> torch.autocast:
        """Return the context in which the loss is computed."""
        half = self.dtype != torch.float32
        return torch.autocast(self.processes.device.type, self.dtype if half else None, enabled=half)


def train_epoch(model: nn.Module, run: Run, course: Course, epoch: int) -> Iterator[Step]:
    """Train one epoch, counted from 0, step by step.

    Raises:
        ModelError: The loss is no longer finite; the weights are those of the step before.
    """
    settings, feed, processes = course.settings, course.feed, course.processes
    first, steps = epoch * course.steps, course.steps * settings.epochs
    torch.manual_seed(seed_of(settings.seed, epoch, processes.rank + 1))  # for dropout; the order is the same on every process
    model.train()
    for number, raw in enumerate(feed.batches(course.steps, shuffle_seed=seed_of(settings.seed, epoch)), start=first):
        lr = settings.optimizer.lr * settings.schedule.factor(number, steps)
        set_lr_(run.optimizer, lr)
        batch = feed.prepared(raw, draw=number * processes.count + processes.rank)
        with course.autocast():
            value = course.loss(model, batch)
        mean = processes.mean(value)
        _check_finite(mean, number, lr)
        run.scaler.scale(value).backward()
        if settings.optimizer.clip_norm > 0:
            run.scaler.unscale_(run.optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), settings.optimizer.clip_norm)
        run.scaler.step(run.optimizer)
        run.scaler.update()
        run.optimizer.zero_grad(set_to_none=True)
        if settings.ema_decay > 0:
            # Early on the average would remember the random start: its memory grows with the number of steps.
            average_(run.averaged, run.model, min(settings.ema_decay, (1 + number) / (10 + number)))
        yield Step(epoch + 1, number + 1, steps, mean, lr)


def replay_epoch(recorded: RecordedStep, run: Run, course: Course, epoch: int) -> Iterator[Step]:
    """Train one epoch, counted from 0, with a recorded step, while a thread prepares the next batches.

    Raises:
        ModelError: The loss is no longer finite. The weights are damaged by then; what the epoch before has written is not.
    """
    settings, feed = course.settings, course.feed
    first, steps = epoch * course.steps, course.steps * settings.epochs
    torch.manual_seed(seed_of(settings.seed, epoch, 1))
    recorded.model.train()
    raw = enumerate(feed.batches(course.steps, shuffle_seed=seed_of(settings.seed, epoch)), start=first)
    batches = ((number, feed.prepared(one, draw=number)) for number, one in raw)
    early = list(islice(batches, recorded.eager_steps_left))  # nothing else may use the GPU while a step is recorded
    for number, batch in chain(early, ahead(batches)):
        lr = settings.optimizer.lr * settings.schedule.factor(number, steps)
        set_lr_(run.optimizer, lr)
        loss = recorded(batch).item()
        _check_finite(loss, number, lr)
        if settings.ema_decay > 0:
            average_(run.averaged, run.model, min(settings.ema_decay, (1 + number) / (10 + number)))
        yield Step(epoch + 1, number + 1, steps, loss, lr)


def _check_finite(loss: float, number: int, lr: float) -> None:
    if not math.isfinite(loss):
        raise ModelError(
            "the loss is not finite", f"loss {loss} at step {number + 1}, lr {lr:.3g}", "lower the learning rate, or clip the gradient"
        )


def seed_of(*parts: int) -> int:
    """Return 32 bits in which neighbouring seeds and epochs have nothing in common."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
