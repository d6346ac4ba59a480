"""Orders and carving: what must hold for every seed and every mix of classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerec.data.order import Carved, carve, fair_order, generator, shuffled
from edgerec.runtime.errors import ConfigError, DataError

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(lambda values: np.array(values, np.int64))
SEEDS = st.integers(0, 2**64)


def parts(carved: Carved) -> list[np.ndarray]:
    return [carved.train, carved.calibration, carved.validation, carved.test]


@given(LABELS, SEEDS)
def test_every_prefix_holds_each_class_in_its_share_within_one_image(labels: np.ndarray, seed: int) -> None:
    order = fair_order(labels, len(labels), generator(seed))
    assert sorted(order.tolist()) == list(range(len(labels)))
    seen = np.cumsum(labels[order][:, None] == np.arange(7), axis=0)  # (N, classes)
    share = np.bincount(labels, minlength=7) / len(labels)
    wanted = np.arange(1, len(labels) + 1)[:, None] * share
    assert np.abs(seen - wanted).max() <= 1 + 1e-9


@given(LABELS.filter(lambda labels: len(labels) >= 4), SEEDS, st.booleans(), st.booleans())
def test_carved_splits_share_nothing_and_lose_nothing(labels: np.ndarray, seed: int, validation: bool, test: bool) -> None:
    carved = carve(labels, len(labels), validation=validation, test=test, seed=seed)
    assert sorted(np.concatenate(parts(carved)).tolist()) == list(range(len(labels)))
    assert len(carved.train) > 0
    assert len(carved.calibration) > 0
    assert (len(carved.validation) > 0) == validation
    assert (len(carved.test) > 0) == test


@given(st.integers(0, 5), SEEDS)
def test_the_only_image_of_a_class_stays_in_train(rare: int, seed: int) -> None:
    labels = np.array([0] * 40 + [1] * 40 + list(range(2, 2 + rare)), np.int64)
    carved = carve(labels, len(labels), validation=True, test=True, seed=seed)
    assert set(labels[carved.train].tolist()) == set(labels.tolist())


def test_sizes_follow_the_rule() -> None:
    labels = np.repeat(np.arange(10), 200)
    carved = carve(labels, 2000, validation=True, test=True, seed=0)
    # test: 20 % of 2000; of the 1600 left, validation 10 % and calibration 5 %
    assert [len(rows) for rows in parts(carved)] == [2000 - 400 - 160 - 80, 80, 160, 400]
    for rows in parts(carved):
        counts = np.bincount(labels[rows], minlength=10)
        assert counts.max() - counts.min() <= 1


def test_large_sets_meet_the_limits() -> None:
    carved = carve(np.zeros(60_000, np.int64), 60_000, validation=True, test=False, seed=0)
    assert [len(rows) for rows in parts(carved)] == [60_000 - 5000 - 1024, 1024, 5000, 0]


@pytest.mark.parametrize(("count", "wanted"), [(5, 1), (100, 20), (320, 64), (1280, 64), (2000, 100)])
def test_small_sets_give_calibration_enough(count: int, wanted: int) -> None:
    # 20 % up to 64 images, which 320 give; from 1,280 on 5 % is more.
    carved = carve(np.arange(count) % 5, count, validation=False, test=False, seed=0)
    assert len(carved.calibration) == wanted
    assert len(carved.train) == count - wanted


@pytest.mark.parametrize(("count", "wanted"), [(4, [1, 1, 1, 1]), (200, [8, 136, 16, 40]), (10_000, [6176, 1024, 800, 2000])])
def test_without_labels_calibration_gets_what_train_cannot_use(count: int, wanted: list[int]) -> None:
    assert [len(rows) for rows in parts(carve(None, count, validation=True, test=True, seed=0))] == wanted


@given(st.integers(4, 400), SEEDS, st.booleans(), st.booleans())
def test_unlabelled_splits_share_nothing_and_lose_nothing(count: int, seed: int, validation: bool, test: bool) -> None:
    carved = carve(None, count, validation=validation, test=test, seed=seed)
    assert sorted(np.concatenate(parts(carved)).tolist()) == list(range(count))
    assert len(carved.train) > 0
    assert len(carved.calibration) > 0


def test_four_images_make_four_splits_and_three_do_not() -> None:
    assert [len(rows) for rows in parts(carve(np.arange(4), 4, validation=True, test=True, seed=0))] == [1, 1, 1, 1]
    with pytest.raises(DataError, match=r"too few images for 4 splits.*3 images.*at least 4"):
        carve(None, 3, validation=True, test=True, seed=0)


def test_a_seed_means_one_order() -> None:
    assert shuffled(50, generator(3)).tolist() == shuffled(50, generator(3)).tolist()
    assert shuffled(50, generator(3)).tolist() != shuffled(50, generator(4)).tolist()
    labels = np.arange(100) % 3
    first, second = (carve(labels, 100, validation=True, test=True, seed=5) for _ in range(2))
    assert all((a == b).all() for a, b in zip(parts(first), parts(second), strict=True))


def test_orders_come_from_the_raw_bits_of_pcg64() -> None:
    # Sorting the numbers that PCG64 gives is the definition; Generator's methods may change between numpy's versions.
    raw = [int(np.random.PCG64(7).random_raw(9)[at]) for at in range(9)]
    assert shuffled(9, generator(7)).tolist() == sorted(range(9), key=raw.__getitem__)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed must not be negative: -1"):
        generator(-1)
