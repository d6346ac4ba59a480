"""Weights of several layers, one beside the other, so that a kernel computes for each of them what it did before."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .qdq import fit_to_bias
from .scheme import Grid, IntegerWeight

Floats = npt.NDArray[np.float32]

_SCALES = 512  # that are tried for a joint output: of two layers of 8 channels nearly all find one, of 16 seven in ten, of 32 one in seven
_NEIGHBOURS = 2  # float32 numbers on either side of a weight's scale


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What a product multiplies by.

    Attributes:
        weight: The weight.
        integers: The same as int8, one scale a channel; None where the layer is float.
        bias: One value a channel, or None.
        axis: The weight's axis of output channels.
    """

    weight: Floats
    integers: IntegerWeight | None
    bias: Floats | None
    axis: int

    @property
    def channels(self) -> int:
        """Number of output channels."""
        return self.weight.shape[self.axis]


def join(parts: Sequence[Part]) -> Part:
    """Lay weights beside each other."""
    axis = parts[0].axis
    weight = np.concatenate([one.weight for one in parts], axis)
    known = [one.integers for one in parts if one.integers is not None]
    integers = None
    if len(known) == len(parts):
        integers = IntegerWeight(np.concatenate([one.values for one in known], axis), np.concatenate([one.scale for one in known]), axis)
    biases = [np.zeros(one.channels, np.float32) if one.bias is None else one.bias for one in parts]
    return Part(weight, integers, np.concatenate(biases) if any(one.bias is not None for one in parts) else None, axis)


def join_on_one_grid(source: Grid, grids: Sequence[Grid], parts: Sequence[Part]) -> tuple[Grid, Part] | None:
    """Lay int8 convolutions beside each other so that a kernel with one output grid gives each the integers that it had on its own grid.

    A kernel multiplies its sums by source scale * weight scale / output scale, in float32. Another output scale asks for other weight scales; as
    products of float32 numbers are rounded, not every multiplier can be had with every output scale, so many are tried.

    Args:
        source: The input's grid.
        grids: The outputs' grids, with one zero point.
        parts: The layers.

    Returns:
        The joint grid and the joint layer; None where no scale gives every channel the very multiplier that it had, or a bias would change.
    """
    layers = [(one.integers, one.bias) for one in parts]
    if any(
        integers is None or (bias is not None and fit_to_bias(integers, bias, source.scale) is not integers) for integers, bias in layers
    ):
        return None
    joint = join(parts)
    assert joint.integers is not None
    step = np.float32(source.scale)
    own = np.concatenate([np.full(part.channels, grid.scale, np.float32) for part, grid in zip(parts, grids, strict=True)])
    multipliers = step * joint.integers.scale / own
    for exponent in range(_SCALES):
        scale = np.float32(grids[0].scale * 2 ** (exponent / _SCALES))
        scales = _weight_scales(multipliers, step, scale)
        if scales is not None:
            return _rescaled(joint, scales, step, Grid(float(scale), grids[0].zero_point, grids[0].signed))
    return None


def _weight_scales(multipliers: Floats, step: np.float32, scale: np.float32) -> Floats | None:
    """Return the weight scales that give these multipliers with another output scale, None where one of them is not to be had."""
    lower = higher = (multipliers.astype(np.float64) * scale / step).astype(np.float32)
    found = lower.copy()
    missing = step * found / scale != multipliers
    for _ in range(_NEIGHBOURS):
        lower, higher = np.nextafter(lower, np.float32(0)), np.nextafter(higher, np.float32(np.inf))
        for near in (lower, higher):
            found = np.where(missing & (step * near / scale == multipliers), near, found)
        missing = step * found / scale != multipliers
    return None if missing.any() else found


def _rescaled(joint: Part, scales: Floats, step: np.float32, grid: Grid) -> tuple[Grid, Part] | None:
    """Return the layer with other weight scales, and a bias that becomes the same int32 numbers; None where float32 cannot hold it."""
    assert joint.integers is not None
    before, after = step * joint.integers.scale, step * scales
    weight = joint.weight * (scales / joint.integers.scale).reshape(-1, *[1] * (joint.weight.ndim - 1))
    bias = joint.bias
    if bias is not None:
        integers = np.rint(bias / before.astype(np.float64))
        bias = (integers * after).astype(np.float32)
        if not np.array_equal(np.rint(bias / after.astype(np.float64)), integers):
            return None
    changed = IntegerWeight(joint.integers.values, scales, joint.axis)
    if bias is not None and fit_to_bias(changed, bias, float(step)) is not changed:
        return None
    return grid, Part(weight.astype(np.float32), changed, bias, joint.axis)
