"""Make a model small: pruning, distillation, quantization. Loading this package loads no torch."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .distillation import Distillation as Distillation
    from .distillation import Distilled as Distilled
    from .distillation import distill as distill
    from .pruning import ChannelPruning as ChannelPruning
    from .pruning import Pruned as Pruned
    from .pruning import prune as prune
    from .quantization import Quantization as Quantization
    from .quantization import Quantized as Quantized
    from .quantization import quantize as quantize

_HOMES = {
    "ChannelPruning": "pruning",
    "Distillation": "distillation",
    "Distilled": "distillation",
    "Pruned": "pruning",
    "Quantization": "quantization",
    "Quantized": "quantization",
    "distill": "distillation",
    "prune": "pruning",
    "quantize": "quantization",
}

__all__ = [
    "ChannelPruning",
    "Distillation",
    "Distilled",
    "Pruned",
    "Quantization",
    "Quantized",
    "distill",
    "prune",
    "quantize",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
