"""ResNets for CIFAR: He et al. 2015, "Deep residual learning for image recognition", arXiv 1512.03385, section 4.2.

A network of depth 6n + 2 has three stages of n blocks with 16, 32 and 64 channels; `Architecture.blocks` gives each stage a number of
its own. Module names are those of akamaster/pytorch_resnet_cifar10, so its published weights load.
"""

import torch.nn.functional as F  # noqa: N812  # the name every PyTorch reader knows
from torch import Tensor, nn

from .architecture import Architecture, initialize_

STAGES = 3


class ZeroPadShortcut(nn.Module):
    """The paper's option A, a shortcut without weights: take every second pixel and add channels of zeros.

    Attributes:
        before: Channels of zeros in front of the input's own.
        after: Channels of zeros behind them.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.before = before
        self.after = after

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, before + C + after, H/2, W/2) of features (N, C, H, W)."""
        return F.pad(features[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them: relu(x + bn(conv(relu(bn(conv(x))))))."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        before = (outputs - inputs) // 2
        self.shortcut = nn.Identity() if stride == 1 else ZeroPadShortcut(before, outputs - inputs - before)

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, outputs, H/stride, W/stride) of features (N, inputs, H, W)."""
        inner = F.relu(self.bn1(self.conv1(features)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(features))


class ResNet(nn.Module):
    """A CIFAR ResNet with `blocks` blocks in each of its three stages, or as many as the architecture says.

    Up to 64 pixels the stem is the paper's 3x3 convolution; above, it is the paper's ImageNet stem (7x7 with stride 2, then a
    max-pool with stride 2), so that 224 pixels enter the first stage as 56.
    """

    def __init__(self, architecture: Architecture, blocks: int) -> None:
        super().__init__()
        first, second, third = architecture.blocks or (blocks,) * STAGES
        widths = [architecture.widen(channels) for channels in (16, 32, 64)]
        kernel, stride = (3, 1) if architecture.small else (7, 2)
        self.conv1 = nn.Conv2d(architecture.channels, widths[0], kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.pool = nn.Identity() if architecture.small else nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(widths[0], widths[0], first, stride=1)
        self.layer2 = _stage(widths[0], widths[1], second, stride=2)
        self.layer3 = _stage(widths[1], widths[2], third, stride=2)
        self.linear = nn.Linear(widths[2], architecture.classes)
        initialize_(self)
        self._halve_branches_()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, C, S, S)."""
        features = self.pool(F.relu(self.bn1(self.conv1(images))))  # (N, 16, S, S)
        features = self.layer3(self.layer2(self.layer1(features)))  # (N, 64, S/4, S/4)
        pooled = F.adaptive_avg_pool2d(features, 1).flatten(1)  # (N, 64)
        return self.linear(pooled)

    def _halve_branches_(self) -> None:
        """Start every branch at half of its strength.

        At full strength each block doubles the variance, and the logits of a fresh ResNet-56 are in the thousands until its running
        statistics are learnt. 1 / sqrt(blocks), as in arXiv 2010.12859, learns more slowly: 54 % instead of 59 % after three epochs of
        ResNet-20 on 8,000 images of CIFAR-10.
        """
        for module in self.modules():
            if isinstance(module, BasicBlock):
                nn.init.constant_(module.bn2.weight, 0.5)


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))


def resnet8(architecture: Architecture) -> ResNet:
    """Build ResNet-8: one block a stage."""
    return ResNet(architecture, blocks=1)


def resnet20(architecture: Architecture) -> ResNet:
    """Build ResNet-20: 269,722 parameters for 10 classes of colour images."""
    return ResNet(architecture, blocks=3)


def resnet32(architecture: Architecture) -> ResNet:
    """Build ResNet-32."""
    return ResNet(architecture, blocks=5)


def resnet56(architecture: Architecture) -> ResNet:
    """Build ResNet-56: 853,018 parameters for 10 classes of colour images."""
    return ResNet(architecture, blocks=9)
