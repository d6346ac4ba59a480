"""The models by name, and the user's own by `package.module:function`."""

from collections.abc import Callable

from torch import nn

from ...runtime.errors import ConfigError
from .architecture import Architecture
from .attention import attention
from .cnn import ConvNet
from .efficientnet import efficientnet_lite0, efficientnet_lite0_silu
from .mobilenet import mobilenet_v2, mobilenet_v3_small
from .resnet import STAGES, resnet8, resnet20, resnet32, resnet56
from .rnn import rnn, rnn_gru
from .vit import vit_tiny

MODELS: dict[str, Callable[[Architecture], nn.Module]] = {
    "cnn": ConvNet,
    "rnn": rnn,
    "rnn_gru": rnn_gru,
    "attention": attention,
    "vit_tiny": vit_tiny,
    "resnet8": resnet8,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet56": resnet56,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_small": mobilenet_v3_small,
    "efficientnet_lite0": efficientnet_lite0,
    "efficientnet_lite0_silu": efficientnet_lite0_silu,
}


def create(architecture: Architecture) -> nn.Module:
    """Build the model that `architecture` describes, with fresh weights from torch's random generator.

    Returns:
        A module from images (N, channels, size, size), float32, to logits (N, classes).

    Raises:
        ConfigError: No model has this name, or the model refuses the size or the blocks.
    """
    if architecture.name not in MODELS:
        choices = f"choose one of {', '.join(MODELS)}, or give your own as package.module:function"
        raise ConfigError("no model has this name", repr(architecture.name), choices)
    _check_blocks(architecture)
    return MODELS[architecture.name](architecture)


def _check_blocks(architecture: Architecture) -> None:
    if not architecture.blocks:
        return
    if not architecture.name.startswith("resnet"):
        raise ConfigError("only the ResNets have blocks that can be counted", architecture.name, "leave the blocks out")
    if len(architecture.blocks) != STAGES:
        raise ConfigError(f"a ResNet has {STAGES} stages", f"blocks {architecture.blocks}", "give three numbers, such as 2,3,5")
