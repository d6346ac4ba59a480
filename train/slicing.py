"""Cutting channels out of single layers, in place: convolution, dense, batch and layer normalisation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import (
    _BatchNorm as BatchNorm,  # pyright: ignore[reportPrivateUsage]  # the only common class of BatchNorm1d, 2d and 3d
)

from ..runtime.errors import ModelError

Indices = tuple[int, ...]


def slice_(layer: nn.Module, path: str, out: Indices | None, inputs: Indices | None) -> None:
    """Cut one layer to the channels that are kept, in place.

    Args:
        layer: Conv2d (grouped and depthwise too), Linear, BatchNorm or LayerNorm over the last dimension.
        path: Its name, for messages.
        out: Kept outputs, increasing; None keeps all.
        inputs: Kept inputs, increasing; None keeps all. A layer whose outputs are its inputs takes `out` alone.

    Raises:
        ModelError: An index is out of range, groups would become unequal, or the layer is of another kind.
    """
    match layer:
        case nn.Conv2d() if layer.groups == layer.in_channels == layer.out_channels:
            _slice_depthwise_(layer, _only(path, out, inputs), path)
        case nn.Conv2d():
            _slice_conv_(layer, out, inputs, path)
        case nn.Linear():
            _slice_linear_(layer, out, inputs, path)
        case BatchNorm():
            _slice_batch_norm_(layer, _only(path, out, inputs), path)
        case nn.LayerNorm():
            _slice_layer_norm_(layer, _only(path, out, inputs), path)
        case _:
            raise ModelError(
                "this kind of module cannot be cut",
                f"{path} ({type(layer).__name__})",
                "a plan may name Conv2d, Linear, BatchNorm and LayerNorm",
            )


def _slice_depthwise_(conv: nn.Conv2d, kept: Indices, path: str) -> None:
    _check(path, kept, conv.out_channels)
    _cut_(conv, "weight", kept)  # (C, 1, kh, kw)
    _cut_(conv, "bias", kept)
    conv.in_channels = conv.out_channels = conv.groups = len(kept)


def _slice_conv_(conv: nn.Conv2d, out: Indices | None, inputs: Indices | None, path: str) -> None:
    out = tuple(range(conv.out_channels)) if out is None else out
    inputs = tuple(range(conv.in_channels)) if inputs is None else inputs
    _check(path, out, conv.out_channels)
    _check(path, inputs, conv.in_channels)
    outs = _by_group(out, conv.out_channels // conv.groups)
    ins = _by_group(inputs, conv.in_channels // conv.groups)
    if outs.keys() != ins.keys() or len({*map(len, outs.values())}) > 1 or len({*map(len, ins.values())}) > 1:
        raise ModelError(
            "a grouped convolution must keep the same number of channels in every group it keeps",
            f"{path}: {conv.groups} groups, outputs by group {[len(one) for one in outs.values()]}, inputs {[len(one) for one in ins.values()]}",
            "name outputs and inputs of the same groups",
        )
    offset = conv.in_channels // conv.groups
    rows = [conv.weight[outs[g]][:, [i - g * offset for i in ins[g]]] for g in outs]  # (out of g, in of g, kh, kw) each
    conv.weight = _parameter(torch.cat(rows), conv.weight)
    _cut_(conv, "bias", out)
    conv.out_channels, conv.in_channels, conv.groups = len(out), len(inputs), len(outs)


def _slice_linear_(linear: nn.Linear, out: Indices | None, inputs: Indices | None, path: str) -> None:
    if out is not None:
        _check(path, out, linear.out_features)
        _cut_(linear, "weight", out)
        _cut_(linear, "bias", out)
        linear.out_features = len(out)
    if inputs is not None:
        _check(path, inputs, linear.in_features)
        linear.weight = _parameter(linear.weight[:, list(inputs)], linear.weight)
        linear.in_features = len(inputs)


def _slice_batch_norm_(norm: BatchNorm, kept: Indices, path: str) -> None:
    _check(path, kept, norm.num_features)
    for name in ("weight", "bias", "running_mean", "running_var"):
        _cut_(norm, name, kept)
    norm.num_features = len(kept)


def _slice_layer_norm_(norm: nn.LayerNorm, kept: Indices, path: str) -> None:
    if len(norm.normalized_shape) != 1:
        raise ModelError(
            "only a LayerNorm over the last dimension can be cut", f"{path}: {norm.normalized_shape}", "leave it out of the plan"
        )
    _check(path, kept, norm.normalized_shape[0])
    _cut_(norm, "weight", kept)
    _cut_(norm, "bias", kept)
    norm.normalized_shape = (len(kept),)


def _only(path: str, out: Indices | None, inputs: Indices | None) -> Indices:
    """Return the one set of channels of a layer whose outputs are its inputs."""
    kept = inputs if out is None else out
    if kept is None or (inputs is not None and inputs != kept):
        raise ModelError("this layer's outputs are its inputs, but the plan keeps others", path, "name its channels in `out` alone")
    return kept


def _check(path: str, kept: Indices, channels: int) -> None:
    if kept[-1] >= channels:
        raise ModelError(
            "a kept channel is out of range", f"{path}: channel {kept[-1]} of {channels}", "the plan was made for another model"
        )


def _by_group(kept: Indices, size: int) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for index in kept:
        groups.setdefault(index // size, []).append(index)
    return groups


def _cut_(layer: nn.Module, name: str, kept: Sequence[int]) -> None:
    """Keep rows of a parameter or buffer; one that the layer was built without stays absent."""
    tensor = getattr(layer, name)
    if isinstance(tensor, nn.Parameter):
        setattr(layer, name, _parameter(tensor[list(kept)], tensor))
    elif isinstance(tensor, Tensor):
        setattr(layer, name, tensor[list(kept)].contiguous())


def _parameter(values: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().contiguous(), requires_grad=like.requires_grad)
