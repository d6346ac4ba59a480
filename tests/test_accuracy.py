"""Accuracy against counts made by hand, a textbook interval, and a slow second implementation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerec.benchmarks.accuracy import Accuracy, Counter, score, wilson
from edgerec.runtime.errors import ConfigError, DataError, ModelError

# Four images of three classes: right, right, taken for 2, taken for 0.
LOGITS = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 1.0, 2.0], [5.0, 4.0, 3.0]], np.float32)
LABELS = np.array([0, 1, 1, 2])


def test_by_hand() -> None:
    accuracy = score(LOGITS, LABELS, 3)
    assert accuracy.top1 == 0.5
    assert accuracy.top5 == 1.0  # three classes: the label is always among five
    assert accuracy.images == 4
    assert accuracy.recall == (1.0, 0.5, 0.0)
    assert accuracy.confusion == ((1, 0, 0), (0, 1, 1), (1, 0, 0))


def test_a_class_without_images_has_no_recall() -> None:
    assert score(LOGITS[:1], LABELS[:1], 3).recall == (1.0, None, None)


def test_top5_counts_the_fifth_and_not_the_sixth() -> None:
    logits = np.array([[7, 6, 5, 4, 3, 2, 1]] * 2, np.float32)
    assert score(logits, np.array([4, 5]), 7).top5 == 0.5


def test_equal_logits_go_to_the_lowest_index() -> None:
    flat = np.zeros((7, 7), np.float32)
    accuracy = score(flat, np.arange(7), 7)
    assert accuracy.top1 == 1 / 7
    assert accuracy.top5 == 5 / 7


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 40))
def test_batches_of_any_size_and_added_counters_give_the_same(seed: int, classes: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.integers(-3, 4, (images, classes)).astype(np.float32)  # few values, so that many are equal
    labels = rng.integers(0, classes, images)
    cut = int(rng.integers(0, images + 1))
    first, second = Counter(classes), Counter(classes)
    first.add(logits[:cut], labels[:cut])
    second.add(logits[cut:], labels[cut:])
    assert (first + second).result() == score(logits, labels, classes) == slow_score(logits, labels, classes)


def slow_score(logits: np.ndarray, labels: np.ndarray, classes: int) -> Accuracy:
    """Sort each image's classes by logit, then by index, and look."""
    order = [sorted(range(classes), key=lambda c, row=row: (-row[c], c)) for row in logits]
    pairs = list(zip(labels.tolist(), order, strict=True))
    hits = sum(ranked[0] == label for label, ranked in pairs)
    confusion = tuple(tuple(sum(label == a and ranked[0] == b for label, ranked in pairs) for b in range(classes)) for a in range(classes))
    recall = tuple(confusion[c][c] / sum(confusion[c]) if sum(confusion[c]) else None for c in range(classes))
    low, high = wilson(hits, len(pairs))
    return Accuracy(
        hits / len(pairs), sum(label in ranked[:5] for label, ranked in pairs) / len(pairs), low, high, len(pairs), recall, confusion
    )


def test_wilson_interval_of_newcombes_table() -> None:
    # Newcombe 1998 (Statistics in Medicine 17, table I), method 3, to the four digits printed there.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_wilson_ends_solve_the_score_equation(trials: int, share: float) -> None:
    # The ends are the shares p with (x/n - p)^2 = z^2 p (1 - p) / n: the definition, not the solved formula.
    successes = round(share * trials)
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    for end in (low, high):
        distance, spread = abs(successes / trials - end), 1.959963984540054 * math.sqrt(end * (1 - end) / trials)
        assert distance == pytest.approx(spread, abs=1e-9)


def test_wilson_mirrors() -> None:
    low, high = wilson(3, 50)
    assert wilson(47, 50) == pytest.approx((1 - high, 1 - low), abs=1e-15)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_the_classes(label: int) -> None:
    with pytest.raises(DataError, match=f"outside the classes: label {label}, 3 classes"):
        score(LOGITS, np.array([0, 1, 1, label]), 3)


def test_a_refused_batch_counts_nothing() -> None:
    counter = Counter(3)
    with pytest.raises(DataError):
        counter.add(LOGITS, np.array([0, 1, 1, 9]))
    assert counter.confusion.sum() == 0


def test_logits_of_another_model() -> None:
    with pytest.raises(ModelError, match=r"logits \(4, 3\), 4 labels; expected 10"):
        score(LOGITS, LABELS, 10)


def test_nan_is_not_a_prediction() -> None:
    logits = LOGITS.copy()
    logits[2, 0] = np.nan
    with pytest.raises(ModelError, match="NaN: 1 of 4 images"):
        score(logits, LABELS, 3)


def test_nothing_to_count() -> None:
    with pytest.raises(DataError, match="0 images"):
        Counter(3).result()
    with pytest.raises(ConfigError):
        Counter(0)
    with pytest.raises(ConfigError):
        Counter(2) + Counter(3)
    with pytest.raises(ConfigError):
        wilson(1, 0)
    with pytest.raises(ConfigError):
        wilson(3, 2)
