"""The block that MobileNetV2, MobileNetV3 and EfficientNet are made of.

Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks", arXiv 1801.04381: widen with a 1x1 convolution, filter each
channel on its own, narrow again without an activation, and connect the narrow ends.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812  # the name every PyTorch reader knows
from torch import Tensor, nn

from .architecture import initialize_, round_channels

Activation = Callable[[], nn.Module]


def conv_bn(inputs: int, outputs: int, kernel: int, activation: Activation, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution that keeps H and W (divided by `stride`), its batch normalisation and an activation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), activation())


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate in 0..1 that sees the means of all channels.

    Hu et al. 2017, arXiv 1709.01507, with the sizes and the hard sigmoid of MobileNetV3, arXiv 1905.02244: the layer between has a
    quarter of the channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = round_channels(channels // 4)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape (N, C, H, W)."""
        means = F.adaptive_avg_pool2d(features, 1)  # (N, C, 1, 1)
        return features * self.gate(self.expand(F.relu(self.reduce(means))))


class InvertedResidual(nn.Module):
    """1x1 expand, k x k depthwise, squeeze-excite where asked, 1x1 project; the input is added where shapes allow.

    Args:
        inputs: Channels that come in.
        expanded: Channels of the depthwise convolution; equal to `inputs`, the 1x1 before it is left out.
        outputs: Channels that go out.
        kernel: Size of the depthwise kernel.
        stride: Of the depthwise convolution.
        activation: Builds the activation after the first two convolutions; the third has none.
        squeeze_excite: Gate the channels after the depthwise convolution.
    """

    def __init__(
        self, inputs: int, expanded: int, outputs: int, *, kernel: int, stride: int, activation: Activation, squeeze_excite: bool = False
    ) -> None:
        super().__init__()
        self.expand = nn.Identity() if expanded == inputs else conv_bn(inputs, expanded, 1, activation)
        self.depthwise = conv_bn(expanded, expanded, kernel, activation, stride=stride, groups=expanded)
        self.excite = SqueezeExcite(expanded) if squeeze_excite else nn.Identity()
        self.project = conv_bn(expanded, outputs, 1, nn.Identity)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, outputs, H/stride, W/stride) of features (N, inputs, H, W)."""
        wide = self.excite(self.depthwise(self.expand(features)))  # (N, expanded, H/stride, W/stride)
        narrow = self.project(wide)
        return features + narrow if self.shortcut else narrow


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of a paper's table: blocks of one width, of which only the first has the stride.

    Attributes:
        expansion: Channels of the depthwise convolution, as a multiple of the block's input.
        channels: Channels that go out, before the width multiplier.
        blocks: How many blocks.
        stride: Stride of the first block.
        kernel: Size of the depthwise kernels.
    """

    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel: int = 3


def build_stages(stages: Sequence[Stage], inputs: int, widen: Callable[[int], int], activation: Activation) -> nn.Sequential:
    """Return the blocks of all `stages` in one sequence that takes `inputs` channels."""
    blocks: list[nn.Module] = []
    for stage in stages:
        outputs = widen(stage.channels)
        for stride in (stage.stride, *[1] * (stage.blocks - 1)):
            expanded = stage.expansion * inputs
            blocks.append(InvertedResidual(inputs, expanded, outputs, kernel=stage.kernel, stride=stride, activation=activation))
            inputs = outputs
    return nn.Sequential(*blocks)


class InvertedResidualNet(nn.Module):
    """Stem, inverted residuals, a last 1x1 convolution, the mean over all pixels, and a classifier."""

    def __init__(self, stem: nn.Module, blocks: nn.Module, head: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = blocks
        self.head = head
        self.classifier = classifier
        initialize_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, C, S, S)."""
        features = self.head(self.blocks(self.stem(images)))  # (N, head channels, h, w)
        pooled = F.adaptive_avg_pool2d(features, 1).flatten(1)  # (N, head channels)
        return self.classifier(pooled)
