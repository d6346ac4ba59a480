"""Choose ranges by the error that they bring to the model's output.

A tensor's own squared error misleads: what looks best for each tensor alone gave a ResNet-20 worse logits than the full ranges. So every
choice here is made by running the whole int8 model: first one method for all tensors, then single tensors that another range may serve better.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from ...benchmarks.noise import Noise, measure_noise
from ...graph.execution import open_model
from .calibration import Feeds
from .grids import RangeRule, choose_ranges, word_on
from .indexing import Graph
from .overrides import Layer
from .placement import Unit
from .ranges import Range
from .statistics import TensorStatistics

# The first serves most models, also on images that nobody looked at; another must be clearly better than it on the probe images.
RULES = (RangeRule("percentile", 99.999), RangeRule("minmax"), RangeRule("percentile", 99.99), RangeRule("mse"))
_TRIALS = 12  # single tensors' ranges that are tried; each runs the model on the probe images
# Of the noise; less is luck: the noise on one half of 256 images says that much about the other half.
_LEAST_GAIN_OF_RULE = 0.07
_LEAST_GAIN_OF_TENSOR = 0.03

Judge = Callable[[Mapping[str, Range]], float]
Array = npt.NDArray[np.generic]
Outputs = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Ranges, and how they were found.

    Attributes:
        ranges: (low, high) of each tensor with a grid of its own.
        rule: The method that most of them follow.
        noise: Noise / signal at the outputs of the int8 model, on the probe images.
    """

    ranges: dict[str, Range]
    rule: RangeRule
    noise: float


def choose_rule(
    model: ModelProto,
    units: Sequence[Unit],
    statistics: Mapping[str, TensorStatistics],
    judge: Judge,
    layers: Iterable[Layer] = (),
    rules: Iterable[RangeRule] = RULES,
) -> Chosen:
    """Return the ranges of the one method that brings the least noise to the outputs, of the first where none is clearly better.

    Args:
        model: Prepared float model.
        units: What may become int8.
        statistics: Of every tensor that these read or write.
        judge: From ranges to noise / signal at the outputs.
        layers: The user's word on single layers.
        rules: Methods to try.
    """
    layers = tuple(layers)
    found: list[Chosen] = []
    for rule in rules:
        ranges = choose_ranges(model, units, statistics, rule, layers)
        if all(ranges != one.ranges for one in found):
            found.append(Chosen(ranges, rule, judge(ranges)))
    best = min(found, key=lambda one: one.noise)
    return best if best.noise < found[0].noise * (1 - _LEAST_GAIN_OF_RULE) else found[0]


def refine(
    model: ModelProto,
    units: Sequence[Unit],
    statistics: Mapping[str, TensorStatistics],
    judge: Judge,
    start: Chosen,
    layers: Iterable[Layer] = (),
) -> Chosen:
    """Return the ranges with those of single tensors replaced where the outputs are better for it.

    Tried are the tensors whose range depends most on the method, each with the other methods' ranges, in this order.

    Args:
        model: Prepared float model.
        units: What may become int8.
        statistics: Of every tensor that these read or write.
        judge: From ranges to noise / signal at the outputs.
        start: What `choose_rule` found.
        layers: The user's word on single layers; where that names a method, nothing is tried.
    """
    layers = tuple(layers)
    graph = Graph.of(model)
    free = [name for name in start.ranges if word_on(graph, name, units, layers).method is None]
    others = [choose_ranges(model, units, statistics, rule, layers) for rule in RULES if rule != start.rule]
    trials = [(name, one[name]) for one in others for name in free if one[name] != start.ranges[name]]
    trials.sort(key=lambda trial: -abs(np.log(_width(trial[1]) / _width(start.ranges[trial[0]]))))
    best = start
    for name, bounds in trials[:_TRIALS]:
        ranges = {**best.ranges, name: bounds}
        noise = judge(ranges)
        if noise < best.noise * (1 - _LEAST_GAIN_OF_TENSOR):
            best = Chosen(ranges, start.rule, noise)
    return best


def output_noise(exact: ModelProto, images: Sequence[Feeds]) -> Callable[[ModelProto], float]:
    """Return a function that tells the noise / signal of another model's outputs, averaged over the outputs; see `noise_ratio`.

    Args:
        exact: The float model; it runs now.
        images: Batches of inputs.
    """
    expected = answers_of(exact, images)
    return lambda candidate: noise_ratio(expected, answers_of(candidate, images))


def answers_of(model: ModelProto, images: Sequence[Feeds], threads: int | None = None) -> list[Outputs]:
    """Return the outputs of each run by name: those of floats, or all where there is none; sequences and texts are left out.

    Args:
        model: Any model.
        images: Batches of inputs.
        threads: Threads of the session; by default the cores this process may use.
    """
    session = open_model(model, threads=threads)
    runs = [{name: array for name, array in session.run(feeds).items() if _is_numeric(array)} for feeds in images]
    return [{name: array for name, array in one.items() if np.issubdtype(array.dtype, np.floating)} or one for one in runs]


def noise_ratio(expected: Sequence[Outputs], found: Sequence[Outputs]) -> float:
    """Return noise / signal of each output over all runs, averaged over the outputs: a small one counts as much as a large one.

    Of integers, such as class numbers, that is the share of those that differ. An array of another size, as detectors give, is all noise.
    Infinite where a number is not finite.
    """
    totals = [sum((_noise(one[name], other[name]) for one, other in zip(expected, found, strict=True)), Noise()) for name in expected[0]]
    ratios = [one.noise / one.signal if one.signal > 0 else float(one.noise > 0) for one in totals]
    return float(np.mean(ratios or [0.0])) if np.isfinite(ratios).all() else float("inf")


def _is_numeric(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "biuf"


def _noise(expected: Array, found: Array) -> Noise:
    if expected.shape != found.shape:
        return Noise(1.0, 1.0)
    if np.issubdtype(expected.dtype, np.floating):
        return measure_noise(expected, found)
    return Noise(float(expected.size), float(np.count_nonzero(expected != found)))


def _width(bounds: Range) -> float:
    return max(max(bounds[1], 0.0) - min(bounds[0], 0.0), 1e-30)
