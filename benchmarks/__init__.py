"""Measure models: latency, accuracy, and the records they are kept in; no torch."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .accuracy import Accuracy as Accuracy
    from .accuracy import Counter as Counter
    from .accuracy import score as score
    from .accuracy import wilson as wilson
    from .comparison import Candidate as Candidate
    from .comparison import compare as compare
    from .comparison import open_candidate as open_candidate
    from .latency import Comparison as Comparison
    from .latency import Latency as Latency
    from .latency import Speedup as Speedup
    from .latency import Timing as Timing
    from .latency import images_per_second as images_per_second
    from .latency import measure as measure
    from .latency import measure_interleaved as measure_interleaved
    from .records import Machine as Machine
    from .records import Record as Record
    from .records import has_int8_dot as has_int8_dot
    from .records import machine as machine
    from .records import versions as versions

_HOMES = {
    "Accuracy": "accuracy",
    "Candidate": "comparison",
    "Comparison": "latency",
    "Counter": "accuracy",
    "Latency": "latency",
    "Machine": "records",
    "Record": "records",
    "Speedup": "latency",
    "Timing": "latency",
    "compare": "comparison",
    "has_int8_dot": "records",
    "images_per_second": "latency",
    "machine": "records",
    "measure": "latency",
    "measure_interleaved": "latency",
    "open_candidate": "comparison",
    "score": "accuracy",
    "versions": "records",
    "wilson": "accuracy",
}

__all__ = [
    "Accuracy",
    "Candidate",
    "Comparison",
    "Counter",
    "Latency",
    "Machine",
    "Record",
    "Speedup",
    "Timing",
    "compare",
    "has_int8_dot",
    "images_per_second",
    "machine",
    "measure",
    "measure_interleaved",
    "open_candidate",
    "score",
    "versions",
    "wilson",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
