"""MobileNetV2 and MobileNetV3-Small.

Sandler et al. 2018, arXiv 1801.04381, table 2; Howard et al. 2019, "Searching for MobileNetV3", arXiv 1905.02244, table 2.

Both halve the resolution five times, from 224 pixels to 7. Up to 64 pixels the stem does not: 28 pixels end as 2x2, and one image takes
21.8 million multiply-accumulates in MobileNetV2 and 4.9 million in MobileNetV3-Small (300.8 and 56.5 million at 224).
"""

from dataclasses import dataclass

from torch import nn

from .architecture import Architecture
from .inverted_residual import Activation, InvertedResidual, InvertedResidualNet, Stage, build_stages, conv_bn

DROPOUT = 0.2

V2_STAGES = (
    Stage(expansion=1, channels=16, blocks=1, stride=1),
    Stage(expansion=6, channels=24, blocks=2, stride=2),
    Stage(expansion=6, channels=32, blocks=3, stride=2),
    Stage(expansion=6, channels=64, blocks=4, stride=2),
    Stage(expansion=6, channels=96, blocks=3, stride=1),
    Stage(expansion=6, channels=160, blocks=3, stride=2),
    Stage(expansion=6, channels=320, blocks=1, stride=1),
)


def mobilenet_v2(architecture: Architecture) -> InvertedResidualNet:
    """Build MobileNetV2: 3,504,872 parameters for 1,000 classes of colour images.

    As in the paper, the last convolution's 1,280 channels do not shrink with `width` below 1.
    """
    stem, head = architecture.widen(32), max(1280, architecture.widen(1280))
    return InvertedResidualNet(
        stem=conv_bn(architecture.channels, stem, 3, nn.ReLU6, stride=1 if architecture.small else 2),
        blocks=build_stages(V2_STAGES, stem, architecture.widen, nn.ReLU6),
        head=conv_bn(architecture.widen(320), head, 1, nn.ReLU6),
        classifier=nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(head, architecture.classes)),
    )


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """One row of MobileNetV3's table, which gives every block its own numbers; the columns are the paper's."""

    kernel: int
    expanded: int
    channels: int
    squeeze_excite: bool
    activation: Activation
    stride: int


V3_SMALL = (
    Bottleneck(3, 16, 16, True, nn.ReLU, 2),
    Bottleneck(3, 72, 24, False, nn.ReLU, 2),
    Bottleneck(3, 88, 24, False, nn.ReLU, 1),
    Bottleneck(5, 96, 40, True, nn.Hardswish, 2),
    Bottleneck(5, 240, 40, True, nn.Hardswish, 1),
    Bottleneck(5, 240, 40, True, nn.Hardswish, 1),
    Bottleneck(5, 120, 48, True, nn.Hardswish, 1),
    Bottleneck(5, 144, 48, True, nn.Hardswish, 1),
    Bottleneck(5, 288, 96, True, nn.Hardswish, 2),
    Bottleneck(5, 576, 96, True, nn.Hardswish, 1),
    Bottleneck(5, 576, 96, True, nn.Hardswish, 1),
)


def mobilenet_v3_small(architecture: Architecture) -> InvertedResidualNet:
    """Build MobileNetV3-Small: 2,542,856 parameters for 1,000 classes of colour images.

    As in the authors' code, the hidden layer's 1,024 units do not shrink with `width` below 1.
    """
    widen = architecture.widen
    stem, last, hidden = widen(16), widen(576), max(1024, widen(1024))
    return InvertedResidualNet(
        stem=conv_bn(architecture.channels, stem, 3, nn.Hardswish, stride=1 if architecture.small else 2),
        blocks=_v3_blocks(architecture, stem),
        head=conv_bn(widen(96), last, 1, nn.Hardswish),
        classifier=nn.Sequential(nn.Linear(last, hidden), nn.Hardswish(), nn.Dropout(DROPOUT), nn.Linear(hidden, architecture.classes)),
    )


def _v3_blocks(architecture: Architecture, inputs: int) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for row in V3_SMALL:
        expanded, outputs = architecture.widen(row.expanded), architecture.widen(row.channels)
        blocks.append(
            InvertedResidual(
                inputs,
                expanded,
                outputs,
                kernel=row.kernel,
                stride=row.stride,
                activation=row.activation,
                squeeze_excite=row.squeeze_excite,
            )
        )
        inputs = outputs
    return nn.Sequential(*blocks)
