"""Keep 16-bit sums of two products from saturating, on x86 processors without VNNI.

Their kernels multiply uint8 activations by int8 weights and add two neighbouring products in a saturating int16 (VPMADDUBSW). Two things
are known about a layer: a bound from its weights alone, and what calibration data do to it. A layer in danger gets a coarser scale, for
the channels in danger only: seven bits are always enough, and rarely needed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, numpy_helper

from ...graph.execution import Feeds, open_model
from ...runtime.errors import DataError
from .placement import PRODUCTS
from .reduction import columns, has_pairs, rows
from .scheme import Grid, IntegerWeight, Scheme, spread
from .simulation import on_grid, simulate
from .target import Target

Decision = Literal["kept", "narrowed", "float"]
T = TypeVar("T", bound=np.generic)

_LIMIT = np.iinfo(np.int16).max
# Two weights of one sign whose sum is at most this cannot leave 16 bits: 255 * 128 = 32,640.
SAFE_SUM = _LIMIT // 255
# A layer that comes this near to the limit on calibration data is taken to cross it on other data.
MARGIN = 0.9
# Positions of one batch whose float products are compared; they lie at equal distances.
_COMPARED = 1024
# Positions that are counted at a time: bounds the memory of the sums.
_BLOCK = 65_536


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known about the pair sums of one layer.

    Attributes:
        name: The node's name.
        pairs: Pair sums that the calibration data formed.
        saturating: Those that leave 16 bits.
        close: Those above `MARGIN` of the limit, saturating ones among them.
        is_bounded: Whether the weights alone exclude saturation for any data.
        decision: `kept` as it is, `narrowed` to a coarser scale, or `float`.
        sqnr_db: Signal to noise of the layer's output with narrowed weights, from these alone; infinite where nothing was narrowed.
    """

    name: str
    pairs: int
    saturating: int
    close: int
    is_bounded: bool
    decision: Decision
    sqnr_db: float


@dataclass(frozen=True, slots=True)
class Protected:
    """A scheme whose integer layers do not saturate, and what was found about each."""

    scheme: Scheme
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A product whose kernel forms pairs, with its weight as it is and narrowed."""

    node: NodeProto
    grid: Grid
    weight: npt.NDArray[np.float32]
    integers: IntegerWeight
    narrowed: IntegerWeight


@dataclass(slots=True)
class _Tally:
    """What calibration data did to a layer so far."""

    pairs: int = 0
    saturating: int = 0
    close: int = 0
    signal: float = 0
    noise: float = 0


def protect(model: ModelProto, scheme: Scheme, target: Target, calibration: Iterable[Feeds], *, min_sqnr_db: float = 25) -> Protected:
    """Return the scheme with narrower weights, or float nodes, where the target's kernels would saturate.

    For a target whose guard is `data`, a layer keeps its weights when no pair sum of the calibration data comes near the limit, even if
    other data could reach it. For one whose guard is `bound`, only the weights decide. A weight that several layers share is narrowed for all
    of them as soon as one needs it: the file stores it once.

    Run it last, on the very graph that is written: narrowed weights are rounded anew from the float ones, and a channel more or less makes
    other pairs.

    Args:
        model: Prepared float model.
        scheme: Nodes, grids and weights of the quantized model.
        target: What the file is made for.
        calibration: Batches of inputs, read once; not read where the target needs no guard.
        min_sqnr_db: A layer whose narrowed weights give its output less than this stays float: far below the 28 to 30 dB that 8-bit
            activations leave, they would be what spoils it.

    Raises:
        DataError: There are no calibration data.
    """
    if target.guard == "none":
        return Protected(scheme, ())
    layers = list(_layers(model, scheme))
    tallies = _tally(model, scheme, layers, calibration) if layers else []
    findings = _judge_all(layers, tallies, target, min_sqnr_db)
    narrowed = {layer.node.input[1]: layer.narrowed for layer, one in zip(layers, findings, strict=True) if one.decision == "narrowed"}
    gone = {one.name for one in findings if one.decision == "float"}
    return Protected(replace(scheme, nodes=scheme.nodes - gone, weights={**scheme.weights, **narrowed}), findings)


def is_bounded(node: NodeProto, weight: IntegerWeight) -> bool:
    """Return whether no input can make a pair sum of this layer leave 16 bits.

    Args:
        node: A Conv, Gemm or MatMul.
        weight: Its constant operand.
    """
    return not has_pairs(node, weight.values.shape) or bool((_largest_sums(rows(node, weight.values)) <= SAFE_SUM).all())


def narrow(node: NodeProto, weight: npt.NDArray[np.float32], axis: int | None, others: Iterable[NodeProto] = ()) -> IntegerWeight:
    """Return the weight rounded on the finest symmetric grid on which its layers cannot saturate.

    A scale grows only where its channel has two neighbours of one sign whose integers would exceed `SAFE_SUM`; at most it doubles.

    Args:
        node: The Conv, Gemm or MatMul, or an LSTM.
        weight: Its constant operand, float32; of an LSTM, W or R of one direction.
        axis: The output channels' axis, or None for one scale.
        others: Further layers that read it; they may lay it another way, and then other weights are neighbours.
    """
    nodes = (node, *others)

    def largest_sums(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        sums = [_largest_sums(rows(one, values)).reshape(-1) for one in nodes]
        return np.atleast_1d(np.max(np.concatenate(sums), initial=0)) if axis is None else np.max(sums, axis=0)

    largest = np.abs(rows(node, weight)).max(axis=2, initial=0).reshape(-1)
    largest = largest.max(initial=0)[None] if axis is None else largest
    sums, scale = largest_sums(weight), largest / 127
    # Rounding can add one to a sum of two, so the limit itself is tried first and left by one where that happens.
    for limit in (SAFE_SUM, SAFE_SUM - 1):
        over = largest_sums(_round(weight, scale, axis).values) > SAFE_SUM
        scale = np.where(over, np.maximum(largest / 127, sums / limit), scale)
    return _round(weight, scale, axis)


def count(lines: npt.NDArray[np.integer], weight: npt.NDArray[np.integer]) -> tuple[int, int, int]:
    """Return how many pair sums a layer forms, how many of them saturate, and how many come close to that.

    Args:
        lines: Inputs as uint8 numbers in the kernel's order, shape (groups, positions, K).
        weight: Weights in the kernel's order, shape (groups, outputs, K).
    """
    total = lines.shape[0] * lines.shape[1] * weight.shape[1] * ((lines.shape[2] + 1) // 2)
    saturating = close = 0
    for line, line_weight in zip(_pairs(lines), _pairs(weight.astype(np.int32)), strict=True):
        # The largest inputs of a pair bound its sums: most pairs are done with that.
        reach = _reach(line_weight, line.max(axis=0, initial=0))
        for pair in np.flatnonzero((reach > MARGIN * _LIMIT).any(axis=0)):
            outputs = reach[:, pair] > MARGIN * _LIMIT
            sums = line[:, pair].astype(np.int32) @ line_weight[outputs, pair].T
            saturating += int(np.count_nonzero((sums > _LIMIT) | (sums < -_LIMIT - 1)))
            close += int(np.count_nonzero(np.abs(sums) > MARGIN * _LIMIT))
    return total, saturating, close


def _pairs(values: npt.NDArray[T]) -> npt.NDArray[T]:
    """Split the last axis into neighbours, shape (..., K / 2, 2); an odd one out has a zero beside it, as in the packed weight."""
    padded = np.pad(values, [*[(0, 0)] * (values.ndim - 1), (0, values.shape[-1] % 2)])
    return padded.reshape(*values.shape[:-1], -1, 2)


def _reach(pairs: npt.NDArray[np.generic], most: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the largest absolute sum of each pair, shape (outputs, pairs), when inputs lie between 0 and `most`."""
    reals = pairs.astype(np.float64)
    return np.maximum((np.maximum(reals, 0) * most).sum(-1), (np.maximum(-reals, 0) * most).sum(-1))


def _largest_sums(weight: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Return, for each output, the largest sum of two neighbours of one sign: (groups, outputs)."""
    return _reach(_pairs(weight), 1).max(axis=2, initial=0)


def _round(weight: npt.NDArray[np.float32], scale: npt.NDArray[np.floating], axis: int | None) -> IntegerWeight:
    usable = np.where(scale > 0, scale, 1).astype(np.float32).reshape(() if axis is None else -1)
    values = np.clip(np.rint(weight / spread(usable, weight.ndim, axis)), -127, 127).astype(np.int8)
    return IntegerWeight(values, usable, axis)


def _layers(model: ModelProto, scheme: Scheme) -> Iterator[_Layer]:
    floats = {one.name: one for one in model.graph.initializer}
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        is_int8 = node.name in scheme.nodes and node.op_type in PRODUCTS and node.input[1] in scheme.weights
        if is_int8 and has_pairs(node, scheme.weights[node.input[1]].values.shape):
            readers.setdefault(node.input[1], []).append(node)
    for name, nodes in readers.items():
        integers, weight = scheme.weights[name], numpy_helper.to_array(floats[name])
        narrowed = narrow(nodes[0], weight, integers.axis, nodes[1:])
        yield from (_Layer(node, scheme.activations[node.input[0]], weight, integers, narrowed) for node in nodes)


def _tally(model: ModelProto, scheme: Scheme, layers: list[_Layer], calibration: Iterable[Feeds]) -> list[_Tally]:
    names = list(dict.fromkeys(layer.node.input[0] for layer in layers))
    session = open_model(simulate(model, scheme, [on_grid(name) for name in names]))
    tallies = [_Tally() for _ in layers]
    for feeds in calibration:
        found = session.run(feeds)
        for layer, tally in zip(layers, tallies, strict=True):
            _add_(tally, layer, np.asarray(found[on_grid(layer.node.input[0])], np.float32))
    if layers and not tallies[0].pairs:
        raise DataError("there are no calibration data", "0 batches", "saturation is counted on real inputs: give some images")
    return tallies


def _add_(tally: _Tally, layer: _Layer, values: npt.NDArray[np.float32]) -> None:
    """Add what one batch does to a layer."""
    # On x86 ONNX Runtime turns int8 activations into uint8 ones, moved by 128, wherever it can.
    shift = 128 if layer.grid.signed else 0
    integers = (layer.grid.quantize(values).astype(np.int16) + shift).astype(np.uint8)
    zero = layer.grid.zero_point + shift
    lines = columns(layer.node, layer.weight.shape, integers, zero)
    weight = rows(layer.node, layer.integers.values)
    for start in range(0, lines.shape[1], _BLOCK):
        pairs, saturating, close = count(lines[:, start : start + _BLOCK], weight)
        tally.pairs += pairs
        tally.saturating += saturating
        tally.close += close
    some = lines[:, :: -(-lines.shape[1] // _COMPARED)].astype(np.float32) - zero
    change = layer.narrowed.dequantize() - layer.weight
    tally.signal += float(np.square(some @ rows(layer.node, layer.weight).transpose(0, 2, 1)).sum())
    tally.noise += float(np.square(some @ rows(layer.node, change).transpose(0, 2, 1)).sum())


def _judge_all(layers: Sequence[_Layer], tallies: Sequence[_Tally], target: Target, min_sqnr_db: float) -> tuple[Finding, ...]:
    """Judge each layer alone, and then once more those whose weight another layer has narrowed."""
    pairs = list(zip(layers, tallies, strict=True))
    needs = [_needs_narrowing(layer, tally, target) for layer, tally in pairs]
    alone = [_judge(*pair, min_sqnr_db, narrows=need) for pair, need in zip(pairs, needs, strict=True)]
    shared = {layer.node.input[1] for layer, one in zip(layers, alone, strict=True) if one.decision == "narrowed"}
    return tuple(
        _judge(*pair, min_sqnr_db, narrows=need or pair[0].node.input[1] in shared) for pair, need in zip(pairs, needs, strict=True)
    )


def _needs_narrowing(layer: _Layer, tally: _Tally, target: Target) -> bool:
    return not is_bounded(layer.node, layer.integers) and (target.guard == "bound" or tally.close > 0)


def _judge(layer: _Layer, tally: _Tally, min_sqnr_db: float, *, narrows: bool) -> Finding:
    bounded = is_bounded(layer.node, layer.integers)
    finding = Finding(layer.node.name, tally.pairs, tally.saturating, tally.close, bounded, "kept", float("inf"))
    if not narrows:
        return finding
    sqnr_db = 10 * np.log10(tally.signal / tally.noise) if tally.signal and tally.noise else float("inf")
    return replace(finding, decision="narrowed" if sqnr_db >= min_sqnr_db else "float", sqnr_db=float(sqnr_db))
