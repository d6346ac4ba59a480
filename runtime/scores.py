"""From a classifier's output to scores and the best classes."""

import math
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from .errors import DataError, ModelError
from .finite import count_not_finite, is_finite
from .spec import ModelSpec

Array = npt.NDArray[np.generic]
Scores = npt.NDArray[np.float32]

_exp = math.exp

# Up to here a row goes through plain Python, which takes 5 us for ten classes where six calls of numpy take 10.
SMALL = 64


class Prediction(NamedTuple):  # a frozen dataclass would take three times as long to make: five of them 0.5 % of a 0.3 ms call
    """One class for one image: its label, its index, and its score (softmax, 0 to 1)."""

    label: str
    index: int  # pyright: ignore[reportIncompatibleMethodOverride]  # nobody looks a value up in a prediction
    score: float


def rank(found: Array, spec: ModelSpec, top: int) -> list[list[Prediction]]:
    """Return the best classes of each image, best first; of equal ones the first.

    Args:
        found: A classifier's first output, shape (N, classes).
        spec: Labels, and whether a softmax is missing.
        top: How many an image gets.

    Raises:
        ModelError: The output has another shape.
        DataError: A value is not finite.
    """
    if found.ndim != 2 or not found.shape[1]:
        raise ModelError(
            "a classifier's first output must have the shape (N, classes)", f"shape {found.shape}", "use run and read the outputs"
        )
    if found.shape[1] > SMALL:
        return [_rank_large(row, spec.labels, top) for row in as_scores_(found.astype(np.float32), spec)]
    return [_rank_small(row, spec, top) for row in cast("list[list[float]]", found.tolist())]


def _rank_small(row: list[float], spec: ModelSpec, top: int) -> list[Prediction]:
    # Largest first: the first and the last then tell whether all are finite, except for NaN, which is not smaller than anything.
    order = sorted(range(len(row)), key=row.__getitem__, reverse=True)
    largest = row[order[0]]
    scores = [_exp(value - largest) for value in row] if spec.scores == "logits" else row
    total = sum(scores)
    if not total < math.inf or row[order[-1]] == -math.inf:
        raise _not_finite(np.array(row, np.float32))
    share = total if scores is not row else 1.0
    labels = spec.labels
    known = len(labels)
    return [Prediction(labels[one] if one < known else str(one), one, scores[one] / share) for one in order[:top]]


def _rank_large(row: Scores, labels: tuple[str, ...], top: int) -> list[Prediction]:
    top = min(top, len(row))
    candidates = np.flatnonzero(row >= np.partition(row, -top)[-top])
    order = cast("list[int]", candidates[np.argsort(-row[candidates], kind="stable")][:top].tolist())
    known = len(labels)
    return [Prediction(labels[one] if one < known else str(one), one, float(row[one])) for one in order]


def as_scores_(logits: Scores, spec: ModelSpec) -> Scores:
    """Turn logits into scores in place, or leave scores as they are.

    Args:
        logits: float32, shape (N, classes).
        spec: Whether a softmax is missing.

    Raises:
        DataError: A value is not finite.
    """
    if not is_finite(logits):
        raise _not_finite(logits)
    return softmax_(logits) if spec.scores == "logits" else logits


def softmax_(logits: Scores) -> Scores:
    """Return exp(x) / sum(exp(x)) along the last axis, in place, safe against overflow."""
    np.subtract(logits, np.maximum.reduce(logits, axis=-1, keepdims=True), out=logits)
    np.exp(logits, out=logits)
    return np.divide(logits, np.add.reduce(logits, axis=-1, keepdims=True), out=logits)


def _not_finite(logits: Scores) -> DataError:
    return DataError("the model's output is not finite", f"{count_not_finite(logits)} values", "check the model for overflow")
