"""EfficientNet-Lite0: the baseline of Tan and Le 2019, arXiv 1905.11946, made ready for integer arithmetic.

The Lite family (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite) takes EfficientNet-B0 without
squeeze-excite and with ReLU6 in place of SiLU, whose range quantizes badly; stem and last convolution keep their width. The SiLU variant
is here to show what that costs and gains.

The paper halves the resolution five times, from 224 pixels to 7. Up to 64 pixels the stem does not: 28 pixels end as 2x2, and one image
takes 28.6 million multiply-accumulates (385.2 million at 224).
"""

from torch import nn

from .architecture import Architecture
from .inverted_residual import Activation, InvertedResidualNet, Stage, build_stages, conv_bn

DROPOUT = 0.2
STEM = 32
HEAD = 1280

B0_STAGES = (
    Stage(expansion=1, channels=16, blocks=1, stride=1, kernel=3),
    Stage(expansion=6, channels=24, blocks=2, stride=2, kernel=3),
    Stage(expansion=6, channels=40, blocks=2, stride=2, kernel=5),
    Stage(expansion=6, channels=80, blocks=3, stride=2, kernel=3),
    Stage(expansion=6, channels=112, blocks=3, stride=1, kernel=5),
    Stage(expansion=6, channels=192, blocks=4, stride=2, kernel=5),
    Stage(expansion=6, channels=320, blocks=1, stride=1, kernel=3),
)


def efficientnet_lite0(architecture: Architecture) -> InvertedResidualNet:
    """Build EfficientNet-Lite0: 4,652,008 parameters for 1,000 classes of colour images."""
    return _lite(architecture, nn.ReLU6)


def efficientnet_lite0_silu(architecture: Architecture) -> InvertedResidualNet:
    """Build EfficientNet-Lite0 with the SiLU of EfficientNet-B0: the same parameters."""
    return _lite(architecture, nn.SiLU)


def _lite(architecture: Architecture, activation: Activation) -> InvertedResidualNet:
    return InvertedResidualNet(
        stem=conv_bn(architecture.channels, STEM, 3, activation, stride=1 if architecture.small else 2),
        blocks=build_stages(B0_STAGES, STEM, architecture.widen, activation),
        head=conv_bn(architecture.widen(320), HEAD, 1, activation),
        classifier=nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(HEAD, architecture.classes)),
    )
