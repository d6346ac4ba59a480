"""Bring the channels of each activation to the same range, so that one 8-bit grid serves them all.

An activation has one scale. A channel that reaches a tenth of the range of the widest uses a tenth of its levels; divided by its own factor it uses
all. The layers around absorb the factors (`coupling`): exactly, and at no cost at run time. Weights pay a little, because the columns
that read a channel are multiplied; second-order rounding wins that back. SmoothQuant (arXiv 2211.10438) makes the same trade for transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper

from ...graph.copying import copy_model
from ...runtime.errors import ConfigError
from .coupling import couple
from .linking import Coupling, Operand
from .simulation import replace_initializers_
from .statistics import Statistics

Floats = npt.NDArray[np.float64]

# A channel that hardly ever moves would get weights of a hundred times their size behind it.
_LEAST_FACTOR = 0.02
# How far below a Clip's bound a channel must stay, as images will come that were not among the calibration images.
_CLIP_MARGIN = 1.1


@dataclass(frozen=True, slots=True)
class Equalised:
    """A rescaled model; it computes the same outputs.

    Attributes:
        model: The model.
        factors: For each activation that changed, the number by which each channel was divided; statistics have to be taken again.
    """

    model: onnx.ModelProto
    factors: Mapping[str, npt.NDArray[np.float32]]


def equalise(model: onnx.ModelProto, statistics: Statistics, *, strength: float = 0.5) -> Equalised:
    """Divide linked channels by factors that bring them to the range of the widest.

    Channels linked over several activations, such as a residual stream, get the largest of their relative ranges: no activation's range grows.

    Args:
        model: Prepared float model; it is not changed.
        statistics: Ranges of the channels of its activations; activations that are not there have no say.
        strength: 1 makes all ranges equal, 0 changes nothing, between them the factor's power. Full strength is best for ResNets (0.6 to 1.8 dB);
            half of it gains less there, and does not harm nets of depthwise convolutions.

    Raises:
        ConfigError: The strength is not between 0 and 1.
    """
    if not 0 <= strength <= 1:
        raise ConfigError("strength must be between 0 and 1", strength, "1 makes the ranges of all channels equal")
    coupling = couple(model)
    ranges = _channel_ranges(coupling, statistics)
    factors = _factors(coupling, ranges, strength)
    changed = {name: factors[sets].astype(np.float32) for name, sets in coupling.tensors.items() if (factors[sets] != 1).any()}
    return Equalised(rescale(model, coupling, factors), changed)


def rescale(model: onnx.ModelProto, coupling: Coupling, factors: Floats) -> onnx.ModelProto:
    """Return the model with each set of channels divided by its factor, and every constant that meets them changed to match.

    Args:
        model: The model that `coupling` was made from; it is not changed.
        coupling: Its linked channels.
        factors: A positive number for each set; 1 for set 0.
    """
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    changed: dict[str, npt.NDArray[np.float32]] = {}
    for operand in coupling.operands:
        if (factors[operand.sets] != 1).any():
            before = changed.get(operand.name, arrays[operand.name])
            changed[operand.name] = _absorbed(operand, before, factors[operand.sets])
    rescaled = copy_model(model)
    replace_initializers_(rescaled, changed)
    return rescaled


def _absorbed(operand: Operand, array: npt.NDArray[np.float32], factors: Floats) -> npt.NDArray[np.float32]:
    """Multiply or divide the slices of a constant along its channels' axis, for each group apart where there are several."""
    factors = 1 / factors if operand.writes else factors
    if factors.ndim == 1:
        return (array * factors.reshape([-1 if axis == operand.axis else 1 for axis in range(array.ndim)])).astype(np.float32)
    groups, slices = factors.shape
    split = array.reshape(groups, -1, *array.shape[1:])
    return (split * factors.reshape(groups, 1, slices, *[1] * (array.ndim - 2))).reshape(array.shape).astype(np.float32)


def _channel_ranges(coupling: Coupling, statistics: Statistics) -> dict[str, Floats]:
    """Return the largest absolute value of each channel of each activation that was observed channel by channel."""
    ranges: dict[str, Floats] = {}
    for name, sets in coupling.tensors.items():
        one = statistics.tensors.get(name)
        if one is not None and one.axis == coupling.axes[name] and len(one.channel_high) == len(sets):
            ranges[name] = np.maximum(one.channel_high, -one.channel_low).astype(np.float64)
    return ranges


def _factors(coupling: Coupling, ranges: Mapping[str, Floats], strength: float) -> Floats:
    factors = np.zeros(coupling.count)
    for name, highest in ranges.items():
        if highest.max() > 0:
            np.maximum.at(factors, coupling.tensors[name], highest / highest.max())
    factors[factors == 0] = 1  # never observed, or always zero
    factors = np.maximum(factors, _LEAST_FACTOR) ** strength
    for name, ceiling in coupling.ceilings.items():
        sets = coupling.tensors[name]
        least = ranges[name] * _CLIP_MARGIN / ceiling if name in ranges else np.ones(len(sets))
        np.maximum.at(factors, sets, np.minimum(least, 1))
    factors[0] = 1
    return factors
