"""The training loop: forward, check, backward, step, average; validate and save after every epoch.

Distillation and quantization-aware training are other losses and other models, not other loops. `accelerate` spreads one run over the
processes that `torchrun` or `accelerate launch` starts: each takes its share of every global batch.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from ..benchmarks.accuracy import count
from ..data.splits import DataSet, Split
from ..runtime.errors import DataError
from ..runtime.spec import ModelSpec
from .augment import Augment, Policy
from .batches import Feed, Loss, Teach
from .evaluation import check_model, predict_fn
from .output import Output
from .precision import compute_dtype, takes_channels_last
from .processes import Processes
from .recorded import RecordedStep, check_recordable
from .run import Epoch, Run, average_, digest
from .settings import Settings
from .steps import Course, Step, replay_epoch, train_epoch


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


def _fitted(model: nn.Module, run: Run, output: Output | None) -> Fitted:
    best = deepcopy(model).cpu()  # of the model as it was given, so that frozen weights are still frozen
    best.load_state_dict(run.best)
    highest = max(run.history, key=lambda epoch: epoch.top1)  # the first of equals
    return Fitted(best.eval(), highest, run.history, None if output is None else output.path)
