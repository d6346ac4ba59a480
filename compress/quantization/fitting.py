"""Everything about a quantized model that does not depend on which of its nodes become int8: plain graph, equal channels, grids."""

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from onnx import ModelProto, TensorProto, TypeProto, numpy_helper

from ...graph.cleanup import Normalised, normalise
from ...graph.file import read_spec
from ...graph.sequences import sequence_makers
from ...runtime.errors import DataError, ModelError
from .calibration import key_of, observe, scale_warning
from .equalisation import equalise
from .feeds import Feeds, check_feeds, images_in, images_of, runs_of
from .gates import equalise_through_gates
from .grids import RangeRule, choose_ranges, grids_for, tensors_to_observe
from .indexing import Graph
from .overrides import Layer, layer_for
from .placement import PRODUCTS, Rules, Unit, check_patterns, find_units, needed
from .qdq import write_qdq
from .ranges import Range
from .recurrent import find_lstms
from .scheme import IntegerWeight, Scheme, round_weight
from .search import RULES, Chosen, choose_rule, output_noise, refine
from .settings import Quantization
from .statistics import Key, Statistics
from .target import Target, find_target

PROBE_IMAGES = 256
PROBE_BYTES = 24 * 2**20  # 40 images of 3 x 224 x 224; mending keeps some of their activations in memory
_JUDGING_IMAGES = 128
_LEAST_GAIN_OF_GATES = 0.07  # of the noise, as it costs time; less is luck
_STRENGTH = 0.5  # of equalising: at 1 the weights of depthwise nets pay more than the activations gain (docs/log.md)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model on which everything is decided but which of its units are int8.

    Attributes:
        normalised: The model in plain form.
        model: The same, with equal channels where that helped.
        units: What may become int8.
        lstms: Names of LSTM nodes that may get int8 weights.
        scheme: Grids of every tensor and rounded weights, for all units together.
        ranges: (low, high) of each tensor with a grid of its own.
        rule: The range method that most of them follow.
        probe: A few images that stay in memory.
        images: How many were seen.
        target: What the file is made for.
        notes: What the reader should know, in sentences.
    """

    normalised: Normalised
    model: ModelProto
    units: tuple[Unit, ...]
    lstms: tuple[str, ...]
    scheme: Scheme
    ranges: Mapping[str, Range]
    rule: RangeRule
    probe: tuple[Feeds, ...]
    images: int
    target: Target
    notes: tuple[str, ...]


def fit(
    model: ModelProto,
    calibration: Iterable[Feeds],
    config: Quantization,
    statistics: Statistics | None = None,
    tell: Tell = lambda _stage: None,
) -> Fitted:
    """Clean up a model, equalise its channels, calibrate it and choose its grids.

    Args:
        model: Float model of any origin; it is not changed.
        calibration: Batches of real input arrays by input name; read once.
        config: Every knob.
        statistics: What `calibrate` returned; then channels stay as they are, and no image is needed.
        tell: Told what is being done.

    Raises:
        ModelError: The model is quantized already, cannot be prepared, computes NaN, or has nothing to quantize.
        DataError: Calibration images are missing or do not fit the model, or the statistics are of another model.
        ConfigError: A pattern names no node.
    """
    target = find_target(config.target)
    tell("clean up")
    normalised, runs = _start(model, calibration, config.samples)
    plain = normalised.model
    units, lstms = _find_parts(plain, config, target)
    probe = _keep(runs)
    tell("calibrate")
    trials = _Trials(plain, units, config, target, probe)
    changed, found = plain, statistics
    if statistics is None:
        changed = trials.equalised() if config.corrections.equalise and probe else plain
        if config.corrections.open_gates and probe:
            trials, changed = trials.through_gates(changed)
            units = trials.units
        found = _observe(changed, units, chain(probe, runs), config.samples)
    elif (difference := _key(plain, model).difference(statistics.key)).startswith(("model", "preprocessing")):
        raise DataError(f"the statistics are of another {difference.split()[0]}", difference, "calibrate again with this model")
    elif missing := [name for name in tensors_to_observe(plain, units) if name not in statistics.tensors]:
        raise DataError("the statistics lack tensors that may get a grid", ", ".join(missing[:5]), "calibrate again with these rules")
    assert found is not None
    chosen = trials.ranges(changed, found, tell)
    scheme = _scheme(changed, units, chosen.ranges, config.layers, target)
    spec = read_spec(model)
    warning = scale_warning(found.tensors, spec.inputs) if spec else None
    dead = [name for name in chosen.ranges if name in found.tensors and found.tensors[name].is_dead]
    notes = [one for one in (warning, f"always zero on these images: {', '.join(dead[:5])}" if dead else None) if one]
    return Fitted(
        normalised, changed, units, lstms, scheme, chosen.ranges, chosen.rule, probe, found.images, target, (*notes, *_notes_on(plain))
    )


def calibrate(model: ModelProto, calibration: Iterable[Feeds], config: Quantization, data: str = "") -> Statistics:
    """Return the statistics of every tensor that may get a grid, for another method later, without data.

    Args:
        model: Float model of any origin; it is not changed.
        calibration: Batches of real input arrays by input name; read once.
        config: Samples, target and rules; the method does not matter.
        data: Names the images, such as a data set's fingerprint; kept in the statistics' key.

    Raises:
        ModelError: As for `fit`.
        DataError: As for `fit`.
    """
    normalised, runs = _start(model, calibration, config.samples)
    units, _ = _find_parts(normalised.model, config, find_target(config.target))
    return replace(_observe(normalised.model, units, runs, config.samples), key=replace(_key(normalised.model, model), data=data))


def _key(plain: ModelProto, model: ModelProto) -> Key:
    """Return what statistics belong to: the model in plain form, and what its spec does to images. Any images will do."""
    spec = read_spec(model)
    return key_of(plain, spec.inputs if spec else ())


def _start(model: ModelProto, calibration: Iterable[Feeds], samples: int) -> tuple[Normalised, Iterator[Feeds]]:
    """Clean up the model, with parity on the first images, and cut the images into runs."""
    batches = iter(calibration)
    first = next(batches, None)
    if first is not None:
        check_feeds(model, first)  # before the clean-up runs on them and takes the fault for the model's
    size = _fixed_batch(model) or 2
    few = images_of(first, 0, size) if first and images_in(first) >= size else None
    normalised = normalise(model, few)
    return normalised, runs_of(normalised.model, chain([first] if first else [], batches), samples)


def _fixed_batch(model: ModelProto) -> int | None:
    """Return how many images the model takes at once; None where any number goes. Old files list weights among the inputs."""
    weights = {one.name for one in model.graph.initializer}
    dims = [one.type.tensor_type.shape.dim for one in model.graph.input if one.name not in weights]
    return next((one[0].dim_value or None for one in dims if one), None)


def _keep(runs: Iterator[Feeds]) -> tuple[Feeds, ...]:
    """Take the first images out of the stream, as many as memory allows."""
    kept: list[Feeds] = []
    size = count = 0
    while count < PROBE_IMAGES and size < PROBE_BYTES and (feeds := next(runs, None)) is not None:
        kept.append(feeds)
        size += sum(array.nbytes for array in feeds.values())
        count += images_in(feeds)
    return tuple(kept)


def _find_parts(plain: ModelProto, config: Quantization, target: Target) -> tuple[tuple[Unit, ...], tuple[str, ...]]:
    inputs = [one.name for one in plain.graph.input]  # these have ranges, so rules may name them as well
    check_patterns(Graph.of(plain), (one.name for one in config.layers if not fnmatch.filter(inputs, one.name)))
    kept = tuple(one.name for one in config.layers if one.precision == "float")
    rules = Rules((*config.rules.keep_float, *kept), config.rules.op_types)
    units = needed(find_units(plain, rules, target.op_types))
    lstms = tuple(name for name in find_lstms(plain) if not rules.keeps(name)) if target.provider == "cpu" else ()
    if not lstms and not any(one.op_type in PRODUCTS for one in units):
        found = ", ".join(sorted({node.op_type for node in plain.graph.node})) or "no operator"
        if makers := sorted({*sequence_makers(plain).values()}):
            raise ModelError(
                "the model has nothing to quantize: no type is known for what it takes out of sequences of tensors",
                f"sequences come from {', '.join(makers)}",
                "export it without sequences: Split and Concat in place of SplitToSequence and ConcatFromSequence",
            )
        raise ModelError(
            "the model has nothing to quantize",
            f"it consists of {found}",
            "convolutions and matrix products with constant weights become int8",
        )
    return units, lstms


def _observe(model: ModelProto, units: tuple[Unit, ...], runs: Iterable[Feeds], samples: int) -> Statistics:
    names = tensors_to_observe(model, units)
    return observe(
        model, [*names, *(one.name for one in model.graph.input if _is_float_array(one.type) and one.name not in names)], runs, samples
    )


def _is_float_array(kind: TypeProto) -> bool:
    return kind.tensor_type.elem_type == TensorProto.FLOAT and len(kind.tensor_type.shape.dim) > 0


class _Trials:
    """Runs int8 models on the probe images to see what serves the outputs."""

    def __init__(self, plain: ModelProto, units: tuple[Unit, ...], config: Quantization, target: Target, probe: tuple[Feeds, ...]) -> None:
        self.plain, self.units, self.config, self.target = plain, units, config, target
        self.images = probe[:_JUDGING_IMAGES]
        self.judge = output_noise(plain, self.images) if probe else None

    def noise(self, model: ModelProto, ranges: Mapping[str, Range]) -> float:
        """Return noise / signal at the outputs with all units on integers."""
        assert self.judge is not None
        return self.judge(write_qdq(model, _scheme(model, self.units, ranges, self.config.layers, self.target)))

    def equalised(self) -> ModelProto:
        """Return the model with equal channels if that lowers the noise, else the plain one."""
        count = sum(images_in(feeds) for feeds in self.images)  # a run has several where the model takes them at once
        plain = _observe(self.plain, self.units, self.images, count)
        changed = equalise(self.plain, plain, strength=_STRENGTH)
        if not changed.factors:
            return self.plain
        again = _observe(changed.model, self.units, self.images, count)
        return changed.model if self._noise_at_first(changed.model, again) < self._noise_at_first(self.plain, plain) else self.plain

    def through_gates(self, rival: ModelProto) -> tuple["_Trials", ModelProto]:
        """Return trials of the model with equal channels through gates as well, and that model, if it is clearly better than a rival; else those."""
        count = sum(images_in(feeds) for feeds in self.images)

        def seen(model: ModelProto) -> Statistics:
            return _observe(model, _find_parts(model, self.config, self.target)[0], self.images, count)

        changed = equalise_through_gates(self.plain, seen, strength=_STRENGTH)
        if not changed.factors:
            return self, rival
        units, _ = _find_parts(changed.model, self.config, self.target)
        other = _Trials(changed.model, units, self.config, self.target, self.images)
        before, after = self._noise_at_first(rival, seen(rival)), other._noise_at_first(changed.model, seen(changed.model))
        return (other, changed.model) if after < before * (1 - _LEAST_GAIN_OF_GATES) else (self, rival)

    def _noise_at_first(self, model: ModelProto, statistics: Statistics) -> float:
        return self.noise(model, choose_ranges(model, self.units, statistics.tensors, RULES[0], self.config.layers))

    def ranges(self, model: ModelProto, statistics: Statistics, tell: Tell) -> Chosen:
        """Return the ranges that the configuration asks for."""
        tensors, layers = statistics.tensors, self.config.layers
        if self.config.method != "auto" or self.judge is None:
            rule = RangeRule("percentile" if self.config.method == "auto" else self.config.method, self.config.percentile)
            return Chosen(choose_ranges(model, self.units, tensors, rule, layers), rule, 0.0)
        tell("choose ranges")

        def judge(ranges: Mapping[str, Range]) -> float:
            return self.noise(model, ranges)

        return refine(model, self.units, tensors, judge, choose_rule(model, self.units, tensors, judge, layers), layers)


def _scheme(model: ModelProto, units: tuple[Unit, ...], ranges: Mapping[str, Range], layers: tuple[Layer, ...], target: Target) -> Scheme:
    return Scheme(
        frozenset(name for one in units for name in one.nodes),
        grids_for(model, units, ranges, target),
        _weights(model, units, layers, target),
    )


def _weights(model: ModelProto, units: Iterable[Unit], layers: tuple[Layer, ...], target: Target) -> dict[str, IntegerWeight]:
    constants = Graph.of(model).constants
    axes: dict[str | None, set[int | None]] = {}
    for one in units:
        axes.setdefault(one.weight, set()).add(one.axis if one.op_type in target.per_channel else None)
    return {
        one.weight: round_weight(
            numpy_helper.to_array(constants[one.weight]),
            # Layers that share a weight but lay it another way can share no scale of a channel.
            next(iter(axes[one.weight])) if len(axes[one.weight]) == 1 else None,
            bits=layer_for(one.name, layers).weight_bits or 8,
        )
        for one in units
        if one.weight
    }


def _notes_on(plain: ModelProto) -> tuple[str, ...]:
    kinds = {node.op_type for node in plain.graph.node}
    return tuple(note for found, note in _NOTES.items() if kinds & found)


_NOTES: Mapping[frozenset[str], str] = {
    frozenset({"GRU", "RNN"}): "GRU and RNN layers stay float: ONNX Runtime's CPU provider has no int8 kernel for them",
    frozenset({"ConvTranspose"}): "transposed convolutions stay float: ONNX Runtime's CPU provider has no int8 kernel for them",
}
