"""ONNX files as such: load, save, shapes and multiply-accumulates, clean-up, parity; no torch."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cleanup import clean as clean
    from .file import files_of as files_of
    from .file import load_onnx as load_onnx
    from .file import read_spec as read_spec
    from .file import save_onnx as save_onnx
    from .file import with_spec as with_spec
    from .parity import Parity as Parity
    from .parity import Tolerance as Tolerance
    from .parity import check as check
    from .parity import compare as compare
    from .shapes import count_macs as count_macs
    from .shapes import infer_shapes as infer_shapes

_HOMES = {
    "Parity": "parity",
    "Tolerance": "parity",
    "check": "parity",
    "clean": "cleanup",
    "compare": "parity",
    "count_macs": "shapes",
    "files_of": "file",
    "infer_shapes": "shapes",
    "load_onnx": "file",
    "read_spec": "file",
    "save_onnx": "file",
    "with_spec": "file",
}

__all__ = [
    "Parity",
    "Tolerance",
    "check",
    "clean",
    "compare",
    "count_macs",
    "files_of",
    "infer_shapes",
    "load_onnx",
    "read_spec",
    "save_onnx",
    "with_spec",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
