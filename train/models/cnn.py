"""The textbook convolutional network for handwritten digits: two convolutions, two dense layers."""

import torch.nn.functional as F  # noqa: N812  # the name every PyTorch reader knows
from torch import Tensor, nn

from .architecture import Architecture


class ConvNet(nn.Module):
    """conv 3x3x32, ReLU, max-pool, conv 3x3x64, ReLU, max-pool, flatten, dense 64, ReLU, dense classes.

    The convolutions pad by one pixel, so 28 pixels become 14 and then 7. Above 64 pixels the pools take 4x4 instead of 2x2,
    which keeps the first dense layer at 14x14 cells for 224 pixels.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        first, second, hidden = (architecture.widen(channels) for channels in (32, 64, 64))
        pool = 2 if architecture.small else 4
        cells = architecture.size // pool // pool
        self.conv1 = nn.Conv2d(architecture.channels, first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.pool = nn.MaxPool2d(pool)
        self.dense = nn.Linear(second * cells * cells, hidden)
        self.linear = nn.Linear(hidden, architecture.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, C, S, S)."""
        features = self.pool(F.relu(self.conv1(images)))  # (N, 32, S/2, S/2)
        features = self.pool(F.relu(self.conv2(features)))  # (N, 64, S/4, S/4)
        hidden = F.relu(self.dense(features.flatten(1)))  # (N, 64)
        return self.linear(hidden)
