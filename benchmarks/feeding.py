"""Batches for several files at once, prepared in a second thread while the files run."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..data.splits import Batch, Split
from ..runtime.cores import usable_cores
from ..runtime.preprocess import Pixels, prepare_feeds
from ..runtime.spec import InputSpec, ModelSpec
from .accuracy import Feeds
from .corruptions import Corruption, corrupt

T = TypeVar("T")

BATCH_BYTES = 2**20  # of prepared images: see docs/log.md for what other sizes cost
LEAST_BATCH, MOST_BATCH = 8, 100  # images
AHEAD = 2  # batches that are ready or in work while a file runs

Condition = tuple[Corruption, int] | None  # what was done to the images; None leaves them as they are


@dataclass(frozen=True, slots=True)
class Prepared:
    """The same images for every file.

    Attributes:
        feeds: For each file, arrays by input name; files with equal specs share them.
        labels: Class of each image, int64, shape (N,), or None.
        ids: The images' names.
        images: The first file's first image input as the model takes it, uint8, shape (N, H, W, C) in RGB order; None where it takes none.
        condition: What was done to them.
    """

    feeds: tuple[Feeds, ...]
    labels: npt.NDArray[np.int64] | None
    ids: tuple[str, ...]
    images: Pixels | None
    condition: Condition = None


def feed(specs: Sequence[ModelSpec], split: Split, *, threads: int, conditions: Sequence[Condition] = (None,)) -> Iterator[Prepared]:
    """Yield every batch of a split once for each condition, decoded and prepared once for each distinct spec.

    A second thread works at most `AHEAD` batches ahead, whatever the number of images; closing the iterator stops it. Ready pixels of files
    that keep every core busy are prepared in between instead: the two would only take the cores from each other (docs/log.md).

    Args:
        specs: What each file expects.
        split: The images.
        threads: Most threads that a file runs on.
        conditions: Disturbances.

    Raises:
        DataError: An image is damaged, or the images do not fit a spec.
    """
    batches = _prepare(specs, split, conditions)
    light = split.source.in_memory and tuple(conditions) == (None,)
    return batches if light and threads >= usable_cores() else ahead(batches)


def batch_size(specs: Sequence[ModelSpec]) -> int:
    """Return how many images a batch has: `BATCH_BYTES` of the largest input, 8 to 100 images."""
    largest = max((4 * int(np.prod(one.shape)) for spec in specs for one in spec.inputs), default=0)
    return min(MOST_BATCH, max(LEAST_BATCH, BATCH_BYTES // max(1, largest)))


def ahead(items: Iterator[T], depth: int = AHEAD) -> Iterator[T]:
    """Yield what an iterator yields, which runs in a second thread, at most `depth` items ahead; what it raises is raised here."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="edgerec-prepare")
    end = object()
    pending = deque(pool.submit(next, items, end) for _ in range(depth))
    try:
        while (item := pending.popleft().result()) is not end:
            pending.append(pool.submit(next, items, end))
            yield item  # pyright: ignore[reportReturnType]  # the only object that is no T has ended the loop
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(specs: Sequence[ModelSpec], split: Split, conditions: Sequence[Condition]) -> Iterator[Prepared]:
    size = batch_size(specs)
    inputs = list(dict.fromkeys(spec.inputs for spec in specs))
    # Damaged images are left out of every stream alike, so the streams stay in step.
    for batches in zip(*(split.batches(size, one) for one in inputs), strict=True):
        decoded = dict(zip(inputs, batches, strict=True))
        for condition in conditions:
            disturbed = {one: _disturbed(batch, one, condition) for one, batch in decoded.items()}
            yield _for_all(specs, disturbed, condition)


def _for_all(specs: Sequence[ModelSpec], batches: dict[tuple[InputSpec, ...], Batch], condition: Condition) -> Prepared:
    """Normalise once for each distinct spec; a packed file does it itself."""
    ready: dict[tuple[tuple[InputSpec, ...], bool], Feeds] = {}
    for spec in specs:
        key = (spec.inputs, spec.packed is None)
        if key not in ready:
            ready[key] = prepare_feeds(batches[spec.inputs].feeds, spec)
    first = batches[specs[0].inputs]
    feeds = tuple(ready[spec.inputs, spec.packed is None] for spec in specs)
    return Prepared(feeds, first.labels, first.ids, _shown(first, specs[0].inputs), condition)


def _shown(batch: Batch, inputs: Sequence[InputSpec]) -> Pixels | None:
    for one in inputs:
        if batch.feeds[one.name].dtype == np.uint8:
            return _flipped(batch.feeds[one.name], one)
    return None


def _disturbed(batch: Batch, inputs: Sequence[InputSpec], condition: Condition) -> Batch:
    if condition is None:
        return batch
    images = {one.name: _flipped(corrupt(_flipped(batch.feeds[one.name], one), *condition, batch.ids), one) for one in inputs}
    return replace(batch, feeds=batch.feeds | images)


def _flipped(pixels: Pixels, spec: InputSpec) -> Pixels:
    """Turn BGR into RGB and back; other images stay."""
    return pixels[..., ::-1] if spec.color == "bgr" else pixels
