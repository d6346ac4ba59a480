"""Scoring several files in one pass: against the plain ways to the same figures, with fakes that see what they are fed."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from edgerec.benchmarks.accuracy import Feeds, count
from edgerec.benchmarks.candidates import Candidate, as_candidate
from edgerec.benchmarks.change import pack_flags
from edgerec.benchmarks.corruptions import CORRUPTIONS, Corruptions, corrupt
from edgerec.benchmarks.scoring import count_answers, score_files
from edgerec.data.arrays import from_arrays, from_named_arrays
from edgerec.data.splits import Split
from edgerec.runtime.errors import ConfigError, DataError, ModelError
from edgerec.runtime.preprocess import prepare_feeds
from edgerec.runtime.session import open_session
from edgerec.runtime.spec import InputSpec, ModelSpec

IMAGES, SIZE, CLASSES = 230, 16, 4
SPEC = ModelSpec((InputSpec(SIZE, SIZE),))
WEIGHTS = np.random.default_rng(5).normal(size=(3 * SIZE * SIZE, CLASSES)).astype(np.float32)


def linear(noise: float = 0.0) -> Callable[[Feeds], np.ndarray]:
    """Return a model that can be computed by hand; noise makes it another one."""
    weights = WEIGHTS + noise * np.random.default_rng(6).normal(size=WEIGHTS.shape).astype(np.float32)
    return lambda feeds: next(iter(feeds.values())).reshape(-1, len(weights)) @ weights


def candidate(predict: Callable[[Feeds], np.ndarray], spec: ModelSpec = SPEC, threads: int = 1) -> Candidate:
    return Candidate(Path("fake.onnx"), spec, predict, predict, "cpu", threads)


def pictures(labelled: bool = True, count: int = IMAGES) -> Split:
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    logits = linear()(prepare_feeds({"input": images}, SPEC))
    labels = np.where(draws.random(count) < 0.8, logits.argmax(axis=1), draws.integers(0, CLASSES, count))
    part = (images, labels if labelled else None)
    return from_arrays("made", {"train": part, "test": part}).test


def failing(after: int) -> Callable[[Feeds], np.ndarray]:
    """Return a model that fails after some batches."""
    seen: list[int] = []

    def predict(feeds: Feeds) -> np.ndarray:
        seen.append(1)
        if len(seen) > after:
            raise ModelError("the model fails while it runs", "batch", "export it again")
        return linear()(feeds)

    return predict


@pytest.mark.parametrize("threads", [1, 64])  # with a second thread, and in between
def test_accuracy_is_that_of_counting_each_file_alone(threads: int) -> None:
    split = pictures()
    whole = next(split.batches(IMAGES, SPEC.inputs))
    first, second = score_files([candidate(linear(), threads=threads), candidate(linear(0.3), threads=threads)], split)
    assert first.accuracy == count(linear(), split, SPEC).result()
    assert second.accuracy == count(linear(0.3), split, SPEC).result()
    assert first.right == pack_flags(linear()(prepare_feeds(whole.feeds, SPEC)).argmax(axis=1) == whole.labels)
    assert first.agreement is None
    assert second.agreement is not None
    assert first.accuracy
    assert second.accuracy
    assert second.agreement.drop_points == pytest.approx(100 * (first.accuracy.top1 - second.accuracy.top1))
    assert 0.5 < second.agreement.agreement < 1
    assert second.agreement.flips[0].thumbnail


def test_a_batch_is_prepared_once_for_all_files_of_a_spec() -> None:
    fed: list[Feeds] = []

    def watching(feeds: Feeds) -> np.ndarray:
        fed.append(feeds)
        return linear()(feeds)

    other = ModelSpec((InputSpec(SIZE, SIZE, mean=(0.0, 0.0, 0.0)),))
    score_files([candidate(watching), candidate(watching), candidate(watching, other)], pictures(count=90))
    assert len(fed) == 3
    assert fed[0]["input"] is fed[1]["input"]
    assert fed[2]["input"] is not fed[0]["input"]
    assert np.allclose(fed[2]["input"][:, 0], fed[0]["input"][:, 0] + 0.485 / 0.229, atol=1e-5)


def test_a_file_that_fails_gives_its_error_and_the_others_go_on() -> None:
    split = pictures()
    first, second, third = score_files([candidate(linear()), candidate(failing(1)), candidate(linear(0.3))], split)
    assert isinstance(second.error, ModelError)
    assert (second.accuracy, second.agreement, second.corrupted) == (None, None, ())
    assert first.accuracy == count(linear(), split, SPEC).result()
    assert third.accuracy == count(linear(0.3), split, SPEC).result()
    assert third.agreement
    assert third.agreement.images == IMAGES


@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_failed_first_file_leaves_the_others_their_accuracy(after: int) -> None:
    split = pictures()
    first, second = score_files([candidate(failing(after)), candidate(linear())], split, corruptions=Corruptions(("blur",), (1, 2), 20))
    assert first.error
    assert second.accuracy == count(linear(), split, SPEC).result()
    assert second.agreement is None
    assert [(one.images, one.drop_points) for one in second.corrupted] == [(20, None)] * 2


def test_corruptions_are_applied_before_preprocessing() -> None:
    split, wanted = pictures(), Corruptions(images=60)
    first, second = score_files([candidate(linear()), candidate(linear(0.3))], split, corruptions=wanted)
    batch = next(split.take(60).batches(60, SPEC.inputs))
    assert [(one.corruption, one.severity) for one in second.corrupted] == [(name, level) for name in CORRUPTIONS for level in range(1, 6)]
    for one, other in zip(first.corrupted, second.corrupted, strict=True):
        pixels = corrupt(batch.feeds["input"], other.corruption, other.severity, batch.ids)
        right = [(model(prepare_feeds({"input": pixels}, SPEC)).argmax(axis=1) == batch.labels).mean() for model in (linear(), linear(0.3))]
        assert [one.top1, other.top1] == right
        assert one.drop_points is None
        assert other.drop_points == pytest.approx(100 * (right[0] - right[1]))
        assert other.drop_interval
        assert other.drop_interval[0] <= other.drop_points <= other.drop_interval[1]
        assert other.interval[0] <= other.top1 <= other.interval[1]
        assert other.images == 60


def test_a_model_of_bgr_images_sees_the_same_disturbed_images() -> None:
    bgr = ModelSpec((InputSpec(SIZE, SIZE, color="bgr", mean=(0.406, 0.456, 0.485), std=(0.225, 0.224, 0.229)),))

    def turned(feeds: Feeds) -> np.ndarray:
        return linear()({"input": feeds["input"][:, ::-1]})

    rgb, same = score_files([candidate(linear()), candidate(turned, bgr)], pictures(), corruptions=Corruptions(images=40))
    assert [one.top1 for one in rgb.corrupted] == [one.top1 for one in same.corrupted]
    assert rgb.accuracy == same.accuracy


def test_without_labels_there_is_agreement_and_noise() -> None:
    first, second = score_files([candidate(linear()), candidate(linear(0.3))], pictures(labelled=False))
    assert (first.accuracy, second.accuracy) == (None, None)
    assert second.agreement
    assert second.agreement.drop_points is None
    assert second.agreement.sqnr_db == pytest.approx(20 * np.log10(1 / 0.3), abs=2)


def test_without_labels_any_numbers_will_do() -> None:
    maps = candidate(lambda feeds: next(iter(feeds.values())))
    _, second = score_files([maps, maps], pictures(labelled=False))
    assert second.agreement
    assert second.agreement.sqnr_db == np.inf


def test_several_inputs_are_fed_by_name() -> None:
    draws = np.random.default_rng(1)
    arrays = {"a": draws.normal(size=(50, 4)).astype(np.float32), "b": draws.normal(size=(50, 4)).astype(np.float32)}
    split = from_named_arrays("npz", arrays, (arrays["a"] - arrays["b"]).argmax(axis=1), (), 0).test
    both = candidate(lambda feeds: np.asarray(feeds["a"]) - np.asarray(feeds["b"]), ModelSpec(()))
    alone = candidate(lambda feeds: np.asarray(feeds["a"]), ModelSpec(()))
    first, second = score_files([both, alone], split)
    assert first.accuracy
    assert first.accuracy.top1 == 1
    assert second.agreement
    assert second.agreement.lost
    assert second.agreement.won == 0
    assert {one.thumbnail for one in second.agreement.flips} == {""}
    with pytest.raises(DataError, match="only uint8 images can be disturbed"):
        score_files([both], split, corruptions=Corruptions())


def test_progress_counts_every_answer() -> None:
    told: list[int] = []
    files, wanted = [candidate(linear()), candidate(failing(0))], Corruptions(("noise", "jpeg"), (1, 5), 1000)
    score_files(files, pictures(), corruptions=wanted, done=told.append)
    assert sum(told) == count_answers(files, pictures(), wanted) == 2 * 5 * len(pictures())


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (lambda feeds: np.full((len(feeds["input"]), CLASSES), np.nan, np.float32), "returned NaN: 100 of 100 images"),
        (lambda feeds: np.zeros((1, CLASSES), np.float32), r"does not answer each image: shape \(1, 4\), 100 images"),
        (lambda feeds: np.zeros((len(feeds["input"]), 2, 2), np.float32), r"must have the shape \(N, classes\)"),
        (lambda feeds: np.full((len(feeds["input"]), 1), "cat"), "holds no numbers"),
        (lambda feeds: [{"cat": 1.0}] * len(feeds["input"]), "holds no numbers: list"),
        (lambda feeds: np.zeros((len(feeds["input"]), 2), np.float32), "outside the classes: label [23], 2 classes"),
    ],
)
def test_an_answer_that_cannot_be_scored_is_the_files_error(predict: Callable[[Feeds], np.ndarray], message: str) -> None:
    good, bad = score_files([candidate(linear()), candidate(predict)], pictures(count=500))
    assert good.accuracy
    assert isinstance(bad.error, ModelError | DataError)
    with pytest.raises((ModelError, DataError), match=message):
        raise bad.error


@pytest.mark.parametrize(
    ("files", "split", "corruptions", "error", "message"),
    [
        ([], pictures(), None, ConfigError, "nothing to score"),
        ([candidate(linear())], Split(pictures().source, pictures().rows[:0]), None, DataError, "the split is empty"),
        ([candidate(linear())], pictures(labelled=False), Corruptions(), DataError, "corruptions are scored against labels"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    files: Sequence[Candidate], split: Split, corruptions: Corruptions | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        score_files(files, split, corruptions=corruptions)


def test_files_of_onnx_with_a_free_and_a_fixed_batch(make_core: Callable[..., ModelProto]) -> None:
    split = pictures(count=250)
    free, fixed = (
        as_candidate(Path("core.onnx"), open_session(make_core(batch=batch).SerializeToString(), threads=1), lambda _known: SPEC)
        for batch in ("N", 7)
    )
    first, second = score_files([free, fixed], split, corruptions=Corruptions(("jpeg",), (1,), 10))
    assert first.error is None
    assert second.agreement
    assert second.agreement.agreement == 1
    assert second.corrupted[0].drop_points == 0
