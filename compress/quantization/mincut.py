"""The fastest choice between int8 and float for every part of a model, conversions included: a minimum cut, so no choice is faster.

Every part is a vertex between a source (int8) and a sink (float). An edge that a choice cuts costs the microseconds that the choice costs, so
the cheapest cut is the fastest model (Greig, Porteous and Seheult 1989, "Exact maximum a posteriori estimation for binary images").
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...runtime.errors import ConfigError

_SOURCE, _SINK = 0, 1


@dataclass(frozen=True, slots=True)
class Choice:
    """A part of the model that computes either in float or in int8.

    Attributes:
        name: What the answer and `Conversion` call it.
        float_us: Its time in float, microseconds; infinite where it must be int8.
        int8_us: Its time in int8; infinite where it must stay float.
        error: What int8 costs in accuracy, in any unit; `cheapest` puts a price on it.
    """

    name: str
    float_us: float
    int8_us: float
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class Conversion:
    """A tensor between parts. It is converted once for all its readers, in each direction that is needed.

    Attributes:
        producer: The part that writes it; None for what stays float, such as the model's inputs.
        consumers: The parts that read it; None among them reads float, such as the caller who reads an output.
        quantize_us: Time of turning it into integers.
        dequantize_us: Time of turning it into float.
    """

    producer: str | None
    consumers: tuple[str | None, ...]
    quantize_us: float
    dequantize_us: float


def cheapest(choices: Sequence[Choice], conversions: Iterable[Conversion] = (), *, us_per_error: float = 0.0) -> frozenset[str]:
    """Return the names of the parts that are int8 in the fastest assignment; among equally fast ones that with the fewest.

    Args:
        choices: The parts, each with a name of its own.
        conversions: The tensors between them.
        us_per_error: Microseconds that one unit of `Choice.error` is worth.

    Raises:
        ConfigError: Two parts have one name, a conversion names an unknown part, or a time is negative or not a number.
    """
    _check(choices, conversions := tuple(conversions), us_per_error)
    vertices = {choice.name: number for number, choice in enumerate(choices, 2)}
    network = _Network(2 + len(choices))
    for choice in choices:
        network.add_edge(_SOURCE, vertices[choice.name], choice.float_us)
        network.add_edge(vertices[choice.name], _SINK, choice.int8_us + us_per_error * choice.error)
    for tensor in conversions:
        _connect_(network, tensor, vertices)
    int8 = network.cut()
    return frozenset(name for name, vertex in vertices.items() if vertex in int8)


def cost_us(choices: Iterable[Choice], conversions: Iterable[Conversion], int8: frozenset[str], *, us_per_error: float = 0.0) -> float:
    """Return the time of an assignment in microseconds, with the price of its errors: what `cheapest` makes as small as it can be."""
    parts = sum(one.int8_us + us_per_error * one.error if one.name in int8 else one.float_us for one in choices)
    return parts + sum(_conversion_us(one, int8) for one in conversions)


def _conversion_us(tensor: Conversion, int8: frozenset[str]) -> float:
    if tensor.producer in int8:
        return tensor.dequantize_us if any(one not in int8 for one in tensor.consumers) else 0.0
    return tensor.quantize_us if any(one in int8 for one in tensor.consumers) else 0.0


def _connect_(network: "_Network", tensor: Conversion, vertices: Mapping[str, int]) -> None:
    """Add one vertex for "some reader is float" and one for "some reader is int8", so that many readers share one conversion."""
    readers = {_SINK if one is None else vertices[one] for one in tensor.consumers}
    producer = _SINK if tensor.producer is None else vertices[tensor.producer]
    if tensor.producer is not None:
        some_float = network.add_vertex()
        network.add_edge(producer, some_float, tensor.dequantize_us)
        for reader in sorted(readers):
            network.add_edge(some_float, reader, math.inf)
    some_int8 = network.add_vertex()
    network.add_edge(some_int8, producer, tensor.quantize_us)
    for reader in sorted(readers - {_SINK}):
        network.add_edge(reader, some_int8, math.inf)


class _Network:
    """A flow network, and its maximum flow by Dinic's algorithm (1970): shortest augmenting paths, one layering at a time."""

    def __init__(self, vertices: int) -> None:
        self.edges_of: list[list[int]] = [[] for _ in range(vertices)]
        self.target: list[int] = []
        self.room: list[float] = []  # edge `e` and its reverse `e ^ 1` lie side by side

    def add_vertex(self) -> int:
        """Return a new vertex."""
        self.edges_of.append([])
        return len(self.edges_of) - 1

    def add_edge(self, start: int, end: int, capacity: float) -> None:
        """Let flow pass from `start` to `end`."""
        for source, target, room in ((start, end, capacity), (end, start, 0.0)):
            self.edges_of[source].append(len(self.target))
            self.target.append(target)
            self.room.append(room)

    def cut(self) -> set[int]:
        """Return the vertices on the source's side of a minimum cut, the smallest such set."""
        while (depth := self._layers())[_SINK] >= 0:
            next_edge = [0] * len(self.edges_of)
            while path := self._path(depth, next_edge):
                flow = min(self.room[edge] for edge in path)
                for edge in path:
                    self.room[edge] -= flow
                    self.room[edge ^ 1] += flow
                if math.isinf(flow):
                    raise ConfigError("a part can be neither float nor int8", "infinite time both ways", "pin it to one of them")
        return {vertex for vertex, layer in enumerate(depth) if layer >= 0}

    def _layers(self) -> list[int]:
        """Return each vertex's distance from the source along edges with room, -1 where none leads."""
        depth = [-1] * len(self.edges_of)
        depth[_SOURCE] = 0
        queue = deque([_SOURCE])
        while queue:
            vertex = queue.popleft()
            for edge in self.edges_of[vertex]:
                if self.room[edge] > _TINY and depth[self.target[edge]] < 0:
                    depth[self.target[edge]] = depth[vertex] + 1
                    queue.append(self.target[edge])
        return depth

    def _path(self, depth: list[int], next_edge: list[int]) -> list[int]:
        """Return the edges of a path that goes one layer deeper with every step, empty where none is left."""
        path: list[int] = []
        vertex = _SOURCE
        while vertex != _SINK:
            if next_edge[vertex] < len(self.edges_of[vertex]):
                edge = self.edges_of[vertex][next_edge[vertex]]
                if self.room[edge] > _TINY and depth[self.target[edge]] == depth[vertex] + 1:
                    path.append(edge)
                    vertex = self.target[edge]
                else:
                    next_edge[vertex] += 1
            elif path:  # a dead end: go back and take the next way
                vertex = self.target[path.pop() ^ 1]
                next_edge[vertex] += 1
            else:
                return []
        return path


_TINY = 1e-9  # microseconds; what subtracting floats leaves over is no room


def _check(choices: Sequence[Choice], conversions: Iterable[Conversion], us_per_error: float) -> None:
    names = {choice.name for choice in choices}
    if len(names) < len(choices):
        raise ConfigError("every part needs a name of its own", ", ".join(sorted(one.name for one in choices)), "rename one")
    for tensor in conversions:
        unknown = {one for one in (tensor.producer, *tensor.consumers) if one is not None} - names
        if unknown:
            raise ConfigError("a conversion names an unknown part", ", ".join(sorted(unknown)), f"the parts are {', '.join(sorted(names))}")
    times = [us_per_error, *(t for c in choices for t in (c.float_us, c.int8_us, c.error))]
    times += [t for one in conversions for t in (one.quantize_us, one.dequantize_us)]
    if any(math.isnan(one) or one < 0 for one in times):
        raise ConfigError("times, errors and prices must be numbers of at least 0", min(times), "measure them again")
