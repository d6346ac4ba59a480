"""Splits: what they stream, how they are cut, and what they refuse."""

import numpy as np
import pytest

from edgerec.data.arrays import Images, NamedArrays
from edgerec.data.splits import DataSet, Split, divide
from edgerec.runtime.errors import ConfigError, DataError
from edgerec.runtime.preprocess import to_pixels
from edgerec.runtime.spec import InputSpec

GREY = InputSpec(4, 4, color="grey", mean=(0.5,), std=(0.5,))


def source(count: int = 60, size: int = 4, channels: int = 1) -> Images:
    pixels = np.arange(count * size * size * channels, dtype=np.uint8).reshape(count, size, size, channels)
    return Images(pixels, np.arange(count) % 3, "train")


def split(count: int = 60, **shape: int) -> Split:
    return Split(source(count, **shape), np.arange(count))


def test_batches_hold_each_image_once_with_its_label_and_id() -> None:
    images = source(10)
    batches = list(Split(images, np.arange(10)).batches(4, [GREY]))
    assert [len(batch.ids) for batch in batches] == [4, 4, 2]
    assert (np.concatenate([batch.feeds["input"] for batch in batches]) == images.pixels).all()
    assert np.concatenate([batch.labels for batch in batches]).tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert [one for batch in batches for one in batch.ids] == [f"train/{row}" for row in range(10)]


@pytest.mark.parametrize("color", ["grey", "rgb", "bgr"])
@pytest.mark.parametrize("size", [4, 6])
@pytest.mark.parametrize("channels", [1, 3])
def test_whole_blocks_and_single_images_give_the_same_pixels(color: str, size: int, channels: int) -> None:
    count = 1 if color == "grey" else 3
    spec = InputSpec(size, size, name="x", color=color, mean=(0.0,) * count, std=(1.0,) * count)
    images = source(5, channels=channels)
    (batch,) = Split(images, np.arange(5)).batches(8, [spec])
    assert (batch.feeds["x"] == np.stack([to_pixels(image, spec) for image in images.pixels])).all()
    assert batch.feeds["x"].flags.c_contiguous


def test_two_inputs_see_the_same_image() -> None:
    small, large = InputSpec(4, 4, name="small"), InputSpec(8, 8, name="large")
    (batch,) = split(3).batches(3, [small, large])
    assert {name: array.shape for name, array in batch.feeds.items()} == {"small": (3, 4, 4, 3), "large": (3, 8, 8, 3)}


def test_shuffling_is_seeded_and_keeps_pairs_together() -> None:
    whole = split()
    first, again, other = ([one for batch in whole.batches(7, [GREY], shuffle_seed=seed) for one in batch.ids] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert sorted(first) == sorted(whole.ids)
    batch = next(whole.batches(60, [GREY], shuffle_seed=1))
    assert [int(one.partition("/")[2]) % 3 for one in batch.ids] == batch.labels.tolist()


@pytest.mark.parametrize("seed", [None, 4])
def test_batches_of_all_shards_are_the_batch_of_the_whole(seed: int | None) -> None:
    whole = split(48)
    shards = [whole.shard(rank, 2) for rank in range(2)]
    assert sorted(shards[0].ids + shards[1].ids) == sorted(whole.ids)
    streams = [shard.batches(4, [GREY], shuffle_seed=seed) for shard in shards]
    for together in whole.batches(8, [GREY], shuffle_seed=seed):
        assert set(together.ids) == {one for stream in streams for one in next(stream).ids}


def test_a_shard_of_a_shard() -> None:
    ids = [split(24).shard(rank, 2).shard(inner, 3).ids for rank in range(2) for inner in range(3)]
    assert [len(one) for one in ids] == [4] * 6
    assert sorted(sum(ids, ())) == sorted(split(24).ids)


def test_take_is_a_prefix_and_knows_its_length() -> None:
    assert split().take(5).ids == split().ids[:5]
    assert len(split().take(500)) == 60
    assert split().shard(1, 2).take(3).ids == ("train/1", "train/3", "train/5")


def test_arrays_named_like_inputs_pass_as_they_are() -> None:
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(6, 2)
    named = Split(NamedArrays({"tokens": values}, None), np.arange(6)[::-1])
    (batch,) = named.batches(6, [])
    assert (batch.feeds["tokens"] == values[::-1]).all()
    assert batch.labels is None
    with pytest.raises(DataError, match=r"no array for the model's input 'input'.*tokens.*rename"):
        named.batches(6, [GREY])


def test_a_named_uint8_array_of_another_size_is_refused() -> None:
    named = Split(NamedArrays({"input": np.zeros((6, 5, 5, 1), np.uint8)}, None), np.arange(6))
    with pytest.raises(DataError, match=r"not resized.*\(6, 5, 5, 1\).*\(N, 4, 4, 1\)"):
        named.batches(2, [GREY])


@pytest.mark.parametrize(
    ("wrong", "message"), [({"batch_size": 0}, "at least one image: 0"), ({"batch_size": 1, "workers": 0}, "one thread: 0")]
)
def test_numbers_out_of_range(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split().batches(inputs=[GREY], **wrong)


def test_other_refusals() -> None:
    with pytest.raises(ConfigError, match="not described"):
        split().batches(1, [])
    with pytest.raises(ConfigError, match="rank 2 of 2"):
        split().shard(2, 2)
    with pytest.raises(ConfigError, match="at least one image: 0"):
        split().take(0)


def test_splits_by_name() -> None:
    data = DataSet("some", ("a", "b", "c"), **divide(source(), None, None, 0), inputs=(), digest=lambda: "f" * 64)
    assert data.split("test") is data.test
    assert len(bytes.fromhex(data.fingerprint)) == 32
    with pytest.raises(ConfigError, match="unknown split: 'tset'; choose one of train, calibration, validation, test"):
        data.split("tset")
    with pytest.raises(DataError, match="does not say what its images look like: some"):
        _ = data.input


def test_own_splits_are_used_whole_and_in_fair_order() -> None:
    splits = divide(source(60), source(30), source(9), 0)
    assert [len(splits[name]) for name in ("train", "calibration", "validation", "test")] == [48, 12, 30, 9]
    assert sorted(splits["test"].labels[:3].tolist()) == [0, 1, 2]


def test_images_in_memory_need_no_check() -> None:
    told: list[int] = []
    split().check(told.append)
    Split(NamedArrays({"tokens": np.zeros((3, 2))}, None), np.arange(3)).check(told.append)
    assert told == []


def test_the_fingerprint_follows_the_digest_and_the_rows() -> None:
    def fingerprint(digest: str, seed: int) -> str:
        return DataSet("some", (), **divide(source(), None, None, seed), inputs=(), digest=lambda: digest).fingerprint

    assert fingerprint("a", 0) == fingerprint("a", 0)
    assert len({fingerprint("a", 0), fingerprint("b", 0), fingerprint("a", 1)}) == 3
