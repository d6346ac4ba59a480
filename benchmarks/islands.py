"""Where a graph leaves the integers: float islands between int8 layers, conversions that did not fuse, and what they cost."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .executed import Executed

_Step = Callable[[Executed, Sequence[Executed]], list[Executed]]


@dataclass(frozen=True, slots=True)
class Island:
    """Connected nodes off the integers, with integer nodes before and behind.

    Attributes:
        nodes: Names of its executed nodes, in order, the conversions at its shores included.
        core: Titles of those that are no conversion; empty where a DequantizeLinear meets a QuantizeLinear.
        before: Titles of the integer nodes that feed it.
        behind: Titles of the integer nodes that it feeds.
        us: Time of all its nodes in one run, microseconds.
        share: Their part of the time of all nodes, 0 to 1.
    """

    nodes: tuple[str, ...]
    core: tuple[str, ...]
    before: tuple[str, ...]
    behind: tuple[str, ...]
    us: float
    share: float


def islands_of(nodes: Sequence[Executed]) -> tuple[Island, ...]:
    """Return the float islands, in order of execution; none where the graph's edges are not known."""
    found: list[Island] = []
    for group, before, behind in _bounded_groups(nodes):
        if before and behind:
            core = _titles(node for node in group if node.kind != "conversion")
            us, share = sum(node.us for node in group), sum(node.share for node in group)
            found.append(Island(tuple(node.name for node in group), core, _titles(before), _titles(behind), us, share))
    return tuple(found)


def stranded(nodes: Sequence[Executed]) -> tuple[Executed, ...]:
    """Return the Quantize/DequantizeLinear nodes that fused with no operator.

    Those on the way from the graph's input to its first integer nodes, and from the last ones to its output, have to be and are left out.
    """
    found: list[Executed] = []
    for group, before, behind in _bounded_groups(nodes):
        for node in group:
            entry = node.op_type == "QuantizeLinear" and not before and any(one.is_integer for one in _readers(node, behind))
            way_out = node.op_type == "DequantizeLinear" and not behind and any(one.is_integer for one in _makers(node, before))
            if node.op_type in ("QuantizeLinear", "DequantizeLinear") and not entry and not way_out and node.inputs:
                found.append(node)
    return tuple(found)


def neighbours(node: Executed, nodes: Sequence[Executed]) -> tuple[Executed, ...]:
    """Return the next nodes before and behind a node, looking through conversions and layout changes."""
    return (*_nearest(_makers, node, nodes), *_nearest(_readers, node, nodes))


def _nearest(step: _Step, node: Executed, nodes: Sequence[Executed]) -> list[Executed]:
    found: list[Executed] = []
    for one in step(node, nodes):
        found += _nearest(step, one, nodes) if one.kind in ("conversion", "layout") else [one]
    return found


def _makers(node: Executed, nodes: Sequence[Executed]) -> list[Executed]:
    return [one for one in nodes if not set(node.inputs).isdisjoint(name for name in one.outputs if name)]


def _readers(node: Executed, nodes: Sequence[Executed]) -> list[Executed]:
    return [one for one in nodes if not set(one.inputs).isdisjoint(name for name in node.outputs if name)]


def _bounded_groups(nodes: Sequence[Executed]) -> Iterator[tuple[list[Executed], list[Executed], list[Executed]]]:
    """Yield each connected group of nodes off the integers with the integer nodes before and behind it."""
    producers = {name: node for node in nodes for name in node.outputs if name}
    for group in _groups(nodes, producers):
        made = {name for node in group for name in node.outputs if name}
        feeding = [producers[name] for node in group for name in node.inputs if name in producers]
        behind = [node for node in nodes if node.is_integer and not made.isdisjoint(node.inputs)]
        yield group, [node for node in feeding if node.is_integer], behind


def _groups(nodes: Sequence[Executed], producers: Mapping[str, Executed]) -> list[list[Executed]]:
    """Return the connected groups of nodes off the integers, in order of execution."""
    group_of: dict[str, list[Executed]] = {}
    for node in nodes:
        if node.is_integer or node.kind == "shape":
            continue
        merged = [node]
        for name in node.inputs:
            other = group_of.get(producers[name].name) if name in producers else None
            if other is not None and other is not merged:
                other.extend(merged)
                merged = other
                group_of |= {one.name: merged for one in merged}
        group_of[node.name] = merged
    place = {node.name: at for at, node in enumerate(nodes)}
    unique = {id(group): sorted(group, key=lambda one: place[one.name]) for group in group_of.values()}
    return list(unique.values())


def _titles(nodes: Iterable[Executed]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node.title for node in nodes))
