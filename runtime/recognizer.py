"""What products embed: an image goes in, labels and scores come out."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from . import packed
from .errors import DataError, ModelError
from .preprocess import decode, prepare_batch
from .session import Session, open_session
from .spec import ModelSpec

Image = str | os.PathLike[str] | bytes | npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class for one image: its label, its index, and its score (softmax, 0 to 1)."""

    label: str
    index: int
    score: float


class Recognizer:
    """An image classifier, ready to use; safe to share between threads.

    Args:
        session: A loaded model.
        spec: What it expects, for files that do not say so themselves.
        top: How many predictions an image gets, best first.
    """

    def __init__(self, session: Session, spec: ModelSpec | None = None, *, top: int = 5) -> None:
        known = spec or session.spec
        if known is None:
            raise ModelError(
                "the model does not say what it expects",
                "no edgerec metadata",
                "give a ModelSpec (on the command line: --input-size, --mean, --std ...)",
            )
        if known.task != "classification":
            raise ModelError("a Recognizer needs a classifier", f"task {known.task!r}", "use open_session and read its outputs")
        self.session = session
        self.spec = session.fit(known)
        self.top = top

    @classmethod
    def load(
        cls,
        file: str | os.PathLike[str],
        *,
        provider: str = "cpu",
        threads: int | None = None,
        spec: ModelSpec | None = None,
        top: int = 5,
        replay: bool = False,
    ) -> "Recognizer":
        """Load an ONNX file; with `replay`, a packed one must first give the answer to its golden image that it was made with.

        Raises:
            ModelError: The file is missing, damaged, or does not say what it expects and no `spec` was given.
            ProviderError: The provider is unknown or not installed.
            GateError: The provider is there but does not run the model, or the golden answer is another one here.
        """
        loaded = cls(open_session(Path(file), provider=provider, threads=threads), spec, top=top)
        if replay:
            packed.replay(loaded.session, loaded.spec)
        return loaded

    def predict(self, image: Image) -> list[Prediction]:
        """Recognise one image: a path, the bytes of an image file, or a uint8 array (H, W), (H, W, 1) or (H, W, 3) in RGB order.

        Raises:
            DataError: The image cannot be decoded or has another dtype or shape.
        """
        return self.predict_batch([image])[0]

    def predict_batch(self, images: Sequence[Image]) -> list[list[Prediction]]:
        """Recognise several images in one run of the model; sizes may differ."""
        if not images:
            return []
        pixels = [
            image if isinstance(image, np.ndarray) else decode(image if isinstance(image, bytes) else Path(image)) for image in images
        ]
        if self.spec.packed is not None:
            return [self._best(row) for row in packed.scores(self.session, self.spec, pixels)]
        scores = self.scores({self.spec.input.name: prepare_batch(pixels, self.spec.input)})
        return [self._best(row) for row in scores]

    def scores(self, feeds: Mapping[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.float32]:
        """Run prepared tensors; return the scores of every class, shape (N, classes), rows that sum to one."""
        logits = np.asarray(self.session.predict(feeds), np.float32)
        if logits.ndim != 2:
            raise ModelError(
                "a classifier's first output must have the shape (N, classes)",
                f"shape {logits.shape}",
                "use open_session and read its outputs",
            )
        if not np.isfinite(logits).all():
            raise DataError(
                "the model's output is not finite", f"{int((~np.isfinite(logits)).sum())} values", "check the input for NaN and infinity"
            )
        return softmax(logits) if self.spec.scores == "logits" else logits

    def _best(self, scores: npt.NDArray[np.float32]) -> list[Prediction]:
        order = np.argsort(-scores, kind="stable")[: self.top]
        labels = self.spec.labels
        return [Prediction(labels[i] if i < len(labels) else str(i), i, float(scores[i])) for i in cast("list[int]", order.tolist())]


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return exp(x) / sum(exp(x)) along the last axis, safe against overflow."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
