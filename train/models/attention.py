"""A network whose attention weights can be drawn: they say which patches of the image it looked at."""

from typing import Literal, overload

import torch
from torch import Tensor, nn

from .architecture import Architecture, initialize_


class AttentionPool(nn.Module):
    """Additive attention over patches: a = softmax(v^T tanh(W x + b)), the pooled feature is sum_i a_i x_i.

    Bahdanau et al. 2014, arXiv 1409.0473, without the decoder; Ilse et al. 2018, arXiv 1802.04712, pool patches of an image with it.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, hidden)  # W, b
        self.score = nn.Linear(hidden, 1, bias=False)  # v

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled feature (N, D) and the weights (N, P) of patches (N, P, D)."""
        scores = self.score(torch.tanh(self.project(patches)))  # (N, P, 1)
        weights = scores.softmax(dim=1)
        return (weights * patches).sum(dim=1), weights.squeeze(2)


class AttentionNet(nn.Module):
    """Three 3x3 convolutions see patches, additive attention decides which of them count.

    Pools after the first two convolutions leave one patch for each 4x4 pixels up to an image size of 64, for each 16x16 above:
    28 pixels give 49 patches, 224 give 196, row by row from the top left.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = [architecture.channels, *(architecture.widen(channels) for channels in (32, 64, 64))]
        pool = 2 if architecture.small else 4
        self.features = nn.Sequential(
            *_conv_bn_relu(widths[0], widths[1]),
            nn.MaxPool2d(pool),
            *_conv_bn_relu(widths[1], widths[2]),
            nn.MaxPool2d(pool),
            *_conv_bn_relu(widths[2], widths[3]),
        )
        self.pool = AttentionPool(widths[3], architecture.widen(64))
        self.linear = nn.Linear(widths[3], architecture.classes)
        initialize_(self)

    @overload
    def forward(self, images: Tensor, return_weights: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(self, images: Tensor, return_weights: Literal[True]) -> tuple[Tensor, Tensor]: ...

    def forward(self, images: Tensor, return_weights: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits (N, classes) of images (N, C, S, S); with `return_weights` also each patch's share (N, P)."""
        grid = self.features(images)  # (N, D, S/4, S/4)
        patches = grid.flatten(2).transpose(1, 2)  # (N, P, D)
        pooled, weights = self.pool(patches)
        logits = self.linear(pooled)
        return (logits, weights) if return_weights else logits


def attention(architecture: Architecture) -> AttentionNet:
    """Build the network with attention pooling."""
    return AttentionNet(architecture)


def _conv_bn_relu(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
