"""From PyTorch to a file for a device; packing needs no torch."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .exporter import Exported as Exported
    from .exporter import to_onnx as to_onnx
    from .packing import PackedFile as PackedFile
    from .packing import Packing as Packing
    from .packing import pack as pack
    from .programs import Program as Program
    from .programs import load_program as load_program

_HOMES = {
    "Exported": "exporter",
    "PackedFile": "packing",
    "Packing": "packing",
    "Program": "programs",
    "load_program": "programs",
    "pack": "packing",
    "to_onnx": "exporter",
}

__all__ = ["Exported", "PackedFile", "Packing", "Program", "load_program", "pack", "to_onnx"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
