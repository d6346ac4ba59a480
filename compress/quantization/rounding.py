"""Round weights so that a layer's output, not each weight, comes out nearest: second-order rounding.

After one weight is rounded, the weights that are not yet rounded move to make up for its error on the inputs that the layer really sees.
Frantar & Alistarh 2022 (arXiv 2208.11580) derive it, GPTQ (arXiv 2210.17323) orders it so that one Cholesky factor does. The inputs here are those of
the quantized network.

A layer could also make up for the errors before it, with the float network's inputs as a second set of moments. On 64 images that is learned by
heart: 36 dB on them and 29 dB on others, where 33 dB on both come out without (ResNet-20).
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .patches import Layer
from .scheme import IntegerWeight, spread

Array = npt.NDArray[np.float64]

_SWEEPS = 2
_DAMPING = 0.03  # of the mean of the Hessian's diagonal


def round_layer(layer: Layer, weight: Array, nearest: IntegerWeight, hessian: Array) -> IntegerWeight:
    """Return the weight with its integers chosen anew, on the same scales; no output channel's error grows.

    Args:
        layer: Where the weight is used.
        weight: Its real values.
        nearest: Its integers so far.
        hessian: Sum of x x^T over input vectors x of the layer, for each group of channels; shape (groups, K, K).
    """
    scale = np.broadcast_to(spread(nearest.scale, weight.ndim, nearest.axis), weight.shape)
    goal = layer.rows(weight / scale)  # (groups, rows, K), in steps
    before = layer.rows(nearest.values.astype(np.float64))
    top = 127 if np.abs(nearest.values).max(initial=0) > 63 else 63
    damped = hessian + _damping(hessian)
    integers = _descend(_one_by_one(goal, damped, top), goal, damped, top)
    better = _errors(integers, goal, hessian) < _errors(before, goal, hessian)
    chosen = np.where(better[:, :, None], integers, before)
    return replace(nearest, values=layer.unrows(chosen, weight.shape).astype(np.int8))


def _damping(hessian: Array) -> Array:
    size = hessian.shape[-1]
    mean = np.trace(hessian, axis1=1, axis2=2) / size
    return np.eye(size) * np.maximum(mean * _DAMPING, 1e-12)[:, None, None]


def _one_by_one(goal: Array, hessian: Array, top: int) -> Array:
    """Round column by column, the most important first; each error moves to the columns that are left."""
    order = np.argsort(-np.einsum("gkk->k", hessian), kind="stable")
    weights, inverse = goal[:, :, order].copy(), np.linalg.inv(hessian[:, order][:, :, order])
    factor = np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2).transpose(0, 2, 1)  # upper: inverse = factor^T factor
    integers = np.empty_like(weights)
    for start in range(0, len(order), 64):
        stop = min(start + 64, len(order))
        errors = np.empty_like(weights[:, :, start:stop])
        for index in range(start, stop):
            column = weights[:, :, index]
            integers[:, :, index] = np.clip(np.rint(column), -top, top)
            error = (column - integers[:, :, index]) / factor[:, index, index, None]
            weights[:, :, index:stop] -= error[:, :, None] * factor[:, None, index, index:stop]
            errors[:, :, index - start] = error
        weights[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return integers[:, :, np.argsort(order)]


def _descend(integers: Array, goal: Array, hessian: Array, top: int) -> Array:
    """Move single integers where that lowers the error, a few sweeps over all columns."""
    slopes = (integers - goal) @ hessian
    for _ in range(_SWEEPS):
        for index in range(integers.shape[2]):
            column = integers[:, :, index]
            best = np.clip(np.rint(column - slopes[:, :, index] / hessian[:, None, index, index]), -top, top)
            if (moved := best - column).any():
                slopes += moved[:, :, None] * hessian[:, None, index]
                integers[:, :, index] = best
    return integers


def _errors(integers: Array, goal: Array, hessian: Array) -> Array:
    """Return each output channel's squared error over the calibration patches, in squared steps of its weights."""
    difference = integers - goal
    return np.einsum("grk,grk->gr", difference @ hessian, difference)
