"""Measure models: latency, accuracy, and the records they are kept in; no torch."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .accuracy import Accuracy as Accuracy
    from .accuracy import Counter as Counter
    from .accuracy import score as score
    from .accuracy import wilson as wilson
    from .audit import Audit as Audit
    from .audit import audit as audit
    from .bench import Beside as Beside
    from .bench import Images as Images
    from .bench import Row as Row
    from .bench import bench_files as bench_files
    from .bench import open_row as open_row
    from .candidates import Candidate as Candidate
    from .candidates import as_candidate as as_candidate
    from .candidates import open_candidate as open_candidate
    from .configurations import Configuration as Configuration
    from .configurations import matrix as matrix
    from .corruptions import Corruptions as Corruptions
    from .difference import Difference as Difference
    from .difference import compare_tensors as compare_tensors
    from .document import Document as Document
    from .document import Failed as Failed
    from .document import read_document as read_document
    from .duty_cycle import DutyCycle as DutyCycle
    from .duty_cycle import measure_duty_cycle as measure_duty_cycle
    from .findings import Finding as Finding
    from .gate import judge as judge
    from .gate_rules import Rule as Rule
    from .gate_rules import parse_rule as parse_rule
    from .history import History as History
    from .history import read_history as read_history
    from .history import series_of as series_of
    from .kernel_times import KernelTimes as KernelTimes
    from .kernel_times import time_kernels as time_kernels
    from .latency import Comparison as Comparison
    from .latency import Latency as Latency
    from .latency import Speedup as Speedup
    from .latency import Timing as Timing
    from .latency import images_per_second as images_per_second
    from .latency import measure as measure
    from .latency import measure_interleaved as measure_interleaved
    from .measuring import Extras as Extras
    from .measuring import Measured as Measured
    from .measuring import Measurements as Measurements
    from .measuring import measure_files as measure_files
    from .profiling import profile_nodes as profile_nodes
    from .records import Machine as Machine
    from .records import Record as Record
    from .records import has_int8_dot as has_int8_dot
    from .records import machine as machine
    from .records import versions as versions
    from .rounds import Schedule as Schedule
    from .scenarios import Rules as Rules
    from .scoring import Scored as Scored
    from .scoring import count_answers as count_answers
    from .scoring import score_files as score_files
    from .sequential import Verdict as Verdict
    from .sequential import decide as decide

_HOMES = {
    "Accuracy": "accuracy",
    "Audit": "audit",
    "Beside": "bench",
    "Candidate": "candidates",
    "Comparison": "latency",
    "Corruptions": "corruptions",
    "Counter": "accuracy",
    "Difference": "difference",
    "Finding": "findings",
    "Images": "bench",
    "KernelTimes": "kernel_times",
    "Latency": "latency",
    "Machine": "records",
    "Record": "records",
    "Row": "bench",
    "Scored": "scoring",
    "Speedup": "latency",
    "Timing": "latency",
    "Verdict": "sequential",
    "audit": "audit",
    "bench_files": "bench",
    "open_row": "bench",
    "compare_tensors": "difference",
    "count_answers": "scoring",
    "decide": "sequential",
    "has_int8_dot": "records",
    "images_per_second": "latency",
    "machine": "records",
    "measure": "latency",
    "measure_interleaved": "latency",
    "open_candidate": "candidates",
    "as_candidate": "candidates",
    "DutyCycle": "duty_cycle",
    "measure_duty_cycle": "duty_cycle",
    "profile_nodes": "profiling",
    "score": "accuracy",
    "score_files": "scoring",
    "time_kernels": "kernel_times",
    "versions": "records",
    "wilson": "accuracy",
    "Configuration": "configurations",
    "Extras": "measuring",
    "Measured": "measuring",
    "Measurements": "measuring",
    "Rules": "scenarios",
    "Schedule": "rounds",
    "matrix": "configurations",
    "measure_files": "measuring",
    "Document": "document",
    "Failed": "document",
    "History": "history",
    "Rule": "gate_rules",
    "judge": "gate",
    "parse_rule": "gate_rules",
    "read_document": "document",
    "read_history": "history",
    "series_of": "history",
}

__all__ = [
    "Accuracy",
    "Audit",
    "Beside",
    "Candidate",
    "Comparison",
    "Configuration",
    "Corruptions",
    "Counter",
    "Difference",
    "Document",
    "DutyCycle",
    "Extras",
    "Failed",
    "Finding",
    "History",
    "Images",
    "KernelTimes",
    "Latency",
    "Machine",
    "Measured",
    "Measurements",
    "Record",
    "Row",
    "Rule",
    "Rules",
    "Schedule",
    "Scored",
    "Speedup",
    "Timing",
    "Verdict",
    "as_candidate",
    "audit",
    "bench_files",
    "compare_tensors",
    "count_answers",
    "decide",
    "has_int8_dot",
    "images_per_second",
    "judge",
    "machine",
    "matrix",
    "measure",
    "measure_duty_cycle",
    "measure_files",
    "measure_interleaved",
    "open_candidate",
    "open_row",
    "parse_rule",
    "profile_nodes",
    "read_document",
    "read_history",
    "score",
    "score_files",
    "series_of",
    "time_kernels",
    "versions",
    "wilson",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
