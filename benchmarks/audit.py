"""What a file really does when it runs: which kernels, for how long, on which provider, and why it is slow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from onnx import ModelProto

from ..graph.execution import open_model
from ..graph.file import load_onnx, read_spec
from ..runtime.random_feeds import random_feeds
from ..runtime.session import Session, open_session
from ..runtime.spec import InputSpec
from .executed import KINDS, Executed, Kind, executed_nodes
from .explanation import explain
from .file_findings import file_findings, machine_findings
from .findings import Finding, execution_findings
from .islands import Island, islands_of
from .kernel_events import Feeds
from .latency import Timing, measure
from .peak import Peak, machine_peak
from .profiling import profile, with_names
from .records import Machine, machine, versions

_TIMING = Timing(rounds=5, block_seconds=0.02, warmup_seconds=0.1)
_PROFILE_SECONDS = 2.0
_FEWEST_RUNS, _MOST_RUNS = 5, 100


@dataclass(frozen=True, slots=True)
class Audit:
    """What was executed, and what stands out.

    Attributes:
        file: The file's name, without its folder.
        provider: The provider that was asked for.
        threads: Threads of one run.
        batch: Images in one run.
        latency_ms: Median time of one run without the profiler.
        kernels_ms: Time of all kernels together.
        macs: Multiply-accumulates of one run.
        int8_macs_share: Part of them in integer kernels, 0 to 1.
        ms_by_kind: Milliseconds of each kind of node.
        peak: The machine's fastest matrix products; None for other providers than the CPU.
        peak_share: Multiply-accumulates a second as a part of the machine's int8 peak, 0 to 1; None without a peak.
        placement: Provider to number of executed nodes.
        nodes: The executed nodes, in order.
        islands: Float islands between int8 layers.
        findings: What stands out, the most expensive first.
        explanation: One paragraph: where the time goes, and which nodes are to blame.
        machine: Where it ran.
        versions: Package to version.
        assignment: Provider to number of the file's own nodes, from ONNX Runtime's record: the proof of where they run.
        macs_share: Provider to its part of the multiply-accumulates, 0 to 1.
    """

    file: str
    provider: str
    threads: int
    batch: int
    latency_ms: float
    kernels_ms: float
    macs: int
    int8_macs_share: float
    ms_by_kind: Mapping[Kind, float]
    peak: Peak | None
    peak_share: float | None
    placement: Mapping[str, int]
    nodes: tuple[Executed, ...]
    islands: tuple[Island, ...]
    findings: tuple[Finding, ...]
    explanation: str
    machine: Machine
    versions: Mapping[str, str]
    assignment: Mapping[str, int] = field(default_factory=dict[str, int])
    macs_share: Mapping[str, float] = field(default_factory=dict[str, float])


def audit(
    model: Path | ModelProto,
    *,
    provider: str = "cpu",
    options: Mapping[str, str] | None = None,
    threads: int = 1,
    feeds: Feeds | None = None,
    images: Sequence[InputSpec] = (),
    runs: int | None = None,
) -> Audit:
    """Run a model under ONNX Runtime's profiler and report what it executes.

    Times of other providers than the CPU are those of the host's calls; the device may still be at work.

    Args:
        model: The file, or its content.
        provider: Execution provider.
        options: Its options.
        threads: Threads of one run.
        feeds: One array for each input; random ones of the declared shapes by default.
        images: Sizes of inputs that the file leaves open; by default what its own spec says.
        runs: Profiled runs; by default as many as two seconds hold, 5 to 100.

    Raises:
        ConfigError: The file leaves a size open that nothing else says, or `runs` is smaller than 1.
        DataError: The feeds do not fit the model.
        ModelError: The file cannot be loaded or run.
        ProviderError: The provider is unknown or not installed.
        GateError: The provider is there but does not start.
    """
    content = with_names(load_onnx(model) if isinstance(model, Path) else model)
    session = _session(model, provider, options, threads)
    spec = read_spec(content)
    given = feeds or random_feeds(session.inputs, images or (spec.inputs if spec else ()))
    session.run(given)  # feeds that do not fit are told apart from a model that fails
    latency = measure(partial(session.run, given), _TIMING)
    count = runs if runs is not None else int(np.clip(_PROFILE_SECONDS * 1e3 / latency.p50_ms, _FEWEST_RUNS, _MOST_RUNS))
    profiled = profile(content, given, provider=session.provider, options=options, threads=threads, runs=count)
    nodes = executed_nodes(content, profiled, latency.p50_ms * 1e3)
    peak = machine_peak(threads) if session.provider == "cpu" else None
    macs = sum(node.macs for node in nodes)
    findings = sorted(
        [*execution_findings(nodes, session.provider), *file_findings(content, session.provider), *machine_findings()],
        key=lambda one: -(one.cost_ms or 0.0),
    )
    return Audit(
        file=model.name if isinstance(model, Path) else content.graph.name,
        provider=session.provider,
        threads=threads,
        batch=next((len(array) for array in given.values() if array.ndim), 1),
        latency_ms=latency.p50_ms,
        kernels_ms=sum(node.us for node in nodes) / 1e3,
        macs=macs,
        int8_macs_share=sum(node.macs for node in nodes if node.kind == "int8") / macs if macs else 0.0,
        ms_by_kind={kind: sum(node.us for node in nodes if node.kind == kind) / 1e3 for kind in KINDS},
        peak=peak,
        peak_share=macs / (latency.p50_ms * 1e6) / peak.int8_gmacs if peak else None,
        placement=_placement(nodes),
        nodes=nodes,
        islands=islands_of(nodes),
        findings=tuple(findings),
        explanation=explain(nodes, findings, latency_ms=latency.p50_ms, threads=threads, peak=peak, provider=session.provider),
        machine=machine(),
        versions=versions(),
        assignment=session.placement.nodes,
        macs_share=_macs_share(nodes),
    )


def _session(model: Path | ModelProto, provider: str, options: Mapping[str, str] | None, threads: int) -> Session:
    if isinstance(model, Path):
        return open_session(model, provider=provider, options=options, threads=threads, allow_fallback=True)
    if provider == "cpu" and not options:
        return open_model(model, threads=threads)
    return open_session(model.SerializeToString(), provider=provider, options=options, threads=threads, allow_fallback=True)


def _macs_share(nodes: Sequence[Executed]) -> dict[str, float]:
    macs: dict[str, int] = {}
    for node in nodes:
        macs[node.provider] = macs.get(node.provider, 0) + node.macs
    total = sum(macs.values())
    return {name: count / total for name, count in macs.items()} if total else {}


def _placement(nodes: Sequence[Executed]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.provider] = counts.get(node.provider, 0) + 1
    return counts
