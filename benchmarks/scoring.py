"""How good several files are on the same images: accuracy, agreement with the first file, and top-1 under corruptions."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from ..data.splits import Split
from ..runtime.errors import ConfigError, DataError, EdgerecError, ModelError
from .accuracy import Accuracy, Counter, Feeds, wilson
from .agreement import Against, Logits
from .candidates import Candidate
from .change import Flags, pack_flags
from .corruptions import Corruptions
from .feeding import Condition, Prepared, feed
from .measured import Agreement, Corrupted
from .paired import Pairs, count_pairs, tango

Done = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Scored:
    """What one file achieved.

    Attributes:
        accuracy: None without labels, or when the file failed.
        agreement: Against the first file; None for the first itself, or when one of the two failed.
        corrupted: One for each corruption and severity; drops are against the first file, and left out where that failed.
        error: Why the file gave no figures; None when it did.
        right: Which images it got right, for `Record.right`; empty without labels.
    """

    accuracy: Accuracy | None = None
    agreement: Agreement | None = None
    corrupted: tuple[Corrupted, ...] = ()
    error: EdgerecError | None = None
    right: str = ""


@dataclass(slots=True)
class _File:
    """What a file has answered so far; only `right` grows with the number of images, by a byte each."""

    candidate: Candidate
    counter: Counter | None = None
    against: Against = field(default_factory=Against)
    # For each condition beside the first file, or beside itself where that failed: either way `both + won` are right.
    pairs: dict[Condition, Pairs] = field(default_factory=dict[Condition, Pairs])
    right: list[Flags] = field(default_factory=list[Flags])
    error: EdgerecError | None = None


def score_files(
    candidates: Sequence[Candidate], split: Split, *, corruptions: Corruptions | None = None, done: Done = lambda _images: None
) -> list[Scored]:
    """Score all files in one pass over the images; a file that fails gives its error, and the others go on.

    Each batch is decoded once and prepared once for each distinct spec, in a second thread while the files run. Memory hardly grows with the
    number of images. A failed first file leaves the others their accuracies; there is nothing then to compare them with.

    Args:
        candidates: The files; the first is what the others are compared with.
        split: The images; without labels there is agreement and SQNR only.
        corruptions: Score these, too, on the split's first images; None leaves them out.
        done: Told after each batch how many answers it brought; `count_answers` says how many there will be.

    Returns:
        One for each file, in their order.

    Raises:
        ConfigError: There is no file.
        DataError: The split is empty or cannot be read, or corruptions are wanted without labels or images to disturb.
    """
    if not candidates:
        raise ConfigError("there is nothing to score", "no file", "give at least one")
    if corruptions:
        _check_corruptible(candidates, split)
    files = [_File(one) for one in candidates]
    specs = [one.spec for one in candidates]
    threads = max(one.threads for one in candidates)
    images = _run(files, feed(specs, split, threads=threads), _score, done)
    if not images:
        raise DataError("the split is empty", "0 images", "choose another split")
    if corruptions:
        part = split.take(corruptions.images)
        _run(files, feed(specs, part, threads=threads, conditions=corruptions.conditions), _score_corrupted, done)
    return [_result(file, files[0]) for file in files]


def count_answers(candidates: Sequence[Candidate], split: Split, corruptions: Corruptions | None = None) -> int:
    """Return how many answers `score_files` will ask for in all: what a progress bar counts to."""
    disturbed = len(corruptions.conditions) * min(corruptions.images, len(split)) if corruptions else 0
    return len(candidates) * (len(split) + disturbed)


def _check_corruptible(candidates: Sequence[Candidate], split: Split) -> None:
    if split.labels is None:
        raise DataError("corruptions are scored against labels", "this data set has none", "leave them out, or give labelled images")
    for one in candidates:
        inputs = one.spec.inputs
        block = split.source.feeds(split.rows[:0], inputs) if inputs else {}
        if not inputs or (block is not None and any(block[image.name].dtype != np.uint8 for image in inputs)):
            raise DataError("only uint8 images can be disturbed", f"{one.path.name} is fed arrays as they are", "leave the corruptions out")


def _run(
    files: Sequence[_File], batches: Iterable[Prepared], use: Callable[[_File, Logits, Logits | None, Prepared], None], done: Done
) -> int:
    """Ask every file that has not failed about every batch, and hand its answers on beside the first file's; return how many images there were."""
    images = 0
    for batch in batches:
        reference: Logits | None = None
        for file, feeds in zip(files, batch.feeds, strict=True):
            if file.error is not None:
                continue
            try:
                logits = _answer(file.candidate, feeds, batch)
                use(file, logits, reference, batch)
            except EdgerecError as error:
                file.error = error
            else:
                reference = logits if file is files[0] else reference
        images += len(batch.ids)
        done(len(batch.ids) * len(files))
    return images


def _answer(candidate: Candidate, feeds: Feeds, batch: Prepared) -> Logits:
    """Return one row for each image; without labels any kind of numbers will do.

    Raises:
        ModelError: The model returns something else, or NaN.
    """
    answer = cast("object", candidate.predict(feeds))
    # Classifiers of scikit-learn give strings first, or a list of dictionaries.
    if not isinstance(answer, np.ndarray) or not np.issubdtype(answer.dtype, np.number):
        given = f"{answer.dtype} {answer.shape}" if isinstance(answer, np.ndarray) else type(answer).__name__
        raise ModelError("the model's first output holds no numbers", given, "give a model whose first output is its scores")
    if answer.shape[:1] != (len(batch.ids),) or not answer.size:
        raise ModelError("the model does not answer each image", f"shape {answer.shape}, {len(batch.ids)} images", "give a classifier")
    if batch.labels is not None and answer.ndim != 2:
        raise ModelError("a classifier's first output must have the shape (N, classes)", f"shape {answer.shape}", "give a classifier")
    logits = answer.reshape(len(answer), -1).astype(np.float32, copy=False)  # (N, classes)
    if np.isnan(logits).any():
        bad = int(np.isnan(logits).any(axis=1).sum())
        raise ModelError("the model returned NaN", f"{bad} of {len(logits)} images", "check its weights")
    return logits


def _score(file: _File, logits: Logits, reference: Logits | None, batch: Prepared) -> None:
    if batch.labels is not None:
        file.counter = file.counter or Counter(logits.shape[1])
        file.counter.add(logits, batch.labels)
        file.right.append(logits.argmax(axis=1) == batch.labels)
    if reference is not None:
        file.against.add(reference, logits, batch.labels, batch.ids, batch.images)


def _score_corrupted(file: _File, logits: Logits, reference: Logits | None, batch: Prepared) -> None:
    right = logits.argmax(axis=1) == batch.labels
    before = right if reference is None else reference.argmax(axis=1) == batch.labels
    file.pairs[batch.condition] = file.pairs.get(batch.condition, Pairs(0, 0, 0, 0)) + count_pairs(before, right)


def _result(file: _File, first: _File) -> Scored:
    if file.error is not None:
        return Scored(error=file.error)
    compared = file is not first and first.error is None
    return Scored(
        accuracy=file.counter.result() if file.counter else None,
        agreement=file.against.result() if compared else None,
        corrupted=tuple(_corrupted(condition, pairs, compared=compared) for condition, pairs in file.pairs.items() if condition),
        right=pack_flags(np.concatenate(file.right)) if file.right else "",
    )


def _corrupted(condition: tuple[str, int], pairs: Pairs, *, compared: bool) -> Corrupted:
    right = pairs.both + pairs.won
    return Corrupted(
        corruption=condition[0],
        severity=condition[1],
        images=pairs.images,
        top1=right / pairs.images,
        interval=wilson(right, pairs.images),
        drop_points=pairs.drop_points if compared else None,
        drop_interval=tango(pairs) if compared else None,
    )
