"""From a split's uint8 images to the batches that a loss sees: normalised, augmented, on the device."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812  # the name every PyTorch reader knows
from torch import Tensor, nn

from ..data.splits import Batch, Split
from ..runtime.errors import DataError
from ..runtime.preprocess import normalize
from ..runtime.spec import InputSpec
from .augment import Augment
from .transfer import to_device


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """What a loss sees.

    Attributes:
        images: Normalised, float32, shape (N, C, H, W), or (N, H, W, C) for a model whose layout is `NHWC`.
        labels: Class indices, int64, shape (N,), or soft labels, float32, shape (N, classes).
        ids: A name for each image that is unique in the data set.
        augmented: Whether the images differ from those the ids name.
        answers: What a teacher says of the images, logits, shape (N, classes); None where nobody was asked.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    augmented: bool
    answers: Tensor | None = None


Loss = Callable[[nn.Module, TrainBatch], Tensor]
Teach = Callable[[TrainBatch], Tensor]


def cross_entropy(label_smoothing: float = 0.0) -> Loss:
    """Return the usual loss of a classifier: the mean cross-entropy of a batch.

    Args:
        label_smoothing: Share of each label that is spread over all classes (arXiv 1512.00567, section 7).
    """

    def loss(model: nn.Module, batch: TrainBatch) -> Tensor:
        return F.cross_entropy(model(batch.images).float(), batch.labels, label_smoothing=label_smoothing)

    return loss


@dataclass(frozen=True, slots=True)
class Feed:
    """How one process gets its share of every global batch.

    Attributes:
        split: This process's shard of the training images.
        spec: What the model expects.
        batch_size: Images a batch, of this process.
        augment: Draws the changes to every batch; None leaves the images as evaluation sees them, bit for bit.
        device: Where the batches go.
        memory_format: Order in memory of the images' dimensions; not for the layout `NHWC`.
        teach: Answers each batch; None leaves the answers out.
    """

    split: Split
    spec: InputSpec
    batch_size: int
    augment: Augment | None
    device: torch.device
    memory_format: torch.memory_format
    teach: Teach | None = None

    def batches(self, count: int, *, shuffle_seed: int) -> Iterator[Batch]:
        """Return exactly `count` full batches in an order that depends on the seed alone.

        The images that do not fill the last batch are left out; the next epoch's order takes others.

        Raises:
            DataError: The split has fewer readable images than a batch.
        """
        return islice(self._full(shuffle_seed), count)

    def prepared(self, batch: Batch, draw: int) -> TrainBatch:
        """Return what the loss sees.

        Args:
            batch: Images uint8, as a split streams them.
            draw: Number of the batch over the whole training and all processes; with the augmentation's seed it decides what is drawn.

        Raises:
            DataError: The batch has no labels.
        """
        pixels, labels = batch.feeds[self.spec.name], to_device(torch.from_numpy(_labels(batch)), self.device)
        if self.augment is None:
            images = to_device(torch.from_numpy(normalize(pixels, self.spec)), self.device)
        else:
            # Bytes travel, not floats: a quarter of the time.
            images, labels = self.augment(_unit_range(to_device(torch.from_numpy(np.ascontiguousarray(pixels)), self.device)), labels, draw)
            images = _normalized(images, self.spec)
            if self.spec.layout == "NHWC":
                images = images.permute(0, 2, 3, 1)  # (N, H, W, C)
        made = TrainBatch(images.contiguous(memory_format=self.memory_format), labels, batch.ids, self.augment is not None)
        return replace(made, answers=self.teach(made)) if self.teach else made

    def _full(self, seed: int) -> Iterator[Batch]:
        # Damaged images may leave one process with fewer batches than the others wait for: it begins again.
        while True:
            found = False
            for batch in self.split.batches(self.batch_size, (self.spec,), shuffle_seed=seed):
                if len(batch.ids) == self.batch_size:
                    found = True
                    yield batch
            if not found:
                raise DataError(
                    "fewer readable images than a batch", f"{len(self.split)} images, batch {self.batch_size}", "make the batch smaller"
                )


def _labels(batch: Batch) -> npt.NDArray[np.int64]:
    if batch.labels is None:
        raise DataError("training needs labels", "this data set has none", "give a folder with one sub-folder a class")
    return batch.labels


def _unit_range(pixels: Tensor) -> Tensor:
    """Return 0..1 as the augmentations take it, shape (N, C, H, W), of uint8 pixels (N, H, W, C)."""
    return pixels.permute(0, 3, 1, 2).contiguous().float() / 255


def _normalized(images: Tensor, spec: InputSpec) -> Tensor:
    """Return `(p * scale - mean) / std` of images in 0..1, where p runs to 255."""
    mean, std = (to_device(torch.tensor(values), images.device).view(-1, 1, 1) for values in (spec.mean, spec.std))
    return (images * (255 * spec.scale) - mean) / std
