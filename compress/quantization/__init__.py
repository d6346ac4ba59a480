"""Quantize ONNX files to 8 bits: ONNX in, ONNX out, no torch."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .static import Quantization as Quantization
    from .static import QuantizationReport as QuantizationReport
    from .static import Quantized as Quantized
    from .static import quantize as quantize

_HOMES = {"Quantization": "static", "QuantizationReport": "static", "Quantized": "static", "quantize": "static"}
__all__ = ["Quantization", "QuantizationReport", "Quantized", "quantize"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
