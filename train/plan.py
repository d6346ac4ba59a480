"""Pruning plans: which channels and blocks of a model are kept, as JSON that can be read, reviewed and applied again.

A plan names modules by their path and channels by their index; it holds no weights. Applied to a freshly built model it gives the
pruned architecture, whose `state_dict` then loads strictly; applied to a trained model it also keeps the right weights.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

from torch import nn

from ..runtime.errors import ModelError
from .slicing import slice_

PLAN_VERSION = 1

Kept = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class PruningPlan:
    """What is left of a model.

    Indices are increasing and count the channels of the model that the plan is applied to. A module whose outputs are its inputs
    (BatchNorm, LayerNorm, depthwise convolution) stands in `out` alone. The inputs of a Linear behind a flatten are features, not channels.

    Attributes:
        out: Module path to kept output channels; a module that is not named keeps all.
        inputs: Module path to kept input channels; a module that is not named keeps all.
        removed: Paths of modules that are replaced by the identity.

    Raises:
        ModelError: Indices that are not increasing, negative, or none at all.
    """

    out: Kept = field(default_factory=dict[str, tuple[int, ...]])
    inputs: Kept = field(default_factory=dict[str, tuple[int, ...]])
    removed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse indices that cannot be kept channels."""
        for path, kept in (*self.out.items(), *self.inputs.items()):
            increasing = all(a < b for a, b in pairwise(kept))
            if not kept or kept[0] < 0 or not increasing:
                raise ModelError("kept channels must be increasing indices, at least one", f"{path}: {kept[:8]}", "make the plan again")

    def then(self, later: "PruningPlan") -> "PruningPlan":
        """Return the plan that does what this one and `later`, applied to its result, do.

        Raises:
            ModelError: `later` keeps a channel that this plan has removed.
        """
        return PruningPlan(
            out=_compose(self.out, later.out),
            inputs=_compose(self.inputs, later.inputs),
            removed=self.removed + later.removed,
        )

    def to_json(self) -> str:
        """Return the one JSON form: sorted keys, no white space, equal plans give equal text."""
        record = {"plan_version": PLAN_VERSION, "out": dict(self.out), "inputs": dict(self.inputs), "removed": self.removed}
        return json.dumps(record, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "PruningPlan":
        """Read a plan back.

        Raises:
            ModelError: The text is not a plan, or was written by a newer edgerec.
        """
        try:
            raw = cast("dict[str, object]", json.loads(text))
            version, removed = raw["plan_version"], cast("list[object]", raw["removed"])
            plan = cls(_kept(raw["out"]), _kept(raw["inputs"]), tuple(str(path) for path in removed))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError("this is not a pruning plan", text[:80], "give a plan that edgerec wrote") from error
        if version != PLAN_VERSION:
            raise ModelError(
                "the pruning plan has a version this edgerec cannot read", f"{version!r}, known {PLAN_VERSION}", "update edgerec"
            )
        return plan


def apply_plan(model: nn.Module, plan: PruningPlan) -> nn.Module:
    """Return a pruned copy of `model`; the model itself stays as it is.

    Args:
        model: The model the plan was made for, or a freshly built one of the same architecture.
        plan: What to keep. Channels are cut first, then blocks are removed.

    Raises:
        ModelError: A path is missing, an index is out of range, or a module is of a kind that cannot be cut.
    """
    pruned = deepcopy(model)
    for path in dict.fromkeys((*plan.out, *plan.inputs)):
        slice_(_module(pruned, path), path, plan.out.get(path), plan.inputs.get(path))
    for path in plan.removed:
        _module(pruned, path)
        pruned.set_submodule(path, nn.Identity())
    return pruned


def _module(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise ModelError("the model has no such module", repr(path), "this pruning plan was made for another model") from error


def _compose(first: Kept, later: Kept) -> dict[str, tuple[int, ...]]:
    composed = {**first, **later}
    for path in first.keys() & later.keys():
        kept = first[path]
        if later[path][-1] >= len(kept):
            raise ModelError(
                "the later plan keeps a channel that is gone",
                f"{path}: channel {later[path][-1]} of {len(kept)}",
                "compose plans in their order",
            )
        composed[path] = tuple(kept[i] for i in later[path])
    return composed


def _kept(raw: object) -> dict[str, tuple[int, ...]]:
    kept: dict[str, tuple[int, ...]] = {}
    for path, indices in cast("dict[str, list[object]]", raw).items():
        if not all(type(i) is int for i in indices):  # JSON's true would pass as 1
            raise TypeError(path)
        kept[path] = tuple(cast("list[int]", indices))
    return kept
