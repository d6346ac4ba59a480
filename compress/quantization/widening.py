"""Zero channels for depthwise convolutions: ONNX Runtime's int8 kernel takes sixteen channels at a time and is slow on any other number."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from .indexing import attribute
from .rewriting import Edit, Scene, Shape, chain_kernel, set_attribute_, with_operands
from .scheme import IntegerWeight

_LANES = 16
# What works on each channel alone, so that a channel more disturbs no other.
_CHANNELWISE = frozenset(
    {"Add", "AveragePool", "Clip", "GlobalAveragePool", "HardSigmoid", "HardSwish", "LeakyRelu", "MaxPool", "Mul", "Relu", "Sigmoid"}
)


def widening_edits(scene: Scene) -> Iterator[list[Edit]]:
    """Yield, for every depthwise int8 convolution whose channels are no multiple of 16, the network around it with zero channels more.

    The convolutions before it get more output channels with zero weights, those behind it more input channels with zero weights; nothing that
    reaches an output of the model changes.
    """
    yield from _edits(scene, lambda node: _is_depthwise(scene, node))


def thin_edits(scene: Scene) -> Iterator[list[Edit]]:
    """Yield the same for every convolution whose input channels are no multiple of 16: float kernels work on blocks of as many."""
    yield from _edits(scene, lambda _node: True)


def _edits(scene: Scene, begins: Callable[[NodeProto], bool]) -> Iterator[list[Edit]]:
    """Yield one edit for every group of channels in front of a convolution with which one may begin."""
    done: set[str] = set()
    for node in scene.graph.nodes:
        shape = scene.shapes.get(node.input[0], ()) if node.op_type == "Conv" and node.input else ()
        if len(shape) != 4 or shape[1] % _LANES == 0 or not begins(node) or node.name in done:
            continue
        group = _Group(scene, shape[1], shape[1] + -shape[1] % _LANES)
        fits = group.reach_(node.input[0])
        done.update(group.inner | group.users)
        if fits:
            yield [group.edit()]


@dataclass(slots=True)
class _Group:
    """Tensors that get the same zero channels, because nodes that work channel by channel tie them together.

    Attributes:
        scene: What is rewritten.
        channels: Channels that these tensors have.
        wide: Channels that they get.
        tensors: The tensors.
        inner: Names of the nodes between them.
        makers: Names of the convolutions that write one of them from others.
        users: Names of the convolutions that read one of them and write others.
    """

    scene: Scene
    channels: int
    wide: int
    tensors: set[str] = field(default_factory=set[str])
    inner: set[str] = field(default_factory=set[str])
    makers: set[str] = field(default_factory=set[str])
    users: set[str] = field(default_factory=set[str])

    def reach_(self, start: str) -> bool:
        """Collect the group around a tensor; False where it ends at something that cannot be widened."""
        waiting = [start]
        while waiting:
            name = waiting.pop()
            if name in self.tensors:
                continue
            shape, producer = self.scene.shapes.get(name, ()), self.scene.graph.producer.get(name)
            if len(shape) != 4 or shape[1] != self.channels or name in self.scene.graph.outputs or producer is None:
                return False
            self.tensors.add(name)
            for node in (producer, *self.scene.graph.consumers.get(name, ())):
                more = self._pass_(node, name)
                if more is None:
                    return False
                waiting += more
        return True

    def _pass_(self, node: NodeProto, name: str) -> list[str] | None:
        """Return the tensors that a node ties to `name`, None where it cannot take more channels."""
        if node.op_type == "Conv" and self.scene.is_int8(node) and node.input[1] in self.scene.scheme.weights:
            if _is_depthwise(self.scene, node):
                self.inner.add(node.name)
                return [node.input[0], node.output[0]]
            if attribute(node, "group", 1) == 1:
                (self.makers if name in node.output else self.users).add(node.name)
                return []
            return None
        if node.op_type not in _CHANNELWISE or len(node.output) != 1:
            return None
        self.inner.add(node.name)
        operands = [one for one in node.input if one]
        if any(one in self.scene.graph.constants and np.prod(self.scene.graph.constants[one].dims) != 1 for one in operands):
            return None
        return [one for one in (*operands, node.output[0]) if one not in self.scene.graph.constants]

    def edit(self) -> Edit:
        """Return the edit that widens all of the group."""
        nodes: dict[str, tuple[NodeProto, ...]] = {}
        constants: dict[str, npt.NDArray[np.generic]] = {}
        weights: dict[str, IntegerWeight] = {}
        shapes: dict[str, Shape] = {name: (one[0], self.wide, *one[2:]) for name in self.tensors for one in [self.scene.shapes[name]]}
        touched = [node for node in self.scene.graph.nodes if node.name in self.inner | self.makers | self.users]
        for node in touched:
            if node.op_type == "Conv":
                nodes[node.name] = (self._wider(node, constants, weights),)
        kind = "depthwise " if self.inner.intersection(nodes) else ""
        timed = [node for node in touched if self.scene.is_int8(node) and node.op_type not in ("Clip", "Relu")]
        return Edit(
            f"{self.wide - self.channels} zero channels around {kind}convolutions",
            nodes,
            constants,
            weights=weights,
            resized=frozenset(self.tensors),
            before=tuple(chain_kernel(self.scene, [node]) for node in timed),
            after=tuple(chain_kernel(self.scene, nodes.get(node.name, (node,)), shapes, constants) for node in timed),
        )

    def _wider(self, node: NodeProto, constants: dict[str, npt.NDArray[np.generic]], weights: dict[str, IntegerWeight]) -> NodeProto:
        """Return a convolution with zero weights for the new channels."""
        weight, own = self.scene.array(node.input[1]), self.scene.scheme.weights[node.input[1]]
        more = self.wide - self.channels
        is_depthwise = node.name in self.inner
        outputs = more if is_depthwise or node.name in self.makers else 0
        inputs = more if node.name in self.users else 0
        margin = ((0, outputs), (0, inputs), (0, 0), (0, 0))
        padded = np.pad(weight, margin)
        names = [node.input[0], f"{node.name}_weight_{padded.shape[0]}x{padded.shape[1]}"]
        constants[names[1]] = padded
        scale = own.scale if own.axis is None else np.pad(own.scale, (0, outputs), constant_values=1)
        weights[names[1]] = IntegerWeight(np.pad(own.values, margin), scale, own.axis)
        names += node.input[2:]
        if len(names) > 2 and names[2] and outputs:
            names[2] = f"{node.name}_bias_{padded.shape[0]}"
            constants[names[2]] = np.pad(self.scene.array(node.input[2]), (0, outputs))
        copy = with_operands(node, names)
        if is_depthwise:
            set_attribute_(copy, "group", self.wide)
        return copy


def _is_depthwise(scene: Scene, node: NodeProto) -> bool:
    shape = scene.shapes.get(node.input[0], ())
    weight = scene.graph.constants.get(node.input[1])
    is_int8 = scene.is_int8(node) and node.input[1] in scene.scheme.weights
    return is_int8 and weight is not None and len(shape) == 4 and weight.dims[0] == shape[1] == attribute(node, "group", 1)
