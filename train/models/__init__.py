"""Image classifiers by name: `create(Architecture("resnet20", classes=10))`."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .architecture import Architecture as Architecture
    from .factory import load_factory as load_factory
    from .registry import MODELS as MODELS
    from .registry import create as create

_HOMES = {"MODELS": "registry", "Architecture": "architecture", "create": "registry", "load_factory": "factory"}

__all__ = ["MODELS", "Architecture", "create", "load_factory"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
