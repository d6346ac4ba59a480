"""Statistics: laws of addition (order, batches, shards), histograms against numpy and exact arithmetic, and the file they are kept in."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgerec.compress.quantization.histogram import BINS_PER_SIDE, count, exponent_for, folded
from edgerec.compress.quantization.statistics import Accumulator, Key, Statistics, TensorStatistics, merge
from edgerec.compress.quantization.statistics_file import load_statistics, save_statistics
from edgerec.compress.quantization.taps import extract
from edgerec.runtime.errors import ConfigError, DataError, OutputError

Array = np.ndarray
floats = st.floats(allow_nan=False, allow_infinity=False, width=32)
stacks = arrays(np.float32, st.tuples(st.integers(2, 6), st.just(3), st.integers(1, 4)), elements=floats)


def statistics_of(images: Array, axis: int | None = 1, at_once: int = 3) -> TensorStatistics:
    """Add one run an image, `at_once` of them together."""
    total = Accumulator(axis)
    runs = [extract(image[np.newaxis], axis) for image in images]
    for start in range(0, len(runs), at_once):
        assert total.add_runs(*zip(*runs[start : start + at_once], strict=True))
    return total.result()


def same(one: TensorStatistics, other: TensorStatistics) -> bool:
    """Bit for bit: -0.0 is not 0.0."""
    parts = ((one.channel_low, other.channel_low), (one.channel_high, other.channel_high), (one.counts, other.counts))
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in parts) and one.axis == other.axis


@given(stacks, st.integers(1, 6))
def test_neither_order_nor_batches_nor_shards_matter(images: Array, at_once: int) -> None:
    whole = statistics_of(images)
    order = np.random.default_rng(at_once).permutation(len(images))
    assert same(whole, statistics_of(images[order], at_once=at_once))
    cut = max(1, len(images) // 2)
    parts = statistics_of(images[order[:cut]]), statistics_of(images[order[cut:]], at_once=1)
    assert same(whole, parts[0].merged(parts[1]))
    assert same(whole, parts[1].merged(parts[0]))


@given(arrays(np.float32, st.integers(1, 40), elements=floats))
def test_every_value_is_in_its_bin(values: Array) -> None:
    found = statistics_of(values[np.newaxis], axis=None)
    assert (found.low, found.high) == (values.min(), values.max())
    expected = np.zeros(2 * BINS_PER_SIDE, np.int64)
    width = Fraction(2) ** found.exponent / BINS_PER_SIDE
    for value in values:
        expected[BINS_PER_SIDE + int(Fraction(float(value)) / width)] += 1  # int() cuts towards zero
    assert (found.counts == expected).all()
    assert max(abs(found.low), abs(found.high)) < 2.0**found.exponent


@given(arrays(np.float32, 30, elements=floats), st.integers(0, 20))
def test_folding_equals_counting_in_the_wider_range(values: Array, times: int) -> None:
    exponent = exponent_for(float(values.min()), float(values.max()))
    if exponent + times <= 128:
        assert (folded(count(values, exponent), times) == count(values, exponent + times)).all()


def test_folding_by_hand() -> None:
    #                bins: -    -3 -2 -1  0  1  2  3
    counts = np.array([0, 5, 6, 7, 1, 2, 3, 4])
    assert folded(counts, 0).tolist() == counts.tolist()
    assert folded(counts, 1).tolist() == [0, 0, 0, 5 + 6, 7 + 1 + 2, 3 + 4, 0, 0]
    assert folded(counts, 2).tolist() == [0, 0, 0, 0, 28, 0, 0, 0]
    assert folded(counts, 200).tolist() == [0, 0, 0, 0, 28, 0, 0, 0]


def test_channels_have_their_own_extremes() -> None:
    images = np.random.default_rng(0).normal(size=(4, 3, 5, 6)).astype(np.float32)
    found = statistics_of(images)
    assert (found.channel_low == images.min(axis=(0, 2, 3))).all()
    assert (found.channel_high == images.max(axis=(0, 2, 3))).all()
    last = statistics_of(images[:, 0], axis=2)
    assert (last.channel_high == images[:, 0].max(axis=(0, 1))).all()


def test_a_free_number_of_channels_becomes_one() -> None:
    small, large = np.ones((1, 2, 4), np.float32), np.full((1, 3, 4), -2, np.float32)
    runs = [extract(one, 1) for one in (small, large, small)]
    orders = ([0, 1, 2], [0, 2, 1], [1, 0, 2])
    found = []
    for order in orders:
        total = Accumulator(1)
        for index in order:
            total.add_runs(*([part] for part in runs[index]))
        found.append(total.result())
    assert all(same(found[0], one) for one in found)
    assert (found[0].channel_low.tolist(), found[0].channel_high.tolist()) == ([-2], [1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_what_is_not_finite_is_not_added(value: float, part: int) -> None:
    total = Accumulator()
    run = [np.zeros(3, np.float32) for _ in range(3)]
    assert total.add_runs(*([one] for one in run))
    before = total.result()
    run[part][1] = value
    assert not total.add_runs(*([one] for one in run))
    assert same(before, total.result())


def test_dead_tensor() -> None:
    assert statistics_of(np.zeros((2, 3, 4), np.float32)).is_dead
    assert statistics_of(-np.zeros((2, 3, 4), np.float32)).is_dead
    assert not statistics_of(np.full((2, 3, 4), 1e-45, np.float32)).is_dead


def collected(key: Key, seed: int = 0, names: tuple[str, ...] = ("a", "b")) -> Statistics:
    rng = np.random.default_rng(seed)
    tensors = {
        name: statistics_of(rng.normal(size=(5, 3, 4)).astype(np.float32), axis) for name, axis in zip(names, (1, None), strict=True)
    }
    return Statistics(tensors, 5, key)


def test_all_shards_together_have_the_key_of_the_whole() -> None:
    whole = Key("m", "p", "d")
    shards = [collected(Key("m", "p", "d", 3, (index,)), seed=index) for index in range(3)]
    partly = merge(shards[2], shards[0])
    assert partly.key == Key("m", "p", "d", 3, (0, 2))
    found = merge(partly, shards[1])
    assert (found.key, found.images) == (whole, 15)
    assert same(found.tensors["a"], merge(*shards).tensors["a"])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Key("x", "p", "d", 2, (1,)), "model"),
        (Key("m", "x", "d", 2, (1,)), "preprocessing"),
        (Key("m", "p", "x", 2, (1,)), "data"),
        (Key("m", "p", "d", 2, (0,)), "same images twice"),
        (Key("m", "p", "d", 3, (1,)), "same images twice"),
    ],
)
def test_statistics_that_do_not_belong_together_are_refused(other: Key, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        merge(collected(Key("m", "p", "d", 2, (0,))), collected(other))
    assert caught.value.given
    assert caught.value.fix


def test_statistics_of_other_tensors_are_refused() -> None:
    with pytest.raises(DataError, match="different tensors: b, c"):
        merge(collected(Key("m", shards=2)), collected(Key("m", shards=2, done=(1,)), names=("a", "c")))


@pytest.mark.parametrize("done", [(), (2,), (-1,), (1, 0), (0, 0)])
def test_a_shard_that_does_not_exist_is_refused(done: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="shard"):
        Key("m", shards=2, done=done)


def test_file_gives_back_every_bit_and_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    key = Key("m" * 64, "p" * 64, "data")
    kept = collected(key)
    save_statistics(kept, tmp_path / "a.stats")
    save_statistics(kept, tmp_path / "b.stats")
    assert (tmp_path / "a.stats").read_bytes() == (tmp_path / "b.stats").read_bytes()
    found = load_statistics(tmp_path / "a.stats", key)
    assert (found.images, found.key, list(found.tensors)) == (5, key, ["a", "b"])
    assert all(same(found.tensors[name], kept.tensors[name]) for name in ("a", "b"))
    assert load_statistics(tmp_path / "a.stats", Key(key.model, key.preprocessing)).key == key, "the data may be unknown"


@pytest.mark.parametrize(
    ("key", "words"),
    [(Key("x", "p", "d"), "model m and x"), (Key("m", "x", "d"), "preprocessing"), (Key("m", "p", "x"), "data d and x")],
)
def test_file_of_another_key_is_refused(key: Key, words: str, tmp_path: Path) -> None:
    save_statistics(collected(Key("m", "p", "d")), tmp_path / "a.stats")
    with pytest.raises(DataError, match=f"belong to something else.*{words}"):
        load_statistics(tmp_path / "a.stats", key)


def test_file_of_one_shard_serves_merging_only(tmp_path: Path) -> None:
    key = Key("m", "p", "d", 2, (1,))
    save_statistics(collected(key), tmp_path / "a.stats")
    assert load_statistics(tmp_path / "a.stats").key == key
    with pytest.raises(DataError, match="some shards only"):
        load_statistics(tmp_path / "a.stats", Key("m", "p", "d"))


def test_missing_foreign_and_newer_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.stats"
    with pytest.raises(DataError, match="does not exist"):
        load_statistics(path)
    with pytest.raises(DataError, match="cannot be read"):
        load_statistics(tmp_path)
    np.save(tmp_path / "some.npy", np.zeros(3))
    with pytest.raises(DataError, match="no file of statistics"):
        load_statistics(tmp_path / "some.npy")
    save_statistics(collected(Key("m")), path)
    path.write_bytes(path.read_bytes().replace(b"statistics 1\n", b"statistics 2\n"))
    with pytest.raises(DataError, match="another version"):
        load_statistics(path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.stats"
    save_statistics(collected(Key("m", "p", "d")), path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        cut = rng.integers(len(content))
        path.write_bytes(damaged if rng.random() < 0.7 else content[:cut])
        with pytest.raises(DataError) as caught:
            load_statistics(path)
        assert caught.value.given
        assert caught.value.fix


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        save_statistics(collected(Key("m")), tmp_path / "none" / "a.stats")
