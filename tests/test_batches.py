"""Training batches: full ones only, the same for every process count, normalised as evaluation normalises."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgerec.data.splits import Split
from edgerec.runtime.errors import DataError
from edgerec.runtime.preprocess import normalize
from edgerec.runtime.spec import InputSpec
from edgerec.train.batches import Feed, TrainBatch, cross_entropy

SPEC = InputSpec(2, 3, scale=1 / 128, mean=(0.5, 0.6, 0.7), std=(0.2, 0.3, 0.4))


class Damaged:
    """Ten images; some cannot be read."""

    def __init__(self, broken: set[int], labels: np.ndarray | None) -> None:
        self.broken, self.labels, self.skipped = broken, labels, set[int]()

    def __len__(self) -> int:
        return 10

    def name(self, row: int) -> str:
        return str(row)

    def image(self, row: int) -> np.ndarray | None:
        return None if row in self.broken else np.full((2, 3, 3), 20 * row, np.uint8)

    def feeds(self, rows: np.ndarray, inputs: object) -> None:
        return None


def feed(batch_size: int, broken: set[int] = frozenset(), labels: np.ndarray | None = np.arange(10), augment=None) -> Feed:  # noqa: B008
    split = Split(Damaged(set(broken), labels), np.arange(10))
    return Feed(split, SPEC, batch_size, augment, torch.device("cpu"), torch.contiguous_format)


def ids(batches: object) -> list[tuple[str, ...]]:
    return [batch.ids for batch in batches]


def test_only_full_batches() -> None:
    taken = ids(feed(4).batches(2, shuffle_seed=1))
    assert [len(one) for one in taken] == [4, 4]
    assert len({name for one in taken for name in one}) == 8


def test_the_order_depends_on_the_seed_alone() -> None:
    assert ids(feed(4).batches(2, shuffle_seed=1)) == ids(feed(4).batches(2, shuffle_seed=1))
    assert ids(feed(4).batches(2, shuffle_seed=1)) != ids(feed(4).batches(2, shuffle_seed=2))


def test_a_process_with_damaged_images_begins_again() -> None:
    taken = ids(feed(4, broken={0, 1, 2}).batches(3, shuffle_seed=1))
    assert taken == [taken[0]] * 3  # seven readable images are one full batch


def test_fewer_readable_images_than_a_batch() -> None:
    with pytest.raises(DataError, match="10 images, batch 8"):
        list(feed(8, broken={1, 3, 5}).batches(1, shuffle_seed=0))


def test_without_labels() -> None:
    unlabelled = feed(4, labels=None)
    (batch,) = unlabelled.batches(1, shuffle_seed=0)
    with pytest.raises(DataError, match="needs labels"):
        unlabelled.prepared(batch, 0)


def test_both_ways_of_normalising_agree() -> None:
    plain, augmented = feed(4), feed(4, augment=lambda images, labels, draw: (images, labels + draw))
    (batch,) = plain.batches(1, shuffle_seed=0)
    expected = torch.from_numpy(normalize(batch.feeds["input"], SPEC))
    assert torch.equal(plain.prepared(batch, 7).images, expected)
    changed = augmented.prepared(batch, 7)
    torch.testing.assert_close(changed.images, expected, rtol=0, atol=1e-5)
    assert changed.augmented
    assert changed.labels.tolist() == [label + 7 for label in batch.labels]


def test_channels_come_last_for_a_model_that_wants_them_there() -> None:
    last = replace(SPEC, layout="NHWC")
    for augment in (None, lambda images, labels, draw: (images, labels)):
        first = feed(4, augment=augment)
        (batch,) = first.batches(1, shuffle_seed=0)
        images = replace(first, spec=last).prepared(batch, 0).images
        assert images.shape == (4, 2, 3, 3)  # two rows, three columns, three channels
        assert images.is_contiguous()
        torch.testing.assert_close(images.permute(0, 3, 1, 2), first.prepared(batch, 0).images, rtol=0, atol=1e-6)


def test_cross_entropy_by_hand() -> None:
    class Fixed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]))

    batch = TrainBatch(torch.zeros(2, 1, 1, 1), torch.tensor([0, 1]), ("a", "b"), augmented=False)
    assert cross_entropy()(Fixed(), batch).item() == pytest.approx((np.log(2) + np.log(8)) / 2)
    # Smoothing by 0.3 leaves 0.8 on the label and puts 0.1 on each other class.
    first = 0.8 * np.log(2) + 0.1 * np.log(4) + 0.1 * np.log(4)
    second = 0.8 * np.log(8) + 0.1 * np.log(8) + 0.1 * np.log(4 / 3)
    assert cross_entropy(0.3)(Fixed(), batch).item() == pytest.approx((first + second) / 2, rel=1e-5)
