"""The light runtime: preprocessing, sessions and the `Recognizer`; needs numpy and onnxruntime only."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import ConfigError as ConfigError
    from .errors import DataError as DataError
    from .errors import EdgerecError as EdgerecError
    from .errors import GateError as GateError
    from .errors import ModelError as ModelError
    from .errors import OutputError as OutputError
    from .errors import ProviderError as ProviderError
    from .recognizer import Recognizer as Recognizer
    from .scores import Prediction as Prediction
    from .session import Session as Session
    from .session import open_session as open_session
    from .spec import InputSpec as InputSpec
    from .spec import ModelSpec as ModelSpec
    from .spec import Provenance as Provenance

_HOMES = {
    "ConfigError": "errors",
    "DataError": "errors",
    "EdgerecError": "errors",
    "GateError": "errors",
    "InputSpec": "spec",
    "ModelError": "errors",
    "ModelSpec": "spec",
    "OutputError": "errors",
    "Prediction": "scores",
    "Provenance": "spec",
    "ProviderError": "errors",
    "Recognizer": "recognizer",
    "Session": "session",
    "open_session": "session",
}

__all__ = [
    "ConfigError",
    "DataError",
    "EdgerecError",
    "GateError",
    "InputSpec",
    "ModelError",
    "ModelSpec",
    "OutputError",
    "Prediction",
    "Provenance",
    "ProviderError",
    "Recognizer",
    "Session",
    "open_session",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
