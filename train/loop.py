"""The training loop: forward, check, backward, step, average; validate and save after every epoch.

Distillation and quantization-aware training are other losses and other models, not other loops. `accelerate` spreads one run over the
processes that `torchrun` or `accelerate launch` starts: each takes its share of every global batch.
"""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import nn

from ..benchmarks.accuracy import count
from ..data.splits import DataSet, Split
from ..runtime.errors import DataError, ModelError
from ..runtime.spec import ModelSpec
from .augment import Augment, Policy
from .batches import Feed, Loss, Teach, ahead
from .evaluation import check_model, predict_fn
from .output import Output
from .precision import compute_dtype, takes_channels_last
from .processes import Processes
from .recorded import RecordedStep, check_recordable
from .run import Epoch, Run, average_, digest, set_lr_
from .settings import Settings


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
class Fitted:
    """A trained model.

    Attributes:
        model: The weights of the best epoch, on the CPU, in evaluation mode.
        best: The epoch with the highest validation accuracy, the first of equals.
        history: Every epoch.
        path: Where they were written, if they were.
    """

    model: nn.Module
    best: Epoch
    history: tuple[Epoch, ...]
    path: Path | None


Progress = Callable[[Step | Epoch], None]


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


def fit(
    model: nn.Module,
    data: DataSet,
    loss: Loss,
    settings: Settings,
    *,
    spec: ModelSpec,
    policy: Policy | None = None,
    output: Output | None = None,
    progress: Progress | None = None,
    teach: Teach | None = None,
) -> Fitted:
    """Train a copy of `model` on `data.train`; `data.validation` picks the best epoch.

    On CPUs of one kind the same model, data, settings and numbers of threads and processes give the same weights bit for bit, also when the
    run was interrupted and resumed. On GPUs the order of the images and their augmentations are the same, but the weights may differ: cuDNN
    may sum gradients in another order each time (https://docs.pytorch.org/docs/stable/notes/randomness.html).

    Args:
        model: The model to start from; it stays as it is.
        data: Labelled images.
        loss: The mean loss of one batch. It is given the model to call, and computes in the settings' precision.
        settings: How to train.
        spec: What the model expects; checkpoints carry it as it is given.
        policy: Augmentation of the training images; without one they are what evaluation sees, bit for bit.
        output: Where checkpoints, metrics and the state for resuming go, and at the end the best weights; without it nothing is written.
        progress: Called after every step and every epoch.
        teach: Answers every batch; the loss finds its answers there. It runs outside of the step, on the batch's device.

    Raises:
        ConfigError: The settings do not fit the number of processes or the device, or there is a result but no run to resume.
        DataError: No labels, a label outside the classes, fewer images than a batch for each process, or damaged images.
        ModelError: The model refuses its input, the loss is no longer finite, or the run to resume is another one.
        OutputError: A file cannot be written.
    """
    course = _course(model, data, loss, settings, spec, policy, teach)
    processes = course.processes
    run = Run.start(
        model,
        settings.optimizer,
        device=processes.device,
        dtype=course.dtype,
        memory_format=course.feed.memory_format,
        recorded=settings.recorded,
    )
    identity = {} if output is None else _identity(model, data, course, policy, spec)
    if output is not None:
        output.check()
        if output.resume and output.resumable.is_file():
            run.restore_(output.resumable, identity)
            processes.wait()  # the first one may be about to remove the file: nothing may be left to train

    shared = processes.together(run.model)
    recorded = RecordedStep(shared, run, course.autocast, loss, settings.optimizer.clip_norm) if settings.recorded else None
    with torch.random.fork_rng(devices=[processes.device] if processes.device.type == "cuda" else []):
        for number in range(len(run.history), settings.epochs):
            started = perf_counter()
            steps: list[Step] = []
            for step in replay_epoch(recorded, run, course, number) if recorded else train_epoch(shared, run, course, number):
                steps.append(step)
                if progress is not None:
                    progress(step)
            seconds = perf_counter() - started
            epoch = _summary(steps, seconds, _validate(run, data, spec, course), course)
            improved = run.finish(epoch)
            if output is not None and processes.main:
                output.write(run.averaged, spec, run.history, best=improved)
                run.save(output.resumable, identity)
            processes.wait()
            if progress is not None:
                progress(epoch)
    fitted = _fitted(model, run, output)
    if output is not None and processes.main:
        output.publish(fitted.model, spec)
    processes.wait()
    return fitted


def train_epoch(model: nn.Module, run: Run, course: Course, epoch: int) -> Iterator[Step]:
    """Train one epoch, counted from 0, step by step.

    Raises:
        ModelError: The loss is no longer finite; the weights are those of the step before.
    """
    settings, feed, processes = course.settings, course.feed, course.processes
    first, steps = epoch * course.steps, course.steps * settings.epochs
    torch.manual_seed(_seed(settings.seed, epoch, processes.rank + 1))  # for dropout; the order is the same on every process
    model.train()
    for number, raw in enumerate(feed.batches(course.steps, shuffle_seed=_seed(settings.seed, epoch)), start=first):
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
    torch.manual_seed(_seed(settings.seed, epoch, 1))
    recorded.model.train()
    raw = enumerate(feed.batches(course.steps, shuffle_seed=_seed(settings.seed, epoch)), start=first)
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


def _validate(run: Run, data: DataSet, spec: ModelSpec, course: Course) -> float:
    """Return the top-1 of the weights that would be saved; every process counts its share of the images."""
    processes = course.processes
    if course.settings.ema_decay == 0:
        average_(run.averaged, run.model, 0)
    processes.copy_buffers_(run.averaged)
    counter = count(predict_fn(run.averaged), data.validation.shard(processes.rank, processes.count), spec, check_model(run.averaged, spec))
    counter.confusion = processes.total(counter.confusion)
    return counter.result().top1


def _summary(steps: list[Step], seconds: float, top1: float, course: Course) -> Epoch:
    images = len(steps) * course.feed.batch_size * course.processes.count
    loss = sum(step.loss for step in steps) / len(steps)
    return Epoch(steps[-1].epoch, steps[-1].step, loss, steps[-1].lr, top1, seconds, images / seconds)


def _course(
    model: nn.Module, data: DataSet, loss: Loss, settings: Settings, spec: ModelSpec, policy: Policy | None, teach: Teach | None
) -> Course:
    """Check that model, data and settings fit each other, and meet the other processes."""
    classes = check_model(model, spec)
    for split in (data.train, data.validation):
        _check_labels(split, classes)
    processes = Processes.join()
    dtype = compute_dtype(settings.precision, processes.device)
    if settings.recorded:
        check_recordable(processes.device, processes.count, dtype)
    # Convolutions want the channels last in memory: an fp32 epoch of MobileNetV2 takes 242 s instead of 429, one of ResNet-20 133 instead of 155.
    channels_last = takes_channels_last(model, spec)
    readable = len(data.train) - len(data.train.skipped)
    batch_size = min(settings.batch_size, readable // processes.count * processes.count)
    if batch_size == 0:
        raise DataError("fewer training images than processes", f"{readable} images, {processes.count} processes", "start fewer")
    feed = Feed(
        split=data.train.shard(processes.rank, processes.count),
        spec=spec.input,
        batch_size=processes.share(batch_size),
        augment=None if policy is None or policy == Policy() else Augment(policy, classes, settings.seed),
        device=processes.device,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
        teach=teach,
    )
    return Course(settings, loss, feed, readable // batch_size, dtype, processes)


def _check_labels(split: Split, classes: int) -> None:
    labels = split.labels
    if labels is None or len(labels) == 0:
        raise DataError(
            "training needs labelled images to train on and to validate",
            f"{len(split)} images",
            "give a folder with one sub-folder a class",
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            "a label is outside the classes", f"labels {labels.min()} to {labels.max()}, {classes} classes", "build the model for this data"
        )


def _identity(model: nn.Module, data: DataSet, course: Course, policy: Policy | None, spec: ModelSpec) -> dict[str, object]:
    """Return what makes a run this one and no other."""
    return {
        "settings": asdict(course.settings),
        "compute type": str(course.dtype),  # `auto` depends on the CPU
        "processes": course.processes.count,  # each of their batches has its own draw of augmentations
        "policy": asdict(policy or Policy()),
        "data": data.fingerprint,
        "first weights": digest(model),
        "spec": spec.to_json(),  # its history also tells a distillation's teacher, temperature and share
    }


def _seed(*parts: int) -> int:
    """Return 32 bits in which neighbouring seeds and epochs have nothing in common."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _fitted(model: nn.Module, run: Run, output: Output | None) -> Fitted:
    best = deepcopy(model).cpu()  # of the model as it was given, so that frozen weights are still frozen
    best.load_state_dict(run.best)
    highest = max(run.history, key=lambda epoch: epoch.top1)  # the first of equals
    return Fitted(best.eval(), highest, run.history, None if output is None else output.path)
