"""Data sets: named, folder, npz or the user's own; seeded splits; downloads. No torch."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .arrays import from_arrays as from_arrays
    from .sources import open_data as open_data
    from .splits import Batch as Batch
    from .splits import DataSet as DataSet
    from .splits import Split as Split

_HOMES = {
    "Batch": "splits",
    "DataSet": "splits",
    "Split": "splits",
    "from_arrays": "arrays",
    "open_data": "sources",
}

__all__ = ["Batch", "DataSet", "Split", "from_arrays", "open_data"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
