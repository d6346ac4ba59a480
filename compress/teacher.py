"""The model that is learnt from: its logits for the very images that the student sees, stored where these never change."""

import contextlib
import hashlib
import io
import zipfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..data.splits import Split
from ..runtime.cache import load, store
from ..runtime.errors import DataError, ModelError
from ..runtime.files import sha256
from ..runtime.preprocess import normalize
from ..runtime.session import Session, open_session
from ..runtime.spec import InputSpec, Scores
from ..train.batches import TrainBatch
from ..train.checkpoint import Checkpoint
from ..train.evaluation import predict_fn
from ..train.recorded import RecordedForward
from ..train.run import digest

Array = npt.NDArray[np.float32]
Forward = Callable[[Array], Array]
Answer = Callable[[Tensor], Tensor]

CACHE_KIND = "teacher-logits"
_BATCH = 250  # images; larger ones gain nothing on a CPU and cost memory


@dataclass(frozen=True, slots=True)
class Teacher:
    """A trained model as a function.

    Attributes:
        spec: The image it expects.
        predict: Prepared images, float32, shape (N, *spec.shape), to logits, float32, shape (N, classes).
        sha256: Hash of its weights or its file.
        answer: The same from tensor to tensor, on the images' device.
        classes: Number of its logits.
        labels: Their names; empty when unknown.
    """

    spec: InputSpec
    predict: Forward
    answer: Answer
    sha256: str
    classes: int
    labels: tuple[str, ...] = ()


def open_teacher(source: Checkpoint | Path, student: InputSpec, *, recorded: bool = False) -> Teacher:
    """Make a teacher of a checkpoint, or of an ONNX file.

    Args:
        source: A checkpoint, or the path of an ONNX file with one image input and logits (or probabilities) as its first output.
        student: What the student expects; a file that does not describe its input is given the same.
        recorded: A checkpoint's forward pass is recorded on the GPU and replayed, as `Settings.recorded` does with training steps.

    Raises:
        ModelError: The file cannot be loaded, has several inputs, or refuses its own input.
    """
    if isinstance(source, Checkpoint):
        about, forward, identity = source.spec, _torch_forward(source), digest(source.model)
    else:
        session = open_session(source, threads=torch.get_num_threads())
        about, forward, identity = session.spec, _onnx_forward(session, source), sha256(source)
    image, labels = (about.input, about.labels) if about else (student, ())
    outputs = _tried(forward, image)
    scores = about.scores if about else _guessed(outputs)
    predict = forward if scores == "logits" else _unsoftened(forward)
    answer = _torch_answer(source, recorded=recorded) if isinstance(source, Checkpoint) and scores == "logits" else _through_numpy(predict)
    return Teacher(image, predict, answer, identity, outputs.shape[1], labels)


def live_logits(teacher: Teacher, batch: TrainBatch, student: InputSpec) -> Tensor:
    """Run the teacher on the images of a batch (Beyer et al. 2021, arXiv:2106.05237: both must see the same view), shape (N, classes).

    Raises:
        ModelError: The teacher takes images of another size or colour than the student.
    """
    own, theirs = teacher.spec, student
    if (own.height, own.width, own.color) != (theirs.height, theirs.width, theirs.color):
        raise ModelError(
            "teacher and student must see the same augmented image",
            f"the teacher takes {own.height}x{own.width} {own.color}, the student {theirs.height}x{theirs.width} {theirs.color}",
            "train without augmentation, or give another teacher",
        )
    images = batch.images.detach().float()
    if theirs.layout == "NHWC":
        images = images.permute(0, 3, 1, 2)  # (N, C, H, W)
    if (own.scale, own.mean, own.std) != (theirs.scale, theirs.mean, theirs.std):
        pixels = (images * _column(theirs.std, images) + _column(theirs.mean, images)) / theirs.scale
        images = (pixels * own.scale - _column(own.mean, images)) / _column(own.std, images)
    if own.layout == "NHWC":
        images = images.permute(0, 2, 3, 1)  # (N, H, W, C)
    # The loss runs under the student's autocast; the teacher answers as it was trained.
    with torch.autocast(images.device.type, enabled=False):
        return teacher.answer(images.contiguous())


@dataclass(frozen=True, slots=True)
class StoredLogits:
    """The logits of every image of a split.

    Attributes:
        rows: Image id to row.
        logits: Shape (N, classes).
    """

    rows: dict[str, int]
    logits: Tensor

    def of(self, batch: TrainBatch) -> Tensor:
        """Return the logits of a batch's images, shape (N, classes)."""
        return self.logits[[self.rows[name] for name in batch.ids]].to(batch.images.device)


def stored_logits(teacher: Teacher, split: Split, fingerprint: str) -> StoredLogits:
    """Return the teacher's logits for the unchanged images of `split`, from the cache or computed once.

    Args:
        teacher: Who answers.
        split: The images.
        fingerprint: Hash of the data set the split is of.

    Raises:
        DataError: An image cannot be read.
    """
    names = hashlib.sha256("\n".join(split.ids).encode()).hexdigest()  # the seed decides which images of the set are in the split
    key = f"{teacher.sha256} {fingerprint} {names} {sorted(asdict(teacher.spec).items())}"
    found = _unpacked(load(CACHE_KIND, key))
    if found is None:
        found = _computed(teacher, split)
        packed = io.BytesIO()
        np.savez(packed, ids=np.array(found[0]), logits=found[1])
        store(CACHE_KIND, key, packed.getvalue())
    return StoredLogits({name: row for row, name in enumerate(found[0])}, torch.from_numpy(found[1]))


def _computed(teacher: Teacher, split: Split) -> tuple[list[str], Array]:
    ids: list[str] = []
    logits: list[Array] = []
    for batch in split.batches(_BATCH, (teacher.spec,)):
        ids.extend(batch.ids)
        logits.append(teacher.predict(normalize(batch.feeds[teacher.spec.name], teacher.spec)))
    return ids, np.concatenate(logits)


def _unpacked(data: bytes | None) -> tuple[list[str], Array] | None:
    """Read what was stored; a damaged entry counts as none."""
    with contextlib.suppress(ValueError, KeyError, OSError, zipfile.BadZipFile):
        if data is not None:
            arrays = np.load(io.BytesIO(data), allow_pickle=False)
            return arrays["ids"].tolist(), arrays["logits"]
    return None


def _torch_forward(checkpoint: Checkpoint) -> Forward:
    forward, name = predict_fn(checkpoint.model), checkpoint.spec.input.name
    return lambda images: forward({name: images})


def _torch_answer(checkpoint: Checkpoint, *, recorded: bool) -> Answer:
    models: dict[torch.device, torch.nn.Module] = {}

    def forward(images: Tensor) -> Tensor:
        model = models.get(images.device)
        if model is None:
            model = models[images.device] = deepcopy(checkpoint.model).eval().requires_grad_(False).to(images.device)
        # Not inference mode: the student's loss keeps the answers for its backward pass.
        with torch.no_grad():
            return cast("Tensor", model(images)).float()

    return RecordedForward(forward) if recorded else forward


def _through_numpy(predict: Forward) -> Answer:
    return lambda images: torch.from_numpy(predict(images.cpu().numpy())).to(images.device)


def _onnx_forward(session: Session, path: Path) -> Forward:
    if len(session.inputs) != 1:
        raise ModelError("a teacher has one image input", f"{path}: {', '.join(one.name for one in session.inputs)}", "give a classifier")
    name = session.inputs[0].name
    return lambda images: session.predict({name: images}).astype(np.float32)


def _tried(forward: Forward, image: InputSpec) -> Array:
    """Return what the teacher says of two empty images, shape (2, classes)."""
    shape = (2, *image.shape)
    try:
        outputs = forward(np.zeros(shape, np.float32))
    except (RuntimeError, ValueError, DataError) as error:
        raise ModelError("the teacher refuses its input", f"{shape} ({error})", "give a teacher that takes such images") from error
    if outputs.ndim != 2 or len(outputs) != 2:
        raise ModelError("the teacher does not return one row of logits for each image", f"shape {outputs.shape}", "give a classifier")
    return outputs


def _guessed(outputs: Array) -> Scores:
    """Tell probabilities from logits, for a file that does not: they are not negative and sum to 1, which logits do by chance only."""
    sums = outputs.sum(axis=1)
    return "probabilities" if bool((outputs >= 0).all()) and np.allclose(sums, 1, atol=1e-3) else "logits"


def _unsoftened(forward: Forward) -> Forward:
    """Take the logarithm of probabilities: softmax gives them back, so they are logits up to a constant."""
    return lambda images: np.log(np.maximum(forward(images), np.finfo(np.float32).tiny))


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device).view(-1, 1, 1)  # (C, 1, 1)
