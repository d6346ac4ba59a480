"""What a quantized model is made of: the nodes that compute on integers, and the grid on which each tensor lies."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ...runtime.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Grid:
    """Evenly spaced values that 8 bits can name: real = scale * (integer - zero_point), in float32.

    Attributes:
        scale: Distance of two neighbours; a float32 number above 0.
        zero_point: The integer that means 0.
        signed: int8 (-128 to 127) instead of uint8 (0 to 255).
    """

    scale: float
    zero_point: int
    signed: bool = False

    def __post_init__(self) -> None:
        """Refuse a grid that no 8-bit type holds.

        Raises:
            ConfigError: The scale is not a positive number, or the zero point does not fit the type.
        """
        if not 0 < self.scale < float("inf"):
            raise ConfigError("a scale must be a positive number", self.scale, "calibrate the model again")
        if not self.lowest <= self.zero_point <= self.highest:
            raise ConfigError("a zero point must fit its type", self.zero_point, f"{self.lowest} to {self.highest}")

    @property
    def lowest(self) -> int:
        """Smallest integer."""
        return -128 if self.signed else 0

    @property
    def highest(self) -> int:
        """Largest integer."""
        return 127 if self.signed else 255

    @property
    def low(self) -> float:
        """Smallest real value."""
        return self.scale * (self.lowest - self.zero_point)

    @property
    def high(self) -> float:
        """Largest real value."""
        return self.scale * (self.highest - self.zero_point)

    @property
    def dtype(self) -> type[np.int8 | np.uint8]:
        """The integers' type."""
        return np.int8 if self.signed else np.uint8

    @classmethod
    def covering(cls, low: float, high: float, *, signed: bool = False, symmetric: bool = False) -> "Grid":
        """Return the finest grid that reaches from `low` to `high` and holds 0 exactly.

        Zero is always inside: padding and ReLU make exact zeros, and a grid without them would shift all of these.

        Args:
            low: Smallest value to represent.
            high: Largest value to represent.
            signed: int8 instead of uint8.
            symmetric: Put 0 in the middle, as providers such as TensorRT demand.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        if symmetric:
            low, high = -max(-low, high), max(-low, high)
        levels = 254 if symmetric else 255  # the range of a symmetric grid leaves one integer out
        # A tensor of zeros has any scale; the smallest normal float32 bounds the division by it.
        scale = float(np.float32(max((high - low) / levels, np.finfo(np.float32).tiny)))
        lowest = -128 if signed else 0
        zero_point = lowest + 128 if symmetric else round(min(max(-low / scale, 0.0), 255.0)) + lowest
        return cls(scale, zero_point, signed)

    def quantize(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.int8 | np.uint8]:
        """Return the nearest integers, ties to even, as ONNX's QuantizeLinear does."""
        integers = np.rint(values / np.float32(self.scale)) + np.float32(self.zero_point)
        return np.clip(integers, self.lowest, self.highest).astype(self.dtype)

    def dequantize(self, integers: npt.NDArray[np.int8 | np.uint8]) -> npt.NDArray[np.float32]:
        """Return the real values, as ONNX's DequantizeLinear does."""
        return (integers.astype(np.int32) - self.zero_point).astype(np.float32) * np.float32(self.scale)


def gate_grid(slope: float = 1.0, *, signed: bool = False) -> Grid:
    """Return the grid of values in [0, 1 / slope]: what ends a HardSigmoid of this slope, and holds its results where the slope is 1."""
    return Grid(float(np.float32(1 / (255 * slope))), -128 if signed else 0, signed)


@dataclass(frozen=True, slots=True, eq=False)
class IntegerWeight:
    """A weight as int8, symmetric: real = scale * integer.

    Attributes:
        values: The integers, in the weight's own shape.
        scale: One scale for each slice along `axis`, shape (slices,) float32; shape () where `axis` is None.
        axis: The output channels' axis, or None for one scale.
    """

    values: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    axis: int | None = 0

    def dequantize(self) -> npt.NDArray[np.float32]:
        """Return the real values, in the weight's shape."""
        return self.values.astype(np.float32) * spread(self.scale, self.values.ndim, self.axis)


@dataclass(frozen=True, slots=True)
class Scheme:
    """Everything that the QDQ writer needs to know; all of it by the float model's own names.

    Attributes:
        nodes: Names of the nodes that compute on integers.
        activations: Grid of each tensor that such a node reads or writes.
        weights: Constant operands of these nodes, by initializer name.
    """

    nodes: frozenset[str]
    activations: Mapping[str, Grid]
    weights: Mapping[str, IntegerWeight] = field(default_factory=dict[str, IntegerWeight])


def spread(scale: npt.NDArray[np.float32], ndim: int, axis: int | None) -> npt.NDArray[np.float32]:
    """Return per-slice scales in a shape that multiplies a weight of `ndim` dimensions."""
    return scale if axis is None else scale.reshape([-1 if one == axis else 1 for one in range(ndim)])


def round_weight(weight: npt.NDArray[np.float32], axis: int | None = 0, *, bits: int = 8) -> IntegerWeight:
    """Return the weight rounded to the nearest integers on a symmetric grid.

    Args:
        weight: Any shape, float32.
        axis: The output channels' axis, or None for one scale.
        bits: 8, or 7 where the sums of two products must fit 16 bits.
    """
    top = 2 ** (bits - 1) - 1  # -128 is left out: the grid is symmetric
    others = None if axis is None else tuple(one for one in range(weight.ndim) if one != axis)
    largest = np.abs(weight).max(axis=others, initial=0)
    # Of a channel of subnormal numbers the scale would be 0.
    scale = np.where(largest > top * np.finfo(np.float32).tiny, largest / top, 1).astype(np.float32)
    values = np.clip(np.rint(weight / spread(scale, weight.ndim, axis)), -top, top).astype(np.int8)
    return IntegerWeight(values, scale, axis)
