"""Agreement by hand, against the functions it is made of on whole arrays, and its ranking of classes."""

import base64
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgerec.benchmarks.accuracy import wilson
from edgerec.benchmarks.agreement import Against, worst_classes
from edgerec.benchmarks.flips import FLIPS, thumbnail
from edgerec.benchmarks.measured import Agreement
from edgerec.benchmarks.noise import sqnr_db
from edgerec.benchmarks.paired import Pairs, count_pairs, mcnemar, tango
from edgerec.runtime.errors import DataError, ModelError

LABELS = np.array([0, 0, 1, 1, 2])
BEFORE = np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 2]]  # one wrong
AFTER = np.eye(3, dtype=np.float32)[[0, 1, 1, 1, 0]]  # loses images 1 and 4, wins image 3
IDS = ("a", "b", "c", "d", "e")


def against(reference: np.ndarray, logits: np.ndarray, labels: np.ndarray | None, batch: int = 100) -> Agreement:
    found = Against()
    for start in range(0, len(logits), batch):
        part = slice(start, start + batch)
        ids = tuple(map(str, range(start, min(start + batch, len(logits)))))
        found.add(reference[part], logits[part], None if labels is None else labels[part], ids)
    return found.result()


def test_by_hand() -> None:
    found = Against()
    found.add(BEFORE, AFTER, LABELS, IDS)
    result = found.result()
    assert (result.images, result.agreement, result.lost, result.won) == (5, 2 / 5, 2, 1)
    assert result.agreement_interval == wilson(2, 5)
    assert result.drop_points == pytest.approx(20)
    assert result.mcnemar_p == 1.0  # 2 of 3 coins
    assert result.sqnr_db == pytest.approx(10 * math.log10(5 / 6))  # three answers differ in two places
    assert [(one.id, one.label, one.before, one.after) for one in result.flips] == [("b", 0, 0, 1), ("e", 2, 2, 0), ("d", 1, 2, 1)]
    worst = {one.label: (one.images, one.before, one.after, one.drop_points) for one in result.worst}
    assert worst == {2: (1, 1, 0, 100), 0: (2, 1, 0.5, 50)}


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(1, 60), st.integers(1, 70))
def test_batches_of_any_size_give_what_whole_arrays_do(seed: int, classes: int, images: int, batch: int) -> None:
    draws = np.random.default_rng(seed)
    before = draws.normal(size=(images, classes)).astype(np.float32)
    after = (before + draws.normal(size=before.shape)).astype(np.float32)
    labels = draws.integers(0, classes, images)
    result = against(before, after, labels, batch)
    was, now = before.argmax(axis=1) == labels, after.argmax(axis=1) == labels
    pairs = count_pairs(was, now)
    assert (result.lost, result.won, result.mcnemar_p, result.drop_interval) == (pairs.lost, pairs.won, mcnemar(pairs), tango(pairs))
    assert result.drop_points == pytest.approx(100 * (was.mean() - now.mean()))
    assert result.agreement == (before.argmax(axis=1) == after.argmax(axis=1)).mean()
    assert result.sqnr_db == pytest.approx(sqnr_db(before, after))
    for one in result.worst:
        mine = labels == one.label
        assert (one.images, one.before, one.after) == (mine.sum(), was[mine].mean(), now[mine].mean())
        assert one.interval[0] <= one.drop_points <= one.interval[1]


def test_a_file_agrees_with_itself() -> None:
    result = against(BEFORE, BEFORE, LABELS)
    assert (result.agreement, result.sqnr_db, result.drop_points, result.mcnemar_p) == (1.0, math.inf, 0.0, 1.0)
    assert (result.worst, result.flips) == ((), ())


def test_without_labels_there_is_agreement_and_noise_only() -> None:
    result = against(BEFORE, AFTER, None)
    assert (result.lost, result.won, result.drop_points, result.drop_interval, result.mcnemar_p) == (None,) * 5
    assert result.agreement == 2 / 5
    assert result.sqnr_db == pytest.approx(10 * math.log10(5 / 6))
    assert [one.label for one in result.flips] == [None] * 3


def test_another_number_of_classes_has_no_noise() -> None:
    wider = np.pad(AFTER, ((0, 0), (0, 1)))
    assert against(BEFORE, wider, LABELS, 2).sqnr_db is None
    assert against(BEFORE, wider, LABELS, 2).lost == 2


def test_a_class_of_three_images_is_not_worst_by_luck() -> None:
    three, many, few = (2, 1, 0, 0), (900, 80, 0, 20), (130, 60, 0, 10)  # both, lost, won, neither: drops of 33, 8 and 30 points
    assert [one.label for one in worst_classes(np.array([three, many, few]).T)] == [2, 1, 0]
    assert worst_classes(np.array([many]).T)[0].interval == tango(Pairs(*many), correction=0.5)


def test_classes_that_gained_are_left_out_and_ten_are_kept() -> None:
    lost = np.arange(20)
    cells = np.array([np.full(20, 100), lost, np.full(20, 5), np.zeros(20, int)])
    worst = worst_classes(cells)
    assert [one.label for one in worst] == list(range(19, 9, -1))
    assert {one.label for one in worst_classes(cells[:, :8])} == {6, 7}


def test_lost_images_come_first_and_no_more_than_64_are_kept() -> None:
    count = 300
    labels = np.zeros(count, int)
    before = np.eye(3, dtype=np.float32)[np.arange(count) % 10 // 9]  # every tenth was wrong before
    after = np.eye(3, dtype=np.float32)[np.full(count, 2)]
    flips = against(before, after, labels, 7).flips
    assert len(flips) == FLIPS
    assert all(one.before == one.label == 0 and one.after == 2 for one in flips)
    few = against(before[:30], after[:30], labels[:30], 7).flips
    assert [one.before for one in few] == [0] * 27 + [1] * 3


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 20, 3)])
def test_a_thumbnail_of_a_small_image_is_the_image(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(thumbnail(image)))))
    assert np.array_equal(shown.reshape(shape), image)


def test_a_thumbnail_of_a_large_image_is_small_and_keeps_its_ratio() -> None:
    shown = Image.open(io.BytesIO(base64.b64decode(thumbnail(np.full((224, 112, 3), (9, 8, 7), np.uint8)))))
    assert (shown.format, shown.size) == ("PNG", (32, 64))
    assert shown.getpixel((5, 5)) == (9, 8, 7)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="outside the classes: label 3, 3 classes"):
        against(BEFORE, AFTER, LABELS + 1)
    with pytest.raises(ModelError, match="5 and 4"):
        Against().add(BEFORE, AFTER[:4], LABELS, IDS)
    with pytest.raises(DataError, match="0 images"):
        Against().result()
