"""Why is this slow: one paragraph from figures."""

from collections.abc import Sequence

from .executed import KINDS, Executed
from .findings import Finding
from .peak import Peak

_WORTH_SAYING = 0.02  # of the time; a smaller cost is in the list of findings only
_NAMES = 4
_KIND_WORDS = {
    "int8": "int8 kernels",
    "float": "float kernels",
    "conversion": "conversions between number formats",
    "layout": "layout changes",
    "movement": "copies",
    "shape": "computing sizes",
}


def explain(
    nodes: Sequence[Executed], findings: Sequence[Finding], *, latency_ms: float, threads: int, peak: Peak | None, provider: str = "cpu"
) -> str:
    """Return the paragraph: the total, where the time goes, and the nodes to blame, the most expensive first.

    Args:
        nodes: The executed nodes.
        findings: What stands out, the most expensive first.
        latency_ms: Median time of one run.
        threads: Threads of one run.
        peak: The machine's fastest matrix products, where they were measured.
        provider: Execution provider that was asked for.
    """
    macs, total_us = sum(node.macs for node in nodes), sum(node.us for node in nodes)
    sentences = [_total(nodes, macs, latency_ms, threads, peak), _split(nodes, total_us)]
    if not any(node.kind == "int8" for node in nodes):
        sentences.append(_float_file(nodes, total_us, provider))
    if provider != "cpu":
        sentences.append("Times of single nodes are the host's calls: the device may still have been at work.")
    blamed = [one for one in findings if one.cost_ms is not None and one.cost_ms * 1e3 >= _WORTH_SAYING * total_us]
    sentences += [f"{_upper(one.title)}: {_part(one.cost_ms or 0, total_us)} ({shortened(one.nodes)})." for one in blamed]
    free = [one for one in findings if one.cost_ms is None and one.severity == "cost"]
    sentences += [f"{_upper(one.title)} ({shortened(one.nodes)})." for one in free]
    if not blamed and not free:
        sentences.append("Nothing else stands out.")
    return " ".join(sentence for sentence in sentences if sentence)


def shortened(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def _total(nodes: Sequence[Executed], macs: int, latency_ms: float, threads: int, peak: Peak | None) -> str:
    told = f"One run takes {latency_ms:.3f} ms on {threads} thread{'s' * (threads != 1)}"
    if not macs:
        return f"{told}."
    integer = sum(node.macs for node in nodes if node.kind == "int8") / macs
    told += f": {macs / 1e6:,.3g} million multiply-accumulates, {f'{integer:.0%}' if integer else 'none'} of them in int8 kernels"
    if peak is None:
        return f"{told}."
    reached = macs / (latency_ms * 1e6)
    held = f"{reached / peak.int8_gmacs:.0%} of this machine's int8 peak ({peak.int8_gmacs:.0f} GMAC/s)"
    return f"{told}, at {held}" + ("." if integer else f" and {reached / peak.float_gmacs:.0%} of its float peak.")


def _split(nodes: Sequence[Executed], total_us: float) -> str:
    """Say which kinds of nodes the time goes to."""
    parts = [(sum(node.us for node in nodes if node.kind == kind), _KIND_WORDS[kind]) for kind in KINDS]
    told = [
        f"{us / total_us:.0%} in {words}" for us, words in sorted(parts, reverse=True) if total_us and us >= _WORTH_SAYING / 2 * total_us
    ]
    return f"The time goes: {', '.join(told)}." if told else ""


def _float_file(nodes: Sequence[Executed], total_us: float, provider: str) -> str:
    top = sorted((node for node in nodes if node.kind == "float"), key=lambda node: -node.us)[:3]
    if not top or not total_us:
        return ""
    names = ", ".join(f"{node.title} ({node.us / total_us:.0%})" for node in top)
    change = ", which edgerec quantize would change" if provider == "cpu" else ""
    return f"No node computes on 8-bit integers{change}; the most expensive ones are {names}."


def _part(cost_ms: float, total_us: float) -> str:
    return f"{cost_ms * 1e3 / total_us:.0%} of the time, {cost_ms:.3f} ms"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
