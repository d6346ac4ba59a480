"""Images in memory: what is taken, what is refused and how the refusal helps."""

import numpy as np
import pytest

from edgerec.data.arrays import check_images, check_labels, from_arrays, natural_input
from edgerec.runtime.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4


def test_a_data_set_of_arrays() -> None:
    data = from_arrays("mine", {"train": (IMAGES, LABELS), "test": (IMAGES[:8], LABELS[:8])}, labels=["a", "b", "c", "d"])
    assert (data.name, data.labels) == ("mine", ("a", "b", "c", "d"))
    assert [len(data.split(name)) for name in ("train", "calibration", "validation", "test")] == [28, 8, 4, 8]
    assert (data.input.height, data.input.width, data.input.color) == (6, 5, "rgb")


def test_statistics_are_those_of_the_chosen_rows() -> None:
    rows = np.array([3, 9, 30])
    spec = natural_input(IMAGES, rows)
    scaled = IMAGES[rows].astype(np.float64) / 255
    assert np.allclose(spec.mean, scaled.mean(axis=(0, 1, 2)), atol=5e-5)
    assert np.allclose(spec.std, scaled.std(axis=(0, 1, 2)), atol=5e-5)


def test_images_of_one_colour_have_a_usable_spread() -> None:
    assert natural_input(np.full((3, 2, 2, 1), 51, np.uint8), np.arange(3)).mean == (0.2,)
    assert natural_input(np.full((3, 2, 2, 1), 51, np.uint8), np.arange(3)).std == (1.0,)


def test_the_fingerprint_hashes_contents() -> None:
    def fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
        return from_arrays("any", {"train": (images, labels)}).fingerprint

    changed = IMAGES.copy()
    changed[7, 0, 0, 0] ^= 1
    assert fingerprint(IMAGES, LABELS) == fingerprint(IMAGES.copy(), LABELS.astype(np.uint8))
    assert len({fingerprint(IMAGES, LABELS), fingerprint(changed, LABELS), fingerprint(IMAGES, LABELS[::-1])}) == 3


def test_the_fingerprint_tells_carvings_apart() -> None:
    seeds = [from_arrays("any", {"train": (IMAGES, LABELS)}, seed=seed).fingerprint for seed in (0, 1, 2, 0)]
    assert len(set(seeds)) == 3
    assert seeds[0] == seeds[3]


def test_grey_images_may_leave_the_channel_out() -> None:
    assert check_images(np.zeros((2, 6, 5), np.uint8), "x").shape == (2, 6, 5, 1)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 6, 5), np.float32), r"must be uint8.*float32.*multiply by 255"),
        (np.zeros((4, 6, 5), np.int64), r"must be uint8.*int64.*convert"),
        (np.zeros((4, 1, 6, 5), np.uint8), r"channels last.*\(4, 1, 6, 5\).*transpose\(0, 2, 3, 1\)"),
        (np.zeros((4, 3, 6, 5), np.uint8), r"channels last.*transpose"),
        (np.zeros((4, 6, 5, 4), np.uint8), r"must have the shape.*alpha"),
        (np.zeros((4, 784), np.uint8), r"must have the shape.*\(4, 784\).*reshape"),
        (np.zeros((0, 6, 5), np.uint8), r"must have the shape"),
    ],
)
def test_images_in_another_form_are_refused(images: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_images(images, "x_train")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.eye(4), r"one row of scores.*argmax"),
        (np.zeros(4), r"must be integers.*float64.*astype"),
        (np.zeros(4, bool), r"must be integers.*bool"),
        (np.zeros(3, int), r"one label an image.*4 images"),
        (np.array([0, 1, 2, 0]), r"labels outside the classes.*label 2 at row 2, 1 in all.*numbered 0 to 1"),
        (np.array([0, 1, 0, -1]), r"labels outside the classes.*label -1 at row 3"),
    ],
)
def test_labels_in_another_form_are_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_labels(labels, 4, ("a", "b"), "y_train")


def test_a_column_of_labels_is_taken() -> None:
    assert check_labels(np.array([[1], [0]]), 2, ("a", "b"), "y").tolist() == [1, 0]


def test_classes_must_not_have_gaps() -> None:
    with pytest.raises(DataError, match=r"without gaps.*4 classes from 1 to 4.*renumber"):
        from_arrays("mine", {"train": (IMAGES, LABELS + 1)})
    with pytest.raises(DataError, match=r"labels outside the classes.*test: label 4"):
        from_arrays("mine", {"train": (IMAGES, LABELS), "test": (IMAGES[:5], np.arange(5))})
    with pytest.raises(DataError, match=r"labels outside the classes.*-1"):
        from_arrays("mine", {"train": (IMAGES, LABELS - 1)})


def test_parts_must_agree() -> None:
    with pytest.raises(DataError, match="no training images: parts: test"):
        from_arrays("mine", {"test": (IMAGES, LABELS)})
    with pytest.raises(DataError, match="some parts have labels and others have none"):
        from_arrays("mine", {"train": (IMAGES, LABELS), "test": (IMAGES, None)})


def test_unlabelled_images() -> None:
    data = from_arrays("mine", {"train": (IMAGES, None)})
    assert data.labels == ()
    assert [data.split(name).labels for name in ("train", "calibration", "validation", "test")] == [None] * 4
    assert next(data.test.batches(2, data.inputs)).labels is None
