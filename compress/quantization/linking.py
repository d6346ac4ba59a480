"""Which channels carry a common factor: numbers for all of them, and the sets that links make of the numbers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper

from .indexing import Graph, tensors_read

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """A constant that writes or reads channels and so absorbs their factors.

    Attributes:
        name: The initializer.
        sets: The set of the channel of each slice along `axis`. Shape (slices,), or (groups, slices) where slices differ between the equal
            parts of axis 0, as the inputs of a grouped convolution do.
        axis: The channels' axis.
        writes: True divides by the factors, False multiplies.
    """

    name: str
    sets: Indices
    axis: int
    writes: bool


@dataclass(frozen=True, slots=True)
class Coupling:
    """The sets of linked channels; set 0 holds every channel that cannot be rescaled.

    Attributes:
        count: Number of sets.
        tensors: For each activation with known channels, the set of every channel.
        axes: The channels' axis of each of these.
        operands: Every constant that has to absorb factors.
        ceilings: Upper bound of each Clip that lets factors through as long as nothing reaches the bound, by the name of its output.
    """

    count: int
    tensors: Mapping[str, Indices]
    axes: Mapping[str, int]
    operands: tuple[Operand, ...]
    ceilings: Mapping[str, float]


class Linker:
    """Numbers every channel of every tensor and collects which numbers belong together."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Know the model's constants and shapes; no channel yet."""
        graph = Graph.of(model)
        self.constants = {name: onnx.numpy_helper.to_array(one) for name, one in graph.constants.items()}
        self.shapes = graph.shapes
        self.size = 1
        self.links: list[tuple[Indices, Indices]] = []
        self.channels: dict[str, tuple[int, Indices]] = {}  # axis and number of each channel
        self.operands: list[Operand] = []
        self.ceilings: dict[str, float] = {}
        self.users = Counter(
            [*(name for node in model.graph.node for name in tensors_read(node)), *(one.name for one in model.graph.output)]
        )

    def finish(self) -> Coupling:
        """Number the sets of linked channels."""
        for one in self.operands:
            if self.users[one.name] > 1:  # a weight that several layers share can absorb one factor only
                self.fix_channels(one.sets)
        labels = _components(self.size, self.links)
        operands = tuple(replace(one, sets=labels[one.sets]) for one in self.operands)
        tensors = {name: labels[ids] for name, (_, ids) in self.channels.items()}
        axes = {name: axis for name, (axis, _) in self.channels.items()}
        return Coupling(int(labels.max()) + 1, tensors, axes, operands, self.ceilings)

    def fresh(self, count: int) -> Indices:
        """Return numbers for new channels."""
        self.size += count
        return np.arange(self.size - count, self.size)

    def write(self, name: str, axis: int, ids: Indices) -> None:
        """Say which channels a tensor has, along which axis."""
        self.channels[name] = (axis, ids)

    def knows_shapes(self, node: onnx.NodeProto) -> bool:
        """Tell whether every tensor that a node reads or writes, constants aside, has a known number of dimensions."""
        return all(name in self.shapes or name in self.constants for name in (*node.input, *node.output) if name)

    def read(self, name: str, axis: int, count: int) -> Indices:
        """Return the numbers of a tensor's channels; zeros, after fixing it, where they are not known or lie along another axis."""
        known_axis, ids = self.channels.get(name, (axis, np.zeros(count, np.intp)))
        if known_axis == axis and len(ids) == count:
            return ids
        self.fix(name)
        return np.zeros(count, np.intp)

    def join(self, first: Indices, second: Indices) -> None:
        """Give channels a common factor, pair by pair."""
        self.links.append((first, second))

    def fix(self, name: str) -> None:
        """Keep the scale of a tensor's channels."""
        if name in self.channels:
            self.fix_channels(self.channels[name][1])

    def fix_channels(self, ids: Indices) -> None:
        """Keep the scale of channels of these numbers."""
        self.join(ids.ravel(), np.zeros(ids.size, np.intp))

    def fix_all(self, node: onnx.NodeProto) -> None:
        """Keep the scale of everything that a node reads."""
        for name in tensors_read(node):
            self.fix(name)

    def absorb(self, name: str, ids: Indices, axis: int, *, writes: bool) -> None:
        """Let a constant take the factors, or fix the channels where it cannot."""
        array = self.constants.get(name)
        if array is not None and array.dtype == np.float32 and -array.ndim <= axis < array.ndim and array.shape[axis] == ids.shape[-1]:
            self.operands.append(Operand(name, ids, axis % array.ndim, writes))
        else:
            self.fix_channels(ids)


def _components(size: int, links: list[tuple[Indices, Indices]]) -> Indices:
    """Number the connected sets of 0..size-1 in the order of their smallest member."""
    labels = np.arange(size)
    if links:
        first, second = (np.concatenate(side) for side in zip(*links, strict=True))
        while True:
            smallest = np.minimum(labels[first], labels[second])
            np.minimum.at(labels, labels[first], smallest)
            np.minimum.at(labels, labels[second], smallest)
            labels = labels[labels]
            if (labels[first] == labels[second]).all() and (labels == labels[labels]).all():
                break
    return np.unique(labels, return_inverse=True)[1].reshape(size)
