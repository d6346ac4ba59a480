"""Shape a float model for ONNX Runtime's float kernels: the same function, in fewer microseconds.

Float convolutions keep their channels in blocks of 8 or 16. What has no blocked kernel (Slice, Pad) or no whole block is reordered on the way in
and out, which is what these rewrites save.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto

from ...benchmarks.kernel import Kernel
from ...benchmarks.kernel_times import time_kernels
from ...benchmarks.latency import Speedup
from ...graph.cleanup import normalise
from ...graph.reference import Reference
from .feeds import Feeds
from .indexing import Graph
from .kernels import EditsOf, Rewrite, Shaped, TimesOf, apply_winners
from .merging import float_merging_edits
from .placement import find_units
from .rewriting import Edit, Scene
from .scheme import Grid, IntegerWeight, Scheme
from .shortcuts import shortcut_edits
from .speed import time_files
from .widening import thin_edits

_ANY_GRID = Grid(1.0, 0)  # the edits ask for grids; in float all tensors lie on one


@dataclass(frozen=True, slots=True)
class FloatFile:
    """A float model in plain form, shaped where that is faster.

    Attributes:
        model: The model.
        rewrites: How it was shaped, none where it is only prepared.
        speedup: The shaped file against the prepared one on this machine; None where the clock was not asked.
        notes: What the reader should know, in sentences.
    """

    model: ModelProto
    rewrites: tuple[Rewrite, ...] = ()
    speedup: Speedup | None = None
    notes: tuple[str, ...] = ()


def fastest_float(model: ModelProto, times_of: TimesOf | None = None) -> FloatFile:
    """Clean up a float model and shape it, if the outputs stay within the clean-up's tolerance and the clock finds it faster.

    Args:
        model: Any float model; it is not changed.
        times_of: Kernel times of another machine; then these alone decide, because the clock here says nothing about it.

    Raises:
        ModelError: The model is quantized, cannot be run, or gives NaN.
        ProviderError: onnxruntime is not installed.
    """
    prepared = normalise(model).model
    reference: Reference | None = None
    shaped: dict[str, Shaped] = {}
    notes: list[str] = []
    for name, one in _candidates(prepared, times_of or time_kernels).items():
        reference = reference or Reference.of(prepared)
        if fault := reference.fault(one.model):
            notes.append(f"not {name} for this machine's kernels: {fault}")
        else:
            shaped[name] = one
    if reference is None or not shaped:
        return FloatFile(prepared, notes=tuple(notes))
    if times_of is not None:
        best = list(shaped.values())[-1]
        return FloatFile(best.model, best.rewrites, notes=tuple(notes))
    files = {"prepared": prepared} | {name: one.model for name, one in shaped.items()}
    speedups = time_files(files, [_one_image(prepared, reference.feeds)]).speedup
    winner = max(shaped, key=lambda name: speedups[name].low)
    speedup = speedups[winner]
    if speedup.low <= 1:
        notes.append(
            f"shaped for its kernels it is not faster here ({speedup.ratio:.2f}x, {speedup.low:.2f} to {speedup.high:.2f}): only prepared"
        )
        return FloatFile(prepared, speedup=speedup, notes=tuple(notes))
    return FloatFile(shaped[winner].model, shaped[winner].rewrites, speedup, tuple(notes))


def shape_float(model: ModelProto, times_of: TimesOf = time_kernels) -> Shaped:
    """Return the model in spellings that float kernels are faster on; its finite outputs change by rounding at most.

    A product with 1 and a sum with 0 are exact. What may differ is the order of a sum: ONNX Runtime adds a residual inside whichever
    convolution comes last, and a shortcut that becomes a convolution may be that one.

    Args:
        model: Prepared float model; it is not changed.
        times_of: Gives the times of kernels; a rewrite whose kernels the table does not hold is left out.

    Raises:
        ModelError: Shape inference refuses the graph.
    """
    return apply_winners(Scene.of(model, _everything(model)), _PASSES, times_of)


def _candidates(prepared: ModelProto, times_of: TimesOf) -> dict[str, Shaped]:
    """Return the model shaped, and shaped with parallel layers as one, where that changes it."""
    found = {"shaped": shape_float(prepared, times_of)}
    merged = apply_winners(Scene.of(prepared, _everything(prepared)), [float_merging_edits], times_of)
    if merged.rewrites:
        both = shape_float(merged.model, times_of)
        found["merged"] = replace(both, rewrites=(*merged.rewrites, *both.rewrites))
    return {name: one for name, one in found.items() if one.rewrites}


def _everything(model: ModelProto) -> Scheme:
    """Return a scheme in which every layer takes part: the edits are those of int8, and look at names and shapes only."""
    graph = Graph.of(model)
    units = find_units(model)
    activations = dict.fromkeys((name for name in graph.floats if name not in graph.constants), _ANY_GRID)
    convs = [one.weight for one in units if one.op_type == "Conv" and one.weight]
    dims = {name: tuple(graph.constants[name].dims) for name in convs}
    weights = {name: IntegerWeight(np.zeros(shape, np.int8), np.ones(shape[0], np.float32)) for name, shape in dims.items()}
    return Scheme(frozenset(name for one in units for name in one.nodes), activations, weights)


def _in_float(edits_of: EditsOf) -> EditsOf:
    def edits(scene: Scene) -> Iterator[list[Edit]]:
        for place in edits_of(scene):
            yield [replace(one, before=_float_kernels(one.before), after=_float_kernels(one.after)) for one in place]

    return edits


def _float_kernels(kernels: Iterable[Kernel | None]) -> tuple[Kernel | None, ...]:
    """Return the same work in float, without the step to integers at the model's beginning."""
    return tuple(
        None if one is None else Kernel(tuple(operator for operator in one.operators if operator.op_type != "QuantizeLinear"), "fp32")
        for one in kernels
    )


_PASSES: tuple[EditsOf, ...] = (_in_float(shortcut_edits), _in_float(thin_edits))


def _one_image(model: ModelProto, feeds: Feeds) -> Feeds:
    """Return the feeds of one image where every input leaves the number of images open."""
    weights = {one.name for one in model.graph.initializer}
    dims = [one.type.tensor_type.shape.dim for one in model.graph.input if one.name not in weights]
    is_open = all(one and not one[0].dim_value for one in dims)
    return {name: array[:1] for name, array in feeds.items()} if is_open else feeds
