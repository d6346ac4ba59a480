"""Multiply-accumulates of a torch model, layer by layer: convolutions and dense layers, counted in one forward pass."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd as Conv  # pyright: ignore[reportPrivateUsage]  # the only common class of all convolutions
from torch.nn.modules.conv import _ConvTransposeNd as ConvTranspose  # pyright: ignore[reportPrivateUsage]

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]


def count_macs(model: nn.Module, images: Tensor) -> dict[str, int]:
    """Return the multiply-accumulates of each convolution and dense layer for one image.

    Products of two activations, as in attention, and everything elementwise are not counted.

    Args:
        model: Any model; it runs once, in the mode it is in.
        images: Input of one image, shape (1, C, H, W).

    Returns:
        Module path to multiply-accumulates; a layer that runs twice counts twice.
    """
    counts: dict[str, int] = {}
    layers = {path: module for path, module in model.named_modules() if isinstance(module, Conv | nn.Linear)}
    hooks = [module.register_forward_hook(_counter(path, counts)) for path, module in layers.items()]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return counts


def _counter(path: str, counts: dict[str, int]) -> Hook:
    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts[path] = counts.get(path, 0) + _layer_macs(layer, inputs[0], output)

    return count


def _layer_macs(layer: nn.Module, features: Tensor, output: Tensor) -> int:
    """Each weight is used once at every position: of the output, or of the input where a convolution is transposed."""
    assert isinstance(layer, Conv | nn.Linear)  # only these have the hook
    if isinstance(layer, nn.Linear):
        return layer.weight.numel() * math.prod(output.shape[:-1])
    return layer.weight.numel() * math.prod((features if isinstance(layer, ConvTranspose) else output).shape[2:])
