"""Quantize ONNX files to 8 bits: ONNX in, ONNX out, no torch."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .budget import Budget as Budget
    from .correction import Corrections as Corrections
    from .engine import Limit as Limit
    from .engine import quantize as quantize
    from .fitting import calibrate as calibrate
    from .overrides import Layer as Layer
    from .placement import Rules as Rules
    from .report import LayerReport as LayerReport
    from .report import QuantizationReport as QuantizationReport
    from .report import Quantized as Quantized
    from .settings import Quantization as Quantization
    from .statistics import Statistics as Statistics
    from .statistics import merge as merge
    from .statistics_file import load_statistics as load_statistics
    from .statistics_file import save_statistics as save_statistics

_HOMES = {
    "Budget": "budget",
    "Corrections": "correction",
    "Layer": "overrides",
    "LayerReport": "report",
    "Limit": "engine",
    "Quantization": "settings",
    "QuantizationReport": "report",
    "Quantized": "report",
    "Rules": "placement",
    "Statistics": "statistics",
    "calibrate": "fitting",
    "load_statistics": "statistics_file",
    "merge": "statistics",
    "quantize": "engine",
    "save_statistics": "statistics_file",
}
__all__ = [
    "Budget",
    "Corrections",
    "Layer",
    "LayerReport",
    "Limit",
    "Quantization",
    "QuantizationReport",
    "Quantized",
    "Rules",
    "Statistics",
    "calibrate",
    "load_statistics",
    "merge",
    "quantize",
    "save_statistics",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
