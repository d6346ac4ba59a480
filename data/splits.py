"""What every data set becomes: four splits that stream batches."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np

from ..runtime.errors import ConfigError, DataError
from ..runtime.preprocess import Pixels, to_pixels
from ..runtime.spec import InputSpec
from .order import Rows, carve, fair_order, generator, shuffled
from .reading import read_ahead

SPLITS = ("train", "calibration", "validation", "test")


@dataclass(frozen=True, slots=True)
class Batch:
    """What a split streams.

    Attributes:
        feeds: Arrays by input name; images are uint8, shape (N, H, W, C).
        labels: Class of each image, int64, shape (N,), or None.
        ids: A name for each image that is unique in the data set.
    """

    feeds: dict[str, np.ndarray]
    labels: Rows | None
    ids: tuple[str, ...]


class Source(Protocol):
    """Where images lie, in memory or on disk; rows are numbered from 0."""

    @property
    def labels(self) -> Rows | None:
        """Class of every row, shape (N,), or None."""
        ...

    in_memory: ClassVar[bool]  # nothing has to be decoded, so nothing can turn out damaged

    @property
    def skipped(self) -> set[int]:
        """Rows that could not be read and were left out."""
        ...

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """The row's id."""
        ...

    def image(self, row: int) -> Pixels | None:
        """One image, uint8, shape (H, W, C), or None when it is damaged and left out. Called from several threads."""
        ...

    def feeds(self, rows: Rows, inputs: Sequence[InputSpec]) -> dict[str, np.ndarray] | None:
        """All rows as they are, when they fit the inputs without any work on single images, else None."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Some rows of a source, in a seeded order whose every prefix is a fair sample.

    Attributes:
        source: Where the images lie.
        rows: Row numbers, shape (N,); with shards, of all of them together.
        rank: Which shard this is, from 0.
        shards: How many shards share the rows.
    """

    source: Source = field(repr=False)
    rows: Rows = field(repr=False)
    rank: int = 0
    shards: int = 1

    def __len__(self) -> int:
        """Number of images, damaged ones included."""
        return len(self._mine(self.rows))

    @property
    def labels(self) -> Rows | None:
        """Class of each image, int64, shape (N,), without decoding any; or None."""
        every = self.source.labels
        return None if every is None else every[self._mine(self.rows)]

    @property
    def ids(self) -> tuple[str, ...]:
        """A name for each image that is unique in the data set."""
        return self._names(self._mine(self.rows))

    @property
    def skipped(self) -> tuple[str, ...]:
        """Ids of the images found damaged and left out so far; always empty without `skip_bad`."""
        return self._names([row for row in self._mine(self.rows).tolist() if row in self.source.skipped])

    def take(self, count: int) -> "Split":
        """Return the first `count` images, a fair sample, or all when there are fewer.

        Raises:
            ConfigError: The count is not positive.
        """
        if count < 1:
            raise ConfigError("a sample needs at least one image", count, "give 1 or more")
        return Split(self.source, self._mine(self.rows)[:count])

    def shard(self, rank: int, count: int) -> "Split":
        """Return every `count`-th image from `rank` on, for one of `count` processes.

        A shuffle happens before the cut: with the same seed, the k-th batches of all shards together are the k-th batch of the whole.
        Lengths differ by one when `count` does not divide the split.

        Raises:
            ConfigError: The rank is not in [0, count).
        """
        if not 0 <= rank < count:
            raise ConfigError("a shard's rank must be in [0, count)", f"rank {rank} of {count}", "count ranks from 0")
        return replace(self, rank=self.rank + rank * self.shards, shards=self.shards * count)

    def batches(
        self, batch_size: int, inputs: Sequence[InputSpec], *, shuffle_seed: int | None = None, workers: int | None = None
    ) -> Iterator[Batch]:
        """Stream the images, resized and coloured for `inputs`; only the last batch may be smaller.

        Args:
            batch_size: Images a batch.
            inputs: The model's image inputs; may be empty for arrays that are named like a model's inputs.
            shuffle_seed: Another order for each seed; None keeps the stored order.
            workers: Threads that decode; None takes all usable cores.

        Raises:
            ConfigError: A number is out of range, or images without a description of the input.
            DataError: An image is damaged (unless the data set was opened with `skip_bad`), or all of them are.
        """
        if batch_size < 1:
            raise ConfigError("a batch needs at least one image", batch_size, "give 1 or more")
        if workers is not None and workers < 1:
            raise ConfigError("decoding needs at least one thread", workers, "give 1 or more")
        rows = self._mine(self.rows if shuffle_seed is None else self.rows[shuffled(len(self.rows), generator(shuffle_seed))])
        if self.source.feeds(rows[:0], inputs) is not None:
            return self._whole(rows, batch_size, inputs)
        if not inputs:
            raise ConfigError("the model's image input is not described", "no input", "give --input-size, such as 3x224x224")
        return self._one_by_one(rows, batch_size, inputs, workers)

    def check(self, progress: Callable[[int], None] = lambda _images: None) -> None:
        """Decode every file once, so that a damaged one is named before hours of training; images in memory need no check.

        Args:
            progress: Told after each image that it was one more.

        Raises:
            DataError: An image is damaged (with `skip_bad` it is noted in `skipped`), or all of them are.
        """
        if self.source.in_memory:
            return
        rows = self._mine(self.rows)
        readable = 0
        for _, found in read_ahead(lambda row: self.source.image(row) is not None, rows.tolist(), None):
            readable += found
            progress(1)
        if not readable:
            raise self._unreadable(rows)

    def _whole(self, rows: Rows, batch_size: int, inputs: Sequence[InputSpec]) -> Iterator[Batch]:
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            yield self._batch(chosen, self.source.feeds(chosen, inputs) or {})

    def _one_by_one(self, rows: Rows, batch_size: int, inputs: Sequence[InputSpec], workers: int | None) -> Iterator[Batch]:
        def read(row: int) -> tuple[Pixels, ...] | None:
            image = self.source.image(row)
            return None if image is None else tuple(to_pixels(image, spec) for spec in inputs)

        kept: list[int] = []
        pixels: list[tuple[Pixels, ...]] = []
        found = False
        for row, prepared in read_ahead(read, rows.tolist(), workers):
            if prepared is not None:
                kept.append(row)
                pixels.append(prepared)
            if len(kept) == batch_size:
                yield self._stacked(kept, pixels, inputs)
                kept, pixels, found = [], [], True
        if kept:
            yield self._stacked(kept, pixels, inputs)
        elif len(rows) and not found:
            raise self._unreadable(rows)

    def _unreadable(self, rows: Rows) -> DataError:
        first = self.source.name(int(rows[0])) if len(rows) else "none"
        return DataError("no image of the split can be read", f"{len(rows)} images, first {first}", "replace the files")

    def _stacked(self, rows: list[int], pixels: list[tuple[Pixels, ...]], inputs: Sequence[InputSpec]) -> Batch:
        feeds = {spec.name: np.stack([one[at] for one in pixels]) for at, spec in enumerate(inputs)}  # (N, H, W, C)
        return self._batch(np.array(rows, np.int64), feeds)

    def _batch(self, rows: Rows, feeds: dict[str, np.ndarray]) -> Batch:
        labels = self.source.labels
        return Batch(feeds, None if labels is None else labels[rows], self._names(rows))

    def _mine(self, rows: Rows) -> Rows:
        return rows[self.rank :: self.shards]

    def _names(self, rows: Rows | list[int]) -> tuple[str, ...]:
        return tuple(self.source.name(int(row)) for row in rows)


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set with its four splits: train fits, calibration sets ranges, validation steers searches, test gives final figures.

    Attributes:
        name: The name of a known set, else `folder`, `npz` or `function`; never a path of the user's, because it goes into model files.
        labels: Class names by index; empty for unlabelled images.
        train: Fits weights.
        calibration: Carved from train.
        validation: Carved from train, or the data set's own.
        test: The data set's own, or carved before anything else.
        inputs: The natural description of the images; empty for arrays named like a model's inputs.
        digest: Hashes names, labels and contents for `fingerprint`; called at most once.
    """

    name: str
    labels: tuple[str, ...]
    train: Split
    calibration: Split
    validation: Split
    test: Split
    inputs: tuple[InputSpec, ...]
    digest: Callable[[], str] = field(repr=False)

    @property
    def input(self) -> InputSpec:
        """How the images are naturally fed: their size, mean and standard deviation.

        Raises:
            DataError: The set holds arrays named like a model's inputs, which are fed as they are.
        """
        if len(self.inputs) != 1:
            raise DataError(
                "this data set does not say what its images look like", self.name, "describe the model's input with --input-size"
            )
        return self.inputs[0]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of names, labels, contents and of who is in which split, 64 hexadecimal digits; folders are read once for it.

        Another seed of the splits gives another fingerprint: an accuracy on other test images is not comparable.
        """
        found = hashlib.sha256(self.digest().encode())
        for name in SPLITS:
            rows = self.split(name).rows
            found.update(f"{name} {len(rows)} ".encode() + rows.astype("<i8").tobytes())
        return found.hexdigest()

    def split(self, name: str) -> Split:
        """Return a split by its name.

        Raises:
            ConfigError: There is no such split.
        """
        chosen = {"train": self.train, "calibration": self.calibration, "validation": self.validation, "test": self.test}
        if name not in chosen:
            raise ConfigError("unknown split", repr(name), f"choose one of {', '.join(SPLITS)}")
        return chosen[name]


def divide(train: Source, validation: Source | None, test: Source | None, seed: int) -> dict[str, Split]:
    """Return the four splits by name, carving those that the data set does not bring.

    Raises:
        DataError: Fewer images than splits.
    """
    rows = carve(train.labels, len(train), validation=validation is None, test=test is None, seed=seed)
    return {
        "train": Split(train, rows.train),
        "calibration": Split(train, rows.calibration),
        "validation": Split(train, rows.validation) if validation is None else _whole(validation, seed),
        "test": Split(train, rows.test) if test is None else _whole(test, seed),
    }


def _whole(source: Source, seed: int) -> Split:
    return Split(source, fair_order(source.labels, len(source), generator(seed)))
