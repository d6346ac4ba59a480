"""ONNX files as such: load, save, shapes and multiply-accumulates, clean-up, parity; no torch."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cleanup import Normalised as Normalised
    from .cleanup import normalise as normalise
    from .execution import open_model as open_model
    from .exported import clean as clean
    from .file import files_of as files_of
    from .file import load_onnx as load_onnx
    from .file import read_spec as read_spec
    from .file import save_onnx as save_onnx
    from .file import with_spec as with_spec
    from .parity import Parity as Parity
    from .parity import Tolerance as Tolerance
    from .parity import check as check
    from .parity import compare as compare
    from .precision import HalfPrecision as HalfPrecision
    from .precision import half_precision as half_precision
    from .precision import to_fp16 as to_fp16
    from .shapes import count_macs as count_macs
    from .shapes import infer_shapes as infer_shapes

_HOMES = {
    "HalfPrecision": "precision",
    "Normalised": "cleanup",
    "Parity": "parity",
    "Tolerance": "parity",
    "check": "parity",
    "clean": "exported",
    "compare": "parity",
    "count_macs": "shapes",
    "files_of": "file",
    "half_precision": "precision",
    "infer_shapes": "shapes",
    "load_onnx": "file",
    "normalise": "cleanup",
    "open_model": "execution",
    "read_spec": "file",
    "save_onnx": "file",
    "to_fp16": "precision",
    "with_spec": "file",
}

__all__ = [
    "HalfPrecision",
    "Normalised",
    "Parity",
    "Tolerance",
    "check",
    "clean",
    "compare",
    "count_macs",
    "files_of",
    "half_precision",
    "infer_shapes",
    "load_onnx",
    "normalise",
    "open_model",
    "read_spec",
    "save_onnx",
    "to_fp16",
    "with_spec",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
