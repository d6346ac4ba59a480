"""Where a file stands under this machine's roof: work, traffic and time against the measured peaks (Williams et al. 2009).

Two differences to the paper (doi 10.1145/1498765.1498785) make the model fit small networks. Integer and float operators have peaks of their
own, and a file with both needs at least the sum of the two times. And the bandwidth is that of a buffer as large as the file's working set,
because the weights of a small network stay in the caches from run to run.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from onnx import ModelProto

from ..graph.execution import open_model
from ..graph.file import load_onnx, read_spec
from ..runtime.random_feeds import random_feeds
from ..runtime.session import open_session
from ..runtime.spec import InputSpec
from .bandwidth import bandwidth_at, machine_bandwidth
from .executed import Executed, executed_nodes
from .kernel_events import Feeds
from .latency import Timing, measure
from .measured import OperatorCost, Peaks, Roofline
from .peak import machine_half_gmacs, machine_peak
from .profiling import profile, with_names
from .traffic import node_bytes, working_set_bytes

OVERHEAD_SHARE = 0.1  # below this part of every roof, a run is calls and waiting, not work
_TIMING = Timing(rounds=5, block_seconds=0.02, warmup_seconds=0.1)
_PROFILE_SECONDS = 1.0
_FEWEST_RUNS, _MOST_RUNS = 5, 100


def machine_peaks(threads: int = 1, working_set: int = 0) -> Peaks:
    """Return what this machine can do at most; measured once (some two seconds), then taken from the cache.

    Args:
        threads: Threads of the kernels.
        working_set: Bytes that are touched again and again; the bandwidth is that of the smallest measured buffer that holds them.
    """
    peak = machine_peak(threads)
    size, bandwidth = bandwidth_at(machine_bandwidth(threads), working_set)
    gmacs = {"fp32": peak.float_gmacs, "int8": peak.int8_gmacs, **machine_half_gmacs(threads)}
    return Peaks(threads, gmacs, bandwidth, size)


def roofline(
    model: Path | ModelProto,
    *,
    provider: str = "cpu",
    threads: int = 1,
    feeds: Feeds | None = None,
    images: Sequence[InputSpec] = (),
    p50_ms: float | None = None,
    peaks: Peaks | None = None,
) -> Roofline | None:
    """Measure a file's operators and hold them against the machine's peaks.

    Args:
        model: The file, or its content.
        provider: Execution provider; for all but the CPU there are no peaks yet, and the result is None.
        threads: Threads of one run, and of the peaks.
        feeds: One array for each input; random ones of the declared shapes by default.
        images: Sizes of inputs that the file leaves open; by default what its own spec says.
        p50_ms: Median time of one run on such feeds; measured when it is not given.
        peaks: The machine's; measured, or taken from the cache, when they are not given.

    Raises:
        ConfigError: The file leaves a size open that nothing else says.
        ModelError: The file cannot be loaded or run.
    """
    if provider != "cpu":
        return None
    content = with_names(load_onnx(model) if isinstance(model, Path) else model)
    session = open_session(model, threads=threads) if isinstance(model, Path) else open_model(model, threads=threads)
    spec = read_spec(content)
    given = feeds or random_feeds(session.inputs, images or (spec.inputs if spec else ()))
    session.run(given)
    ms = measure(partial(session.run, given), _TIMING).p50_ms if p50_ms is None else p50_ms
    runs = int(np.clip(_PROFILE_SECONDS * 1e3 / ms, _FEWEST_RUNS, _MOST_RUNS))
    profiled = profile(content, given, threads=threads, runs=runs)
    moved = node_bytes(profiled, given)
    roof = peaks or machine_peaks(threads, working_set_bytes(profiled, max(moved, default=0)))
    return judge(executed_nodes(content, profiled, ms * 1e3), moved, ms, roof)


def judge(nodes: Sequence[Executed], moved: Sequence[int], ms: float, peaks: Peaks) -> Roofline:
    """Say what bounds a run.

    The roof is the least time that the work could take: its integer products at the int8 peak and after them its float products at theirs,
    or its bytes at the machine's bandwidth, whichever takes longer. Of two kinds of products, the one that takes longer is the bound.

    Args:
        nodes: What is executed.
        moved: Bytes of each node.
        ms: Median time of one run.
        peaks: The machine's.
    """
    macs = sum(node.macs for node in nodes)
    floor_ms = _floor_ms(nodes, moved, peaks)
    products_ms = sum(own for kind, own in floor_ms.items() if kind != "memory")
    share = max(products_ms, floor_ms["memory"]) / ms
    kinds = [kind for kind in floor_ms if kind != "memory"] if products_ms > floor_ms["memory"] else ["memory"]
    longest = max(kinds, key=lambda kind: floor_ms[kind])
    return Roofline(
        macs=macs,
        bytes=sum(moved),
        achieved_gmacs=macs / (ms * 1e6),
        bound=longest if share >= OVERHEAD_SHARE else "overhead",
        share=share,
        peaks=peaks,
        operators=operator_costs(nodes, moved),
    )


def operator_costs(nodes: Sequence[Executed], moved: Sequence[int]) -> tuple[OperatorCost, ...]:
    """Sum up the nodes of each operator and kind, the most expensive first."""
    groups: dict[tuple[str, str], list[tuple[Executed, int]]] = {}
    for node, size in zip(nodes, moved, strict=True):
        groups.setdefault((node.op_type, node.kind), []).append((node, size))
    costs = [
        OperatorCost(
            operator=operator,
            kind=kind,
            nodes=len(own),
            ms=sum(node.us for node, _ in own) / 1e3,
            macs=sum(node.macs for node, _ in own),
            bytes=sum(size for _, size in own),
        )
        for (operator, kind), own in groups.items()
    ]
    return tuple(sorted(costs, key=lambda one: (-one.ms, one.operator, one.kind)))


def _floor_ms(nodes: Sequence[Executed], moved: Sequence[int], peaks: Peaks) -> dict[str, float]:
    macs: dict[str, int] = {}
    for node in nodes:
        kind = _number(node, peaks.gmacs)
        macs[kind] = macs.get(kind, 0) + node.macs
    return {kind: count / (peaks.gmacs[kind] * 1e6) for kind, count in macs.items()} | {"memory": sum(moved) / (peaks.gbytes_per_s * 1e6)}


def _number(node: Executed, gmacs: Mapping[str, float]) -> str:
    """Return which peak a node is held against."""
    if node.kind == "int8":
        return "int8"
    own = {"float16": "fp16", "bfloat16": "bf16"}.get(node.dtype, "fp32")
    return own if own in gmacs else "fp32"
