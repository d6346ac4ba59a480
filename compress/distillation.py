"""Knowledge distillation: a small model learns from the softened answers of a large one and from the labels.

Hinton et al. 2015, "Distilling the knowledge in a neural network", arXiv:1503.02531. It is another loss in the same training loop.
"""

import math
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import torch.nn.functional as F  # noqa: N812  # the name every PyTorch reader knows
from torch import Tensor, nn

from ..data.splits import DataSet
from ..runtime.errors import ConfigError, ModelError
from ..train.augment import Policy
from ..train.batches import Loss, TrainBatch
from ..train.checkpoint import Checkpoint
from ..train.evaluation import check_model
from ..train.loop import Progress, fit
from ..train.output import Output
from ..train.run import Epoch
from ..train.settings import Settings
from .teacher import StoredLogits, Teacher, live_logits, open_teacher, stored_logits


@dataclass(frozen=True, slots=True)
class Distillation:
    """How much the student listens to the teacher, and how softly the teacher speaks.

    Attributes:
        temperature: Divides the logits of both before the softmax; higher shows more of what the teacher thinks of the wrong classes.
        alpha: Weight of the teacher's part, in [0, 1]; the labels have the rest.
    """

    temperature: float = 4.0
    alpha: float = 0.9

    def __post_init__(self) -> None:
        """Refuse values that cannot train.

        Raises:
            ConfigError: A field is out of range.
        """
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError("temperature must be a positive number", self.temperature, "4 is usual")
        if not 0 <= self.alpha <= 1:
            raise ConfigError("alpha must be in [0, 1]", self.alpha, "0.9 is usual; 0 is training on labels alone")


@dataclass(frozen=True, slots=True)
class DistillationReport:
    """What distillation did.

    Attributes:
        best: The epoch whose weights were kept.
        history: Every epoch; its loss is the distillation loss.
        teacher_sha256: Hash of the teacher's weights or file.
    """

    best: Epoch
    history: tuple[Epoch, ...]
    teacher_sha256: str


@dataclass(frozen=True, slots=True)
class Distilled:
    """A student that has learnt, and how."""

    model: Checkpoint
    report: DistillationReport


def distill(
    student: Checkpoint,
    teacher: Checkpoint | Path,
    data: DataSet,
    config: Distillation,
    settings: Settings,
    *,
    policy: Policy | None = None,
    output: Output | None = None,
    progress: Progress | None = None,
) -> Distilled:
    """Train a copy of the student on the teacher's answers.

    Without augmentation the teacher answers once for each image, and the answers are kept in the cache. With augmentation it answers for
    the very images that the student sees.

    Args:
        student: Where training starts; it is not changed.
        teacher: A checkpoint, or the path of an ONNX file.
        data: Labelled images.
        config: Temperature and weight.
        settings: How to train.
        policy: Augmentation of the training images.
        output: Where checkpoints, metrics and the state for resuming go.
        progress: Called after every step and every epoch.

    Raises:
        ModelError: The teacher cannot be used, or has other classes (or names or orders them otherwise) or, with augmentation, another input than the student.
        ConfigError, DataError, OutputError: As `train.fit`.
    """
    image = student.spec.input
    opened = open_teacher(teacher, image, recorded=settings.recorded)
    _check_classes(opened, student)

    @cache
    def stored() -> StoredLogits:
        return stored_logits(opened, data.train, data.fingerprint)

    def answers(batch: TrainBatch) -> Tensor:
        return live_logits(opened, batch, image) if batch.augmented else stored().of(batch)

    provenance = student.spec.provenance.after("distill", **asdict(config), epochs=settings.epochs, teacher_sha256=opened.sha256)
    spec = replace(student.spec, provenance=replace(provenance, data_fingerprint=data.fingerprint))
    loss = distillation_loss(config, label_smoothing=settings.label_smoothing)
    fitted = fit(student.model, data, loss, settings, spec=spec, policy=policy, output=output, progress=progress, teach=answers)
    report = DistillationReport(fitted.best, fitted.history, opened.sha256)
    return Distilled(replace(student, model=fitted.model, spec=spec), report)


def _check_classes(teacher: Teacher, student: Checkpoint) -> None:
    classes, labels = check_model(student.model, student.spec), student.spec.labels
    fix = "give a teacher for this data"
    if teacher.classes != classes:
        raise ModelError("teacher and student have different classes", f"teacher {teacher.classes}, student {classes}", fix)
    if teacher.labels and labels and teacher.labels != labels:
        pairs = zip(teacher.labels, labels, strict=False)
        told = (f"class {index} is {theirs!r} and {ours!r}" for index, (theirs, ours) in enumerate(pairs) if theirs != ours)
        raise ModelError("teacher and student have different labels", next(told, "one has more of them"), fix)


def distillation_loss(config: Distillation, *, label_smoothing: float = 0.0) -> Loss:
    """Return `alpha T^2 KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha) cross-entropy`, the mean over a batch.

    T^2 keeps the two parts in proportion when T changes: the soft part's gradient shrinks with 1 / T^2.

    The teacher's logits are the batch's `answers`.

    Args:
        config: Temperature and weight.
        label_smoothing: Of the cross-entropy.
    """

    def loss(model: nn.Module, batch: TrainBatch) -> Tensor:
        logits = model(batch.images).float()  # (N, classes)
        softened = F.log_softmax(logits / config.temperature, dim=1)
        assert batch.answers is not None  # `fit` is given a teacher
        target = F.log_softmax(batch.answers / config.temperature, dim=1)
        soft = F.kl_div(softened, target, reduction="batchmean", log_target=True) * config.temperature**2
        hard = F.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)
        return config.alpha * soft + (1 - config.alpha) * hard

    return loss
