"""Which provider runs the nodes of a model: the proof, and the gate in front of a session."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import GateError
from .providers import Provider

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


@dataclass(frozen=True, slots=True)
class Placement:
    """Which provider runs how many nodes, from ONNX Runtime's own assignment record (before it fuses nodes).

    Attributes:
        nodes: ONNX Runtime's name of a provider to the nodes that it runs.
        fallback_allowed: Whether the caller accepted that nodes run on the CPU instead.
    """

    nodes: Mapping[str, int]
    fallback_allowed: bool = False

    def share(self, provider: str) -> float:
        """Return the fraction of nodes that run on the provider with this ONNX Runtime name."""
        total = sum(self.nodes.values())
        return self.nodes.get(provider, 0) / total if total else 0.0


def count_nodes(ort: "InferenceSession") -> dict[str, int]:
    """Return the nodes of each provider; `get_providers` of ONNX Runtime would tell what was asked for, not what runs."""
    counts: dict[str, int] = {}
    for part in ort.get_provider_graph_assignment_info():
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return counts


def check_placement(placement: Placement, provider: Provider, least: float) -> None:
    """Refuse a session whose provider is there but does not do the work.

    Raises:
        GateError: The provider runs a smaller share of the nodes than `least`.
    """
    share = placement.share(provider.ort_name)
    if placement.nodes and share < least:
        raise GateError(
            f"the execution provider {provider.name!r} runs too few of the nodes",
            f"{share:.0%} of {sum(placement.nodes.values())}, at least {least:.0%} wanted: {_listed(placement.nodes)}",
            "use another provider, or accept it: --allow-fallback (in Python allow_fallback=True), or a lower --min-on-provider",
        )


def _listed(nodes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} on {name.removesuffix('ExecutionProvider')}" for name, count in nodes.items())
