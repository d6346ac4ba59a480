"""Quantize an ONNX model: float model and calibration images in, int8 model and report out."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from onnx import ModelProto

from ...benchmarks.kernel_times import time_kernels
from ...benchmarks.latency import Speedup
from ...graph.copying import copy_model, size_of
from ...graph.execution import open_model
from ...graph.file import read_spec, with_spec
from ...runtime.errors import ConfigError
from ...runtime.session import Session
from .budget import Budget, Judge, Outcome, Proposal, nothing_fits, search
from .correction import correct
from .costs import Costs, find_costs
from .feeds import Feeds
from .fitting import Fitted, Tell, fit
from .kernels import Rewrite, Shaped, TimesOf, shape_kernels
from .merging import shape_fastest
from .mincut import Choice, cheapest
from .overrides import layer_for
from .qdq import write_qdq
from .recurrent import write_lstms
from .report import QuantizationReport, Quantized, describe_layers
from .saturation import Finding, protect
from .scheme import Scheme
from .search import output_noise
from .sensitivity import measure_sensitivities
from .settings import Quantization
from .speed import FLOAT, fastest_of, time_files
from .statistics import Statistics
from .target import find_target

_SENSITIVITY_IMAGES = 32
_EQUAL = 0.95  # what two measurements of one kernel differ by
_UNTIMED_LSTM_US = 1.0  # an LSTM on another device: int8 is taken to be faster there, by next to nothing

OpenProposal = Callable[[Proposal], Session]


@dataclass(frozen=True, slots=True)
class Limit:
    """An accuracy budget, and who judges.

    Attributes:
        budget: What the file may lose.
        judge: From a session on the float file, a function that opens a proposal's file, and the budget, to a judge; `judges` has them.
    """

    budget: Budget
    judge: Callable[[Session, OpenProposal, Budget], Judge]


@dataclass(frozen=True, slots=True)
class Built:
    """A finished model.

    Attributes:
        model: The model.
        parts: Names of the units and LSTM nodes that compute on integers.
        rewrites: How it was shaped for the kernels.
        findings: What a guarded target's layers were found to do.
    """

    model: ModelProto
    parts: frozenset[str] = frozenset()
    rewrites: tuple[Rewrite, ...] = ()
    findings: tuple[Finding, ...] = ()


def quantize(
    model: ModelProto,
    calibration: Iterable[Feeds],
    config: Quantization | None = None,
    *,
    statistics: Statistics | None = None,
    limit: Limit | None = None,
    times_of: TimesOf | None = None,
    tell: Tell = lambda _stage: None,
) -> Quantized:
    """Return an int8 version of a float ONNX model.

    Args:
        model: Float model of any origin; it is not changed.
        calibration: Batches of real input arrays by input name, preprocessed as the model wants them; read once, up to `config.samples` images.
        config: Every knob.
        statistics: What `fitting.calibrate` returned for this model; then `calibration` may be empty, and what needs images is left out.
        limit: How much accuracy the file may lose; without it the fastest file is written.
        times_of: Gives kernel times; by default they are measured here where the file is made for this machine, else all that can be int8 is.
        tell: Told what is being done.

    Raises:
        ModelError: The model is quantized already, cannot be prepared, computes NaN, or has nothing to quantize.
        DataError: Calibration images are missing or do not fit the model.
        ConfigError: Both a limit and the wish for int8 everywhere are given.
        GateError: No file is inside the limit.
        ProviderError: onnxruntime is not installed.
    """
    config = config or Quantization()
    if limit is not None and config.speed == "int8":
        raise ConfigError("a budget chooses what is int8, and so does speed='int8'", limit.budget, "leave one of them out")
    fitted = fit(model, calibration, config, statistics, tell)
    engine = _Engine(fitted, config, times_of, tell)
    tried: Outcome | None = None
    if limit is None:
        built = engine.fastest()
    else:
        built, tried = engine.inside(limit)
    tell("check")
    speedup = engine.speedup_of(built)
    if speedup is not None and speedup.high < 1:
        built, speedup = engine.instead_of_slower(built, speedup, wanted=limit is not None)
    report = QuantizationReport(
        images=fitted.images,
        target=fitted.target.name,
        layers=describe_layers(
            fitted, config, built.parts, engine.costs, engine.errors, built.findings, limited=tried is not None and len(tried.tried) > 1
        ),
        ranges=dict(fitted.ranges),
        method=fitted.rule.method if config.method != "auto" else f"auto ({fitted.rule.method})",
        rewrites=(*fitted.normalised.applied, *(f"{one.what}: {', '.join(one.nodes)}" for one in built.rewrites)),
        undone=fitted.normalised.undone,
        saturation=built.findings,
        tried=tried.tried if tried else (),
        speedup=speedup,
        sqnr_db=-10 * math.log10(max(output_noise(fitted.model, fitted.probe)(built.model), 1e-30)) if fitted.probe else None,
        notes=(*fitted.notes, *engine.notes),
        size_bytes_before=size_of(model),
        size_bytes_after=size_of(built.model),
    )
    return Quantized(_with_history(built.model, model, config, report), report)


class _Engine:
    """Builds files of one fitted model, and chooses among them."""

    def __init__(self, fitted: Fitted, config: Quantization, times_of: TimesOf | None, tell: Tell) -> None:
        self.fitted, self.config, self.tell = fitted, config, tell
        self.is_here = fitted.target.provider == "cpu" and (config.target in ("any", "host") or find_target().name == fitted.target.name)
        self.times_of = times_of or (time_kernels if self.is_here else None)
        self.costs: Costs | None = None
        self.errors: dict[str, float] = {}
        self.notes: tuple[str, ...] = ()
        self.units = frozenset(one.name for one in fitted.units)
        self.parts = self.units | {*fitted.lstms}
        nodes = {one.name: one.nodes for one in fitted.units} | {name: (name,) for name in fitted.lstms}
        self.pinned = frozenset(name for name, own in nodes.items() if layer_for(name, config.layers, own).precision == "int8")
        self.is_guarded = fitted.target.guard != "none"

    def fastest(self) -> Built:
        """Return the fastest file: kernel times propose, the clock decides."""
        if self.config.speed == "int8" or self.times_of is None:
            return self.build(self.parts)
        self.tell("time kernels")
        cut = (self.cheapest(0.0) & self.units) | self.pinned
        choices = {"cut": cut, "cut and LSTM": cut | {*self.fitted.lstms}, "all": self.parts, "LSTM": frozenset(self.fitted.lstms)}
        candidates = {name: parts for name, parts in choices.items() if parts >= self.pinned and parts}
        if not self.is_here or not self.fitted.probe:
            return self.build(candidates["cut and LSTM"]) if "cut and LSTM" in candidates else self._float()
        self.tell("time files")
        drafts: dict[frozenset[str], str] = {}
        for name, parts in candidates.items():
            drafts.setdefault(parts, name)
        files = {FLOAT: self.fitted.normalised.model} | {name: self.build(parts, draft=True).model for parts, name in drafts.items()}
        noise = output_noise(self.fitted.model, self.fitted.probe)
        winner = fastest_of(time_files(files, self.fitted.probe), lambda name: noise(files[name]))
        if winner == FLOAT and not self.pinned:
            return self._float()
        return self.build(candidates.get(winner, cut))  # what the user pinned is in the cut

    def _float(self) -> Built:
        """Return the float file, and say why it is one."""
        where = "on this machine" if self.is_here else f"on {self.fitted.target.name}"
        self.notes += (f"int8 is not faster than float for this model {where}: the file stays float; --force makes it int8",)
        return Built(self.fitted.normalised.model)

    def instead_of_slower(self, built: Built, speedup: Speedup, *, wanted: bool) -> tuple[Built, Speedup]:
        """Return the float file for one that the clock finds slower when it is done, unless somebody wants it int8 all the same."""
        if wanted or self.pinned or self.config.speed == "int8":
            self.notes += ("the file is slower than the float file on this machine",)
            return built, speedup
        return self._float(), Speedup(1.0, 1.0, 1.0)

    def cheapest(self, us_per_error: float) -> frozenset[str]:
        """Return the units that are int8 in the fastest file, with a price on noise, and the float nodes between them that come with it."""
        costs = self.costs or self._find_costs()
        return cheapest(self._leaning(costs), costs.conversions, us_per_error=us_per_error)

    def inside(self, limit: Limit) -> tuple[Built, Outcome]:
        """Return the fastest file inside an accuracy budget."""
        self.tell("measure sensitivities")
        few = self.fitted.probe[:_SENSITIVITY_IMAGES]
        self.errors = measure_sensitivities(
            self.fitted.model, self.fitted.scheme, self.fitted.units, few, lstms=self.fitted.lstms, guarded=self.is_guarded
        )
        self.costs = self._find_costs(self._time_lstms())
        built: dict[frozenset[str], Built] = {}

        def propose(price: float) -> Proposal:
            chosen = self.cheapest(price * 1e3)
            assert self.costs is not None
            parts, total_ms = chosen & self.parts, self.costs.total_us(chosen) / 1e3
            return Proposal(parts, total_ms, sum(self.errors[name] for name in sorted(parts)))

        def open_proposal(proposal: Proposal) -> Session:
            built[proposal.nodes] = self.build(proposal.nodes)
            return open_model(built[proposal.nodes].model)

        self.tell("search")
        outcome = search(propose, limit.judge(open_model(self.fitted.normalised.model), open_proposal, limit.budget), limit.budget)
        if not outcome.proposals and self.config.speed == "fastest":
            return self._float(), outcome  # it loses nothing, and int8 gains none
        if outcome.chosen is None:
            raise nothing_fits(outcome, limit.budget)
        return built[outcome.chosen.proposal.nodes], outcome

    def build(self, parts: Iterable[str], *, draft: bool = False) -> Built:
        """Return the file in which these units and LSTM nodes compute on integers; a draft has its speed, but not its accuracy."""
        names = frozenset(parts)
        chosen = [one for one in self.fitted.units if one.name in names]
        model, scheme = self.fitted.model, replace(self.fitted.scheme, nodes=frozenset(name for one in chosen for name in one.nodes))
        if not draft and self.fitted.probe:
            self.tell("correct weights and biases")
            corrected = correct(model, scheme, self.fitted.probe, self.config.corrections)
            model, scheme = corrected.model, corrected.scheme
        rewrites: Sequence[Rewrite] = ()
        if self.times_of is not None:
            shaped = self._shaped(model, scheme, self.times_of)
            model, scheme, rewrites = shaped.model, shaped.scheme, shaped.rewrites
        protected = protect(model, scheme, self.fitted.target, self.fitted.probe) if not draft else None
        written = write_qdq(model, protected.scheme if protected else scheme, integer_bias=self.fitted.target.integer_bias)
        lstms = [name for name in self.fitted.lstms if name in names]
        written = write_lstms(written, lstms, guarded=self.is_guarded)
        return Built(written, names, tuple(rewrites), protected.findings if protected else ())

    def _shaped(self, model: ModelProto, scheme: Scheme, times_of: TimesOf) -> Shaped:
        """Return the model in the form that its kernels like best."""
        if self.is_guarded or self.fitted.target.provider != "cpu":  # a guard narrows single layers; a Split of integers is for the CPU
            return shape_kernels(model, scheme, times_of)
        return shape_fastest(model, scheme, times_of, self.fitted.probe if self.is_here else ())

    def speedup_of(self, built: Built) -> Speedup | None:
        """Return how many times as fast as the float file a finished file is here; None where it is made for another machine."""
        if not self.is_here or not self.fitted.probe:
            return None
        if not built.parts:
            return Speedup(1.0, 1.0, 1.0)
        return time_files({FLOAT: self.fitted.normalised.model, "int8": built.model}, self.fitted.probe).speedup["int8"]

    def _time_lstms(self) -> dict[str, float]:
        """Return what int8 weights save each LSTM node, microseconds, by the time of the whole file: the table has no such kernel."""
        lstms = self.fitted.lstms
        if not lstms or not self.is_here:
            return dict.fromkeys(lstms, _UNTIMED_LSTM_US)
        model = self.fitted.model
        files = {FLOAT: model} | {name: write_lstms(model, [name], guarded=self.is_guarded) for name in lstms}
        timed = time_files(files, self.fitted.probe)
        return {name: timed.latency[FLOAT].p50_ms * 1e3 * (1 - 1 / timed.speedup[name].ratio) for name in lstms}

    def _find_costs(self, lstm_savings_us: Mapping[str, float] | None = None) -> Costs:
        if self.times_of is None:
            raise ConfigError(
                "an accuracy budget needs the target's kernel times", self.fitted.target.name, "give --kernel-times with a table made there"
            )
        model, scheme = self.fitted.model, self.fitted.scheme
        shaped = shape_kernels(model, scheme, self.times_of)
        sized = _with_sizes(model, self.fitted.probe)
        costs = find_costs(
            sized, self.fitted.units, self.times_of, errors=self.errors, savings_us=shaped.savings_us, lstm_savings_us=lstm_savings_us
        )
        choices = tuple(replace(one, float_us=math.inf) if one.name in self.pinned else one for one in costs.choices)
        self.costs = replace(costs, choices=choices)
        return self.costs

    def _leaning(self, costs: Costs) -> tuple[Choice, ...]:
        """Return the choices with int8 a little cheaper than it was measured: of two equally fast kernels it is the smaller one."""
        return tuple(replace(one, int8_us=one.int8_us * _EQUAL) if one.name in self.units else one for one in costs.choices)


def _with_sizes(model: ModelProto, images: Sequence[Feeds]) -> ModelProto:
    """Return the model with the sizes that its inputs really have: times depend on them, and a file may leave them open."""
    if not images:
        return model
    sized = copy_model(model)
    for one in sized.graph.input:
        for dim, size in zip(one.type.tensor_type.shape.dim, images[0][one.name].shape if one.name in images[0] else (), strict=False):
            dim.dim_value = size
    return sized


def _with_history(model: ModelProto, source: ModelProto, config: Quantization, report: QuantizationReport) -> ModelProto:
    spec = read_spec(source)
    if spec is None:
        return model
    settings = {"method": report.method, "samples": report.images, "target": report.target, **asdict(config.corrections)}
    return with_spec(model, replace(spec, provenance=spec.provenance.after("quantize", **settings)))
