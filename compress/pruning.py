"""Structured pruning: remove whole channels, so that the model becomes smaller for every runtime.

First version: channels are ranked by the size of their weights over all layers at once, and the target counts multiply-accumulates.
These are not milliseconds: thin layers cost their overhead.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from ..runtime.errors import ConfigError, ModelError
from ..train.checkpoint import Checkpoint
from ..train.evaluation import check_model
from ..train.plan import PruningPlan, apply_plan
from .channels import ChannelGroup, find_groups, is_safe, plan_for, width_of
from .macs import count_macs


@dataclass(frozen=True, slots=True)
class ChannelPruning:
    """Remove the channels whose weights are smallest. Exactly one of `speedup` and `ratio` is given.

    Attributes:
        speedup: Multiply-accumulates before over after, above 1; what each layer loses follows from one ranking of all channels.
        ratio: Fraction of channels to remove from every group of layers, in (0, 1).
        round_to: Kept widths are rounded up to this multiple, which kernels like; a layer that is narrower stays as it is.
        minimum: Fewest channels that a layer keeps.
    """

    speedup: float | None = None
    ratio: float | None = None
    round_to: int = 8
    minimum: int = 8

    def __post_init__(self) -> None:
        """Refuse targets that mean nothing.

        Raises:
            ConfigError: A field is out of range, or not exactly one target is given.
        """
        if (self.speedup is None) == (self.ratio is None):
            raise ConfigError(
                "pruning needs exactly one target", f"speedup {self.speedup}, ratio {self.ratio}", "give a speedup, such as 2"
            )
        if self.speedup is not None and not (math.isfinite(self.speedup) and self.speedup > 1):
            raise ConfigError("speedup must be above 1", self.speedup, "2 halves the multiply-accumulates")
        if self.ratio is not None and not 0 < self.ratio < 1:
            raise ConfigError("ratio must be in (0, 1)", self.ratio, "0.5 removes half of the channels")
        if self.round_to < 1 or self.minimum < 1:
            raise ConfigError("round_to and minimum must be at least 1", f"{self.round_to}, {self.minimum}", "8 suits most kernels")


@dataclass(frozen=True, slots=True)
class PruningReport:
    """What pruning did.

    Attributes:
        kept: Layer to output channels left, for every convolution and dense layer that lost some.
        widths: The same layers' output channels before.
        left: Layers whose output channels cannot be removed safely.
        macs_before: Multiply-accumulates of the convolutions and dense layers for one image; not milliseconds.
        macs_after: The same of the pruned model.
        parameters_before: Number of weights.
        parameters_after: The same of the pruned model.
    """

    kept: Mapping[str, int]
    widths: Mapping[str, int]
    left: tuple[str, ...]
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """A pruned checkpoint, whose plan is relative to the freshly built model, and what was done to it."""

    model: Checkpoint
    report: PruningReport


def prune(checkpoint: Checkpoint, config: ChannelPruning) -> Pruned:
    """Return a checkpoint with fewer channels, on the CPU; weights that stay keep their values, so fine-tune or distil it afterwards.

    Args:
        checkpoint: A trained model, whole or pruned before; it is not changed.
        config: How much to remove.

    Raises:
        ModelError: The model is recurrent, cannot be traced, or has no channel that can be removed safely.
        ConfigError: Even the narrowest model is above the target; the message says what can be reached.
    """
    _refuse_recurrent(checkpoint.model)
    model = deepcopy(checkpoint.model).cpu().eval()  # in training mode even a forward pass edits batch norms
    images = _example(checkpoint)
    groups, left = find_groups(model, images)
    if not groups:
        raise ModelError(
            "no channel of this model can be removed safely",
            f"left as they are: {', '.join(left) or 'all layers'}",
            "distil it into a narrower model instead",
        )
    plan = _plan(model, groups, count_macs(model, images), config)
    if not plan.out:
        raise ConfigError(
            "this target removes no channel",
            f"ratio {config.ratio}",
            f"raise it, or lower round_to ({config.round_to}) and minimum ({config.minimum})",
        )
    if not is_safe(model, plan, images):
        raise ModelError(
            "the pruned model does not compute what the whole one did", type(model).__name__, "this is a bug of edgerec: please report it"
        )
    pruned = apply_plan(model, plan).train(checkpoint.model.training)
    report = _report(model, pruned, plan, left, images)
    settings = {name: value for name, value in asdict(config).items() if value is not None}
    return Pruned(_checkpoint(checkpoint, pruned, plan, settings, report), report)


def apply_to(checkpoint: Checkpoint, plan: PruningPlan) -> Pruned:
    """Return a checkpoint cut by a plan that was made before.

    Args:
        checkpoint: A model like the one the plan was made for; it is not changed.
        plan: What to keep, relative to this checkpoint.

    Raises:
        ModelError: The plan was made for another model, or what it leaves does not fit together.
    """
    model = deepcopy(checkpoint.model).cpu().eval()
    pruned = apply_plan(model, plan).train(checkpoint.model.training)
    check_model(pruned, checkpoint.spec)
    report = _report(model, pruned, plan, (), _example(checkpoint))
    return Pruned(_checkpoint(checkpoint, pruned, plan, {"plan": "given"}, report), report)


def _refuse_recurrent(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            raise ModelError(
                "recurrent layers cannot be pruned: DepGraph does not follow a state from step to step",
                f"{path} ({type(module).__name__})",
                "distil the model into one with fewer hidden units instead",
            )


def _example(checkpoint: Checkpoint) -> Tensor:
    """Return one random image as the model takes it, shape (1, C, H, W)."""
    spec = checkpoint.spec.input
    return torch.randn(1, spec.channels, spec.height, spec.width, generator=torch.Generator().manual_seed(0))


def _plan(model: nn.Module, groups: Sequence[ChannelGroup], macs: Mapping[str, int], config: ChannelPruning) -> PruningPlan:
    if config.ratio is not None:
        share = 1 - config.ratio
        return plan_for(model, groups, [_strongest(group, math.ceil(share * len(group.scores)), config) for group in groups])
    assert config.speedup is not None  # the record has exactly one target
    before = sum(macs.values())
    target = before / config.speedup

    def is_small_enough(threshold: float) -> bool:
        return _macs_after(model, _above(model, groups, threshold, config), macs) <= target

    if not is_small_enough(math.inf):
        most = before / _macs_after(model, _above(model, groups, math.inf, config), macs)
        raise ConfigError(
            "the model cannot be made this small by removing channels",
            f"speedup {config.speedup:g}",
            f"at most {math.floor(most * 100) / 100:g} can be reached with minimum={config.minimum} and round_to={config.round_to}",
        )
    # The higher the threshold, the fewer MACs are left: the first one that reaches the target removes least.
    thresholds: list[float] = [*torch.cat([group.scores for group in groups]).unique().tolist(), math.inf]
    return _above(model, groups, thresholds[bisect_left(thresholds, True, key=is_small_enough)], config)


def _above(model: nn.Module, groups: Sequence[ChannelGroup], threshold: float, config: ChannelPruning) -> PruningPlan:
    return plan_for(model, groups, [_strongest(group, int((group.scores >= threshold).sum()), config) for group in groups])


def _strongest(group: ChannelGroup, count: int, config: ChannelPruning) -> set[int]:
    """Return the indices of the `count` most important channels, with `count` rounded up."""
    rounded = math.ceil(max(count, config.minimum) / config.round_to) * config.round_to
    order = group.scores.argsort(descending=True, stable=True)
    return set(order[:rounded].tolist())


def _macs_after(model: nn.Module, plan: PruningPlan, macs: Mapping[str, int]) -> float:
    """Predict the MACs under a plan: a layer's shrink with the kept share of its outputs and of its inputs."""
    total = 0.0
    for path, count in macs.items():
        layer = model.get_submodule(path)
        out = len(plan.out[path]) / width_of(layer, "out") if path in plan.out else 1
        inputs = len(plan.inputs[path]) / width_of(layer, "inputs") if path in plan.inputs else 1
        total += count * out * inputs
    return total


def _report(before: nn.Module, after: nn.Module, plan: PruningPlan, left: Sequence[str], images: Tensor) -> PruningReport:
    layers = [path for path in plan.out if isinstance(before.get_submodule(path), nn.Conv2d | nn.Linear)]
    return PruningReport(
        kept={path: len(plan.out[path]) for path in layers},
        widths={path: width_of(before.get_submodule(path), "out") for path in layers},
        left=tuple(left),
        macs_before=sum(count_macs(before, images).values()),
        macs_after=sum(count_macs(deepcopy(after).eval(), images).values()),
        parameters_before=sum(one.numel() for one in before.parameters()),
        parameters_after=sum(one.numel() for one in after.parameters()),
    )


def _checkpoint(
    before: Checkpoint, model: nn.Module, plan: PruningPlan, settings: Mapping[str, object], report: PruningReport
) -> Checkpoint:
    provenance = before.spec.provenance.after("prune", **settings, macs_before=report.macs_before, macs_after=report.macs_after)
    return replace(
        before,
        model=model,
        spec=replace(before.spec, provenance=provenance),
        plan=plan if before.plan is None else before.plan.then(plan),
    )
