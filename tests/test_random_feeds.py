"""Tests of benchmarks/random_feeds.py."""

import numpy as np
import pytest

from edgerec.runtime.errors import ConfigError
from edgerec.runtime.random_feeds import random_feeds
from edgerec.runtime.session import Tensor
from edgerec.runtime.spec import InputSpec


def test_declared_sizes_are_kept_and_a_free_batch_is_one() -> None:
    feeds = random_feeds([Tensor("a", ("n", 3, 4), "tensor(float)"), Tensor("b", (2, 5), "tensor(int64)")])
    assert (feeds["a"].shape, feeds["a"].dtype) == ((1, 3, 4), np.float32)
    assert (feeds["b"].shape, feeds["b"].dtype) == ((2, 5), np.int64)
    assert set(np.unique(feeds["b"])) <= {0, 1}


@pytest.mark.parametrize("free", ["size", None, -1, 0])
def test_free_sizes_come_from_the_spec(free: str | int | None) -> None:
    planes = [Tensor("image", (None, 3, free, free), "tensor(float)")]
    assert random_feeds(planes, [InputSpec(20, 30)])["image"].shape == (1, 3, 20, 30)
    pixels = [Tensor("image", (None, free, free, 3), "tensor(uint8)")]
    feeds = random_feeds(pixels, [InputSpec(20, 30, layout="NHWC")])
    assert (feeds["image"].shape, feeds["image"].dtype) == ((1, 20, 30, 3), np.uint8)
    assert feeds["image"].max() > 127


def test_several_inputs_take_the_spec_of_their_name() -> None:
    tensors = [Tensor(name, (1, 3, "h", "w"), "tensor(float16)") for name in ("left", "right")]
    feeds = random_feeds(tensors, [InputSpec(8, 8, name="right"), InputSpec(4, 4, name="left")])
    assert (feeds["left"].shape, feeds["right"].shape) == ((1, 3, 4, 4), (1, 3, 8, 8))


def test_the_same_call_gives_the_same_numbers() -> None:
    tensors = [Tensor("a", (4, 4), "tensor(double)")]
    assert np.array_equal(random_feeds(tensors)["a"], random_feeds(tensors)["a"])
    assert not np.array_equal(random_feeds(tensors)["a"], random_feeds(tensors, seed=1)["a"])


def test_what_cannot_be_made() -> None:
    with pytest.raises(ConfigError, match=r"leaves the size of its input open.*--input-size"):
        random_feeds([Tensor("image", (1, 3, "h", "w"), "tensor(float)")])
    with pytest.raises(ConfigError, match=r"no random input.*words tensor\(string\)"):
        random_feeds([Tensor("words", (1,), "tensor(string)")])
