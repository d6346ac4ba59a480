"""Shape a model for ONNX Runtime's int8 kernels: spell it so that they are fast, with the same integers as before.

Every rewrite is applied only where a table of kernel times says that it wins.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from onnx import ModelProto

from ...benchmarks.kernel import Kernel
from ...benchmarks.kernel_times import KernelTimes, time_kernels
from .conv_forms import conv_edits
from .rewriting import Edit, Scene, applied
from .scheme import Scheme
from .shortcuts import shortcut_edits
from .tails import tail_edits
from .widening import widening_edits

TimesOf = Callable[[Iterable[Kernel]], KernelTimes]
EditsOf = Callable[[Scene], Iterator[list[Edit]]]

_LEAST_GAIN_US = 0.2  # what repeated measurements of one kernel differ by
_LEAST_GAIN = 0.03

# In this order: what a shortcut becomes and what gets more channels are convolutions that the last one may spell anew.
_PASSES: tuple[EditsOf, ...] = (shortcut_edits, widening_edits, conv_edits, tail_edits)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A rewrite that was applied.

    Attributes:
        what: What was done.
        nodes: Names of the nodes that it changed or replaced.
        before_us: Time of their kernels before, microseconds.
        after_us: Time of what runs instead.
    """

    what: str
    nodes: tuple[str, ...]
    before_us: float
    after_us: float


@dataclass(frozen=True, slots=True)
class Shaped:
    """A shaped model, its scheme, and what was done to both."""

    model: ModelProto
    scheme: Scheme
    rewrites: tuple[Rewrite, ...]

    @property
    def savings_us(self) -> dict[str, float]:
        """Return what each node of the unshaped model saves, microseconds; a rewrite's gain counts in equal parts for its nodes."""
        savings: dict[str, float] = {}
        for one in self.rewrites:
            for name in one.nodes:
                savings[name] = savings.get(name, 0.0) + (one.before_us - one.after_us) / len(one.nodes)
        return savings


def shape_kernels(model: ModelProto, scheme: Scheme, times_of: TimesOf = time_kernels) -> Shaped:
    """Return a model and a scheme that `write_qdq` turns into a faster file with bit-equal outputs.

    Args:
        model: Prepared float model; it is not changed.
        scheme: What becomes int8, and on which grids.
        times_of: Gives the times of kernels: measures them on this machine, or looks them up in another device's table. A rewrite whose kernels
            the table does not hold is left out.

    Raises:
        ModelError: Shape inference refuses the graph.
    """
    return apply_winners(Scene.of(model, scheme), _PASSES, times_of)


def apply_winners(scene: Scene, passes: Iterable[EditsOf], times_of: TimesOf) -> Shaped:
    """Apply the edits of every pass that a table of kernel times says win, pass by pass until none is left."""
    rewrites: list[Rewrite] = []
    for edits_of in passes:
        while True:
            found, is_done = _round(scene, edits_of, times_of)
            for edit, rewrite in found:
                scene = applied(scene, edit)
                rewrites.append(rewrite)
            if is_done:
                break
    return Shaped(scene.model, scene.scheme, tuple(rewrites))


def _round(scene: Scene, edits_of: EditsOf, times_of: TimesOf) -> tuple[list[tuple[Edit, Rewrite]], bool]:
    """Return the edits that win, and whether these are all: of two that touch one node the second must look at what the first has left."""
    places = [[edit for edit in edits if scene.is_free(edit)] for edits in edits_of(scene)]
    times = times_of(kernel for edits in places for edit in edits for kernel in (*edit.before, *edit.after) if kernel is not None)
    winners = [best for edits in places if (best := _best(edits, times)) is not None]
    chosen: list[tuple[Edit, Rewrite]] = []
    touched: set[str] = set()
    for edit, rewrite in winners:
        if touched.isdisjoint(edit.nodes):
            chosen.append((edit, rewrite))
            touched.update(edit.nodes)
    return chosen, len(chosen) == len(winners)


def _best(edits: list[Edit], times: KernelTimes) -> tuple[Edit, Rewrite] | None:
    """Return the edit of one place that gains most, None where none gains more than measurements differ by."""
    gains: list[tuple[float, Edit, Rewrite]] = []
    for edit in edits:
        before_us, after_us = times.of(edit.before), times.of(edit.after)
        if before_us is not None and after_us is not None and before_us - after_us > max(_LEAST_GAIN_US, _LEAST_GAIN * before_us):
            gains.append((before_us - after_us, edit, Rewrite(edit.what, tuple(edit.nodes), before_us, after_us)))
    return max(gains, key=lambda one: one[0])[1:] if gains else None
