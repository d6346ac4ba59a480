"""From what tensors do to the grids on which they will lie."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto

from .gates import gated, useful_lows
from .histogram import Counts
from .indexing import Graph, hard_sigmoid_line
from .overrides import Layer, layer_for
from .placement import Unit, shared_grids, tensors_of
from .ranges import Method, Range, choose_range
from .scheme import Grid, gate_grid
from .statistics import TensorStatistics
from .target import Target

Floats64 = npt.NDArray[np.float64]
_LOWS = 24  # lower bounds that are tried in front of a SiLU


@dataclass(frozen=True, slots=True)
class RangeRule:
    """How ranges follow from statistics where nobody says otherwise.

    Attributes:
        method: Range method.
        percentile: For the method `percentile`, percent.
    """

    method: Method = "minmax"
    percentile: float = 99.999


def choose_ranges(
    model: ModelProto, units: Sequence[Unit], statistics: Mapping[str, TensorStatistics], rule: RangeRule, layers: Iterable[Layer] = ()
) -> dict[str, Range]:
    """Return the range of every tensor that has one of its own.

    A tensor that only a hard-swish or a SiLU reads is cut from below where the function hardly tells the values apart: hard-swish is 0 below
    -3, and for a SiLU the bound is the one with the smallest squared error behind the function. A sigmoid's range is known.

    Args:
        model: Prepared float model.
        units: What may become int8.
        statistics: Of the tensors that `tensors_to_observe` names.
        rule: The method.
        layers: The user's word on single layers.
    """
    graph, layers = Graph.of(model), tuple(layers)
    return {
        name: (0.0, 1.0) if _is_gate(graph, name) else _range_of(graph, name, statistics[name], rule, word_on(graph, name, units, layers))
        for name in roots_of(units)
    }


def tensors_to_observe(model: ModelProto, units: Iterable[Unit]) -> list[str]:
    """Return the tensors that the units read or write, without those whose range is known beforehand.

    A sigmoid that nobody looks at stays fused with the product behind it: calibrating a SiLU net takes two thirds of the time.
    """
    graph = Graph.of(model)
    return [name for name in tensors_of(units) if not _is_gate(graph, name)]


def word_on(graph: Graph, name: str, units: Iterable[Unit], layers: Iterable[Layer]) -> Layer:
    """Return what the user says about a tensor with a grid: about the nodes that write it, or about the input of this name."""
    unit = next((one for one in units if one.output == name), None)
    if unit is not None:
        return layer_for(unit.name, layers, unit.nodes)
    return layer_for(graph.producer[name].name if name in graph.producer else name, layers)


def grids_for(model: ModelProto, units: Sequence[Unit], ranges: Mapping[str, Range], target: Target) -> dict[str, Grid]:
    """Return the grid of every tensor that the units read or write.

    Args:
        model: Prepared float model.
        units: What may become int8.
        ranges: As `choose_ranges` returns them.
        target: Says which grids it takes.
    """
    graph, shared = Graph.of(model), shared_grids(units)
    return {name: _grid(graph, shared.get(name, name), ranges, target) for name in tensors_of(units)}


def roots_of(units: Iterable[Unit]) -> list[str]:
    """Return the tensors that have a grid of their own: all but those that are moved copies of another."""
    units = tuple(units)
    shared = shared_grids(units)
    return list(dict.fromkeys(shared.get(name, name) for name in tensors_of(units)))


def _is_gate(graph: Graph, name: str) -> bool:
    return name in graph.producer and graph.producer[name].op_type in ("HardSigmoid", "Sigmoid")


def _grid(graph: Graph, name: str, ranges: Mapping[str, Range], target: Target) -> Grid:
    producer = graph.producer.get(name)
    if producer is not None and producer.op_type == "HardSigmoid" and not target.symmetric:
        return gate_grid(signed=target.signed)
    return Grid.covering(*ranges[name], signed=target.signed, symmetric=target.symmetric)


def _range_of(graph: Graph, name: str, seen: TensorStatistics, rule: RangeRule, said: Layer) -> Range:
    low, high = choose_range(seen, said.method or rule.method, percentile=said.percentile or rule.percentile)
    opened = gated(graph).get(name)
    if opened is not None and opened.op_type == "Conv":
        return max(low, float(np.maximum(seen.channel_low, useful_lows(graph, opened)).min())), high
    gate = _gate_behind(graph, name)
    if gate is None or low >= 0:
        return low, high
    if gate.op_type == "HardSigmoid":
        slope, shift = hard_sigmoid_line(gate)
        return (max(low, -shift / slope), high) if slope > 0 else (low, high)
    return _best_low(seen.counts, seen.bin_width, (low, high), _silu), high


def _gate_behind(graph: Graph, name: str) -> NodeProto | None:
    """Return the Sigmoid or HardSigmoid of x * gate(x), where nothing else reads x."""
    readers = graph.consumers.get(name, ())
    gates = [node for node in readers if node.op_type in ("HardSigmoid", "Sigmoid")]
    products = [node for node in readers if node.op_type == "Mul"]
    if len(gates) == len(products) == 1 and len(readers) == 2 and {*products[0].input} == {name, gates[0].output[0]}:
        return gates[0]
    return None


def _silu(values: Floats64) -> Floats64:
    return values / (1 + np.exp(-np.clip(values, -80, 80)))


def _best_low(counts: Counts, bin_width: float, bounds: Range, function: Callable[[Floats64], Floats64]) -> float:
    """Return the lower bound whose grid has the smallest squared error behind a function, expected over a histogram."""
    low, high = bounds
    bins = np.nonzero(counts)[0]
    values = (bins - len(counts) // 2 + np.where(bins > len(counts) // 2, 0.5, -0.5)) * bin_width  # middles of the bins
    exact, weights = function(values.astype(np.float64)), counts[bins].astype(np.float64)

    def error(start: float) -> float:
        grid = Grid.covering(start, high)
        steps = np.clip(np.rint(values / grid.scale) + grid.zero_point, 0, 255) - grid.zero_point
        seen: Floats64 = (steps * grid.scale).astype(np.float64)
        return float(weights @ np.square(function(seen) - exact))

    return min((float(one) for one in np.linspace(low, min(-0.3, low / 8), _LOWS)), key=error)
