"""What quantization did, layer by layer, as plain records."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import onnx

from ...benchmarks.latency import Speedup
from .budget import Trial
from .costs import Costs
from .fitting import Fitted
from .indexing import Graph
from .overrides import layer_for
from .placement import FLOAT_RESULT, Unit
from .ranges import Range
from .saturation import Finding
from .scheme import Grid
from .settings import Quantization

Reason = Literal["", "slower", "no int8 kernel", "kept by the user", "accuracy budget", "saturates"]


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One node of the float model, with the activation that its kernel absorbs.

    Attributes:
        name: Its name.
        op_type: Its operator.
        precision: What it computes on.
        reason: Why it is not int8; empty where it is.
        low: Smallest value that its output's grid holds; None where the output has none.
        high: Largest value.
        error_db: Signal to noise at the model's output with this layer alone on integers, dB; None where it was not measured.
        float_us: Time in float, microseconds; None where it was not measured.
        int8_us: Time on integers.
    """

    name: str
    op_type: str
    precision: Literal["int8", "float"]
    reason: Reason = ""
    low: float | None = None
    high: float | None = None
    error_db: float | None = None
    float_us: float | None = None
    int8_us: float | None = None


@dataclass(frozen=True, slots=True)
class QuantizationReport:
    """What quantization did.

    Attributes:
        images: Calibration images used.
        target: What the file is made for.
        layers: Every node that computes, in the order of the graph.
        ranges: (low, high) of each tensor that has a grid of its own.
        method: Range method that most tensors follow.
        rewrites: Names of the clean-up's and the shaping's rewrites.
        undone: (name, reason) of rewrites that were taken back.
        saturation: What a guarded target's layers were found to do.
        tried: The files that an accuracy budget tested.
        speedup: Float time / this file's time on this machine, one thread, one image; None where it was not measured.
        sqnr_db: Signal to noise of the first output on calibration images, dB.
        notes: What the reader should know, in sentences.
        size_bytes_before: Size of the float model.
        size_bytes_after: Size of the written one.
    """

    images: int
    target: str
    layers: tuple[LayerReport, ...]
    ranges: Mapping[str, Range]
    method: str
    rewrites: tuple[str, ...]
    undone: tuple[tuple[str, str], ...]
    saturation: tuple[Finding, ...]
    tried: tuple[Trial, ...]
    speedup: Speedup | None
    sqnr_db: float | None
    notes: tuple[str, ...]
    size_bytes_before: int
    size_bytes_after: int

    @property
    def is_float(self) -> bool:
        """Whether nothing became int8."""
        return all(one.precision == "float" for one in self.layers)


@dataclass(frozen=True, slots=True)
class Quantized:
    """A quantized model and what was done to it."""

    model: onnx.ModelProto
    report: QuantizationReport


def describe_layers(
    fitted: Fitted,
    config: Quantization,
    parts: frozenset[str],
    costs: Costs | None,
    errors: Mapping[str, float],
    findings: tuple[Finding, ...],
    *,
    limited: bool,
) -> tuple[LayerReport, ...]:
    """Return a row for every node that computes on floats or could, in the order of the graph; an absorbed activation has none.

    Args:
        fitted: The model.
        config: What the user said.
        parts: Names of what is int8.
        costs: Times, where they were measured.
        errors: Noise / signal of each unit alone, where it was measured.
        findings: What a guarded target's layers were found to do.
        limited: An accuracy budget chose.
    """
    graph = Graph.of(fitted.model)
    units = {one.name: one for one in fitted.units}
    absorbed = {name for one in fitted.units for name in one.nodes[1:]}
    times = {one.name: (one.float_us, one.int8_us) for one in costs.choices} if costs else {}
    saturating = {one.name for one in findings if one.decision == "float"}
    read_by_int8 = {name for one in fitted.units if one.name in parts for name in one.inputs}
    rows: list[LayerReport] = []
    for node in graph.nodes:
        unit = units.get(node.name)
        if node.name in absorbed or (unit is not None and unit.is_passing) or node.output[0] not in graph.floats:
            continue
        is_int8 = node.name in parts - saturating
        reason = "" if is_int8 else _reason(node.name, config, node.name in units or node.name in fitted.lstms, saturating, limited)
        grid = _output_grid(unit, fitted, read_by_int8) if unit is not None and is_int8 else None
        float_us, int8_us = (_finite(one) for one in times.get(node.name, (None, None)))
        low, high = (grid.low, grid.high) if grid else (None, None)
        precision = "int8" if is_int8 else "float"
        rows.append(LayerReport(node.name, node.op_type, precision, reason, low, high, _decibels(errors.get(node.name)), float_us, int8_us))
    return tuple(rows)


def _output_grid(unit: Unit, fitted: Fitted, read_by_int8: set[str]) -> Grid | None:
    """Return the grid on which a unit's output lies in the file; None where its kernel gives float and nobody reads integers."""
    if unit.op_type in FLOAT_RESULT and len(unit.nodes) == 1 and unit.output not in read_by_int8:
        return None
    return fitted.scheme.activations.get(unit.output)


def _reason(name: str, config: Quantization, could: bool, saturating: set[str], limited: bool) -> Reason:
    if name in saturating:
        return "saturates"
    if config.rules.keeps(name) or layer_for(name, config.layers).precision == "float":
        return "kept by the user"
    if not could:
        return "no int8 kernel"
    return "accuracy budget" if limited else "slower"


def _decibels(ratio: float | None) -> float | None:
    return -10 * math.log10(ratio) if ratio else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
