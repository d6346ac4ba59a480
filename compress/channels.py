"""Which channels of a model must be removed together, and whether removing them is safe.

torch-pruning's DepGraph (Fang et al. 2023, arXiv:2301.12900) finds the groups by tracing autograd. It takes an operation that it does not know
for elementwise, which is wrong for a shortcut that pads with zeros, say. So every group is tried before it is used:
cutting half of its channels must give the same outputs as multiplying them by zero wherever they are read.
"""

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch_pruning.ops import OPTYPE

from ..runtime.errors import ModelError
from ..train.plan import PruningPlan, apply_plan

Side = Literal["out", "inputs"]
Layer = nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.BatchNorm1d | nn.LayerNorm

# The two sides of the trial differ only by the order of float32 sums; a wrong group changes the outputs by their own size.
_RELATIVE_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Member:
    """One side of one layer that loses channels with its group.

    Attributes:
        path: The layer.
        side: Its outputs, or its inputs.
        roots: Index on this side to channel of the group; a flatten gives several indices one channel.
    """

    path: str
    side: Side
    roots: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels that can only be removed together, layer by layer.

    Attributes:
        root: Path of the layer that makes the channels.
        scores: Importance of each channel, shape (C,); the mean over the group is 1.
        members: Everything that has to be cut.
    """

    root: str
    scores: Tensor
    members: tuple[Member, ...]


def find_groups(model: nn.Module, images: Tensor) -> tuple[list[ChannelGroup], list[str]]:
    """Return the groups of a model that can be cut safely, and the layers whose outputs cannot.

    The importance of a channel is the squared L2 norm of all weights that belong to it, over the mean of its group, so that groups of
    different depth and width can be compared (Fang et al. 2023, section 3.3).

    Args:
        model: Any model in evaluation mode; it is not changed.
        images: One example input, shape (1, C, H, W).

    Raises:
        ModelError: The model cannot be traced.
    """
    candidates, left = _traced_groups(model, images)
    probe = _probe(model)
    if not candidates or is_safe(probe, halving(probe, candidates), images):
        return candidates, left
    safe = [group for group in candidates if is_safe(probe, halving(probe, [group]), images)]
    return safe, left + [group.root for group in candidates if group not in safe]


def plan_for(model: nn.Module, groups: Sequence[ChannelGroup], kept: Sequence[Collection[int]]) -> PruningPlan:
    """Return the plan that keeps the channels `kept[i]` of `groups[i]`.

    A layer that reads a concatenation stands in several groups; it loses what any of them loses.
    """
    dropped: dict[tuple[str, Side], set[int]] = {}
    for group, channels in zip(groups, kept, strict=True):
        for member in group.members:
            gone = {index for index, root in member.roots.items() if root not in channels}
            if gone:
                dropped.setdefault((member.path, member.side), set()).update(gone)
    remaining: dict[Side, dict[str, tuple[int, ...]]] = {"out": {}, "inputs": {}}
    for (path, side), gone in dropped.items():
        width = width_of(model.get_submodule(path), side)
        remaining[side][path] = tuple(index for index in range(width) if index not in gone)
    return PruningPlan(out=remaining["out"], inputs=remaining["inputs"])


def width_of(layer: nn.Module, side: Side) -> int:
    """Return the number of channels or features on one side of a layer."""
    match layer:
        case nn.Conv2d():
            return layer.out_channels if side == "out" else layer.in_channels
        case nn.Linear():
            return layer.out_features if side == "out" else layer.in_features
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return layer.num_features
        case nn.LayerNorm():
            return layer.normalized_shape[-1]
        case _:
            raise TypeError(type(layer))  # `_member` lets no other layer in


def is_safe(model: nn.Module, plan: PruningPlan, images: Tensor) -> bool:
    """Return whether cutting channels gives the outputs of the whole model with these channels zeroed where they are read."""
    with torch.no_grad():
        expected = _masked(model, plan)(images)
        try:
            actual = apply_plan(model, plan)(images)
        except (ModelError, RuntimeError, ValueError, IndexError):  # sizes no longer fit: the clearest form of unsafe
            return False
    if actual.shape != expected.shape:
        return False
    return bool((actual - expected).abs().max() <= _RELATIVE_TOLERANCE * expected.abs().max())


def halving(model: nn.Module, groups: Sequence[ChannelGroup]) -> PruningPlan:
    """Return the plan that keeps every second channel of `groups`."""
    return plan_for(model, groups, [range(0, len(group.scores), 2) for group in groups])


def _traced_groups(model: nn.Module, images: Tensor) -> tuple[list[ChannelGroup], list[str]]:
    traced = deepcopy(model).eval().requires_grad_(True)  # DepGraph walks autograd's graph
    names = {module: path for path, module in traced.named_modules()}
    groups: list[ChannelGroup] = []
    left: list[str] = []
    try:
        with torch.enable_grad():
            graph = tp.DependencyGraph().build_dependency(traced, (images,), verbose=False)
            for found in graph.get_all_groups(root_module_types=(nn.Conv2d, nn.Linear)):
                group = _group(graph, found, names)
                if group is None:
                    left.append(names[found[0].dep.target.module])
                else:
                    groups.append(group)
    except (RuntimeError, ValueError, IndexError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise ModelError(
            "the model's channels cannot be traced", f"{type(error).__name__}: {error}", "its forward pass must take one batch of images"
        ) from error
    return groups, left


def _group(graph: tp.DependencyGraph, found: tp.Group, names: Mapping[nn.Module, str]) -> ChannelGroup | None:
    """Translate torch-pruning's group; None when it reaches the model's output or something that a plan cannot cut."""
    members: list[Member] = []
    for item in found:
        module = item.dep.target.module
        if module not in names:
            if item.dep.target.type in (OPTYPE.OUTPUT, OPTYPE.PARAMETER):
                return None
            continue  # an operation without weights
        if not isinstance(module, Layer) or None in item.root_idxs:
            if any(True for _ in module.parameters()):
                return None
            continue
        is_input = graph.is_in_channel_pruning_fn(item.dep.handler) and not graph.is_out_channel_pruning_fn(item.dep.handler)
        side: Side = "inputs" if is_input else "out"
        if max(item.idxs) >= width_of(module, side):
            return None  # DepGraph lost track of the channels, as it does behind a transpose
        members.append(Member(names[module], side, dict(zip(item.idxs, item.root_idxs, strict=True))))
    root = names[found[0].dep.target.module]
    return ChannelGroup(root, _importance(graph.model, members, len(found[0].idxs)), tuple(members))


def _importance(model: nn.Module, members: Sequence[Member], channels: int) -> Tensor:
    """Return the score of each channel of a group, shape (C,)."""
    total = torch.zeros(channels)
    for member in members:
        norms = _squared_norms(model.get_submodule(member.path), member.side)
        if norms is not None:
            indices, roots = torch.tensor(list(member.roots)), torch.tensor(list(member.roots.values()))
            total.index_add_(0, roots, norms[indices])
    return total / total.mean().clamp_min(torch.finfo(total.dtype).tiny)


def _squared_norms(layer: nn.Module, side: Side) -> Tensor | None:
    """Return the squared L2 norm of the weights of each channel on one side; None for a layer without weights."""
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor):
        return None
    squares = weight.detach().cpu().float().square()
    if side == "out" or weight.dim() == 1:
        return squares.flatten(1).sum(dim=1) if weight.dim() > 1 else squares
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    by_group = squares.view(groups, -1, squares.shape[1], *squares.shape[2:])  # (groups, out / groups, in / groups, ...)
    return by_group.transpose(1, 2).flatten(0, 1).flatten(1).sum(dim=1)


def _probe(model: nn.Module) -> nn.Module:
    """Return a copy with random vectors: a fresh batch norm's zeros and ones would let wrong groups pass."""
    probe = deepcopy(model).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for vector in probe.parameters():
            if vector.dim() == 1:
                vector.copy_(torch.rand(vector.shape, generator=generator) + 0.5)
    return probe


def _masked(model: nn.Module, plan: PruningPlan) -> nn.Module:
    """Return a copy whose convolutions and dense layers multiply the channels that `plan` drops by zero."""
    masked = deepcopy(model)
    with torch.no_grad():
        for path, kept in plan.inputs.items():
            weight = masked.get_submodule(path).get_parameter("weight")  # (out, in / groups, ...)
            layer = masked.get_submodule(path)
            groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
            dropped = sorted(set(range(width_of(layer, "inputs"))) - set(kept))
            by_group = weight.view(groups, -1, *weight.shape[1:])  # (groups, out / groups, in / groups, ...)
            for index in dropped:
                by_group[index // weight.shape[1], :, index % weight.shape[1]] = 0
    return masked
