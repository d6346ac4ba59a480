"""Seeded orders whose every prefix is a fair sample, and the carving of splits that follows from them."""

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..runtime.errors import ConfigError, DataError

Rows = npt.NDArray[np.int64]

VALIDATION_LIMIT = 5000
CALIBRATION_LIMIT = 1024
CALIBRATION_FLOOR = 64  # ranges from fewer images move with each of them


@dataclass(frozen=True, slots=True)
class Carved:
    """Row numbers of one set of images, dealt to the splits; disjoint, together all of them.

    `validation` and `test` are empty where the data set brings its own.
    """

    train: Rows
    calibration: Rows
    validation: Rows
    test: Rows


def generator(seed: int) -> np.random.PCG64:
    """Return the one source of randomness of this folder.

    Raises:
        ConfigError: The seed is negative.
    """
    if seed < 0:
        raise ConfigError("a seed must not be negative", seed, "give 0 or more")
    return np.random.PCG64(seed)


def shuffled(count: int, bits: np.random.PCG64) -> Rows:
    """Return the numbers 0..count-1 in a random order.

    Sorting raw bits rather than `Generator.permutation`: numpy promises the bit stream of PCG64 for ever, and may change what
    `Generator` makes of it (NEP 19). So a seed means the same split under every numpy, on every platform.
    """
    return np.argsort(bits.random_raw(count), kind="stable").astype(np.int64)


def fair_order(labels: Rows | None, count: int, bits: np.random.PCG64) -> Rows:
    """Return a random order in which every prefix holds each class in its share of the whole, within one image.

    Slot k of n wants k * n_c / n images of class c so far. The j-th image of the class keeps that promise in a window of slots, and
    taking the earliest deadline first meets all windows: R. Tijdeman, "The chairman assignment problem", Discrete Math. 32 (1980) shows
    that an order exists, G. Steiner and S. Yeomans, Management Science 39 (1993), that this rule finds one.

    Args:
        labels: Class of each image, shape (count,), or None for a plain shuffle.
        count: Number of images.
        bits: Random bits; two calls on the same object give different orders.
    """
    order = shuffled(count, bits)
    if labels is None or count == 0:
        return order
    place = np.argsort(labels[order], kind="stable")  # class after class, each in its shuffled order
    classes = labels[order][place]
    sizes = np.bincount(classes)
    nth = np.arange(count) - (np.cumsum(sizes) - sizes)[classes]  # 0, 1, ... within each class
    release = -(-nth * count // sizes[classes])
    deadline = (nth + 1) * count // sizes[classes] + 1
    due = np.argsort(release, kind="stable")
    # One integer holds the deadline and, to break ties at random, the place in the shuffle.
    taken = _earliest_deadline_first(release[due].tolist(), (deadline * count + place)[due].tolist())
    return order[np.array(taken, np.int64) % count]


def _earliest_deadline_first(release: list[int], keys: list[int]) -> list[int]:
    waiting: list[int] = []
    taken: list[int] = []
    following = 0
    for slot in range(1, len(keys) + 1):
        while following < len(keys) and release[following] <= slot:
            heapq.heappush(waiting, keys[following])
            following += 1
        taken.append(heapq.heappop(waiting))
    return taken


def carve(labels: Rows | None, count: int, *, validation: bool, test: bool, seed: int) -> Carved:
    """Deal `count` images to the splits: test 20 %; then, of the rest, validation 10 % (at most 5,000), and calibration 5 % (at most 1,024).

    Small sets give calibration up to 64 images, but not more than 20 % of the rest. Without labels nothing can be trained: calibration gets
    up to 1,024 images, and train keeps 5 % and what is beyond.

    Each split gets at least one image, is stratified, and lies in a fair order. The last image of a class stays in train while other
    images can be taken.

    Args:
        labels: Class of each image, shape (count,), or None.
        count: Number of images.
        validation: Whether to carve a validation split.
        test: Whether to carve a test split.
        seed: Same seed, same splits.

    Raises:
        DataError: Fewer images than splits.
    """
    needed = 2 + validation + test
    if count < needed:
        raise DataError(
            f"too few images for {needed} splits that share none", f"{count} images", f"give at least {needed}, better hundreds"
        )
    bits = generator(seed)
    every = np.arange(count, dtype=np.int64)
    test_rows, pool = _take(every, labels, max(1, count // 5) if test else 0, bits)
    validation_rows, rest = _take(pool, labels, max(1, min(VALIDATION_LIMIT, len(pool) // 10)) if validation else 0, bits)
    calibration_rows, rest = _take(rest, labels, _calibration_count(len(pool), len(rest), labelled=labels is not None), bits)
    train_rows, _ = _take(rest, labels, len(rest), bits)
    return Carved(train_rows, calibration_rows, validation_rows, test_rows)


def _calibration_count(pool: int, rest: int, *, labelled: bool) -> int:
    """Return how many of the `rest` of the pool, once validation is taken, go to calibration; at least one image is left."""
    share = max(pool // 20, min(CALIBRATION_FLOOR, pool // 5)) if labelled else rest - max(1, pool // 20)
    return max(1, min(CALIBRATION_LIMIT, share))


def _take(rows: Rows, labels: Rows | None, count: int, bits: np.random.PCG64) -> tuple[Rows, Rows]:
    """Return a fair sample of `count` rows, and the others."""
    sparing = rows
    own = _of(labels, rows)
    if own is not None:
        plenty = rows[np.bincount(own)[own] > 1]
        sparing = plenty if len(plenty) >= count else rows
    taken = sparing[fair_order(_of(labels, sparing), len(sparing), bits)[:count]]
    return taken, rows[~np.isin(rows, taken)]


def _of(labels: Rows | None, rows: Rows) -> Rows | None:
    return None if labels is None else labels[rows]
