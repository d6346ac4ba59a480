"""What ONNX Runtime really executes, and how long each node's kernel takes, from its own optimiser and profiler."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from ..graph.file import save_onnx
from ..runtime.errors import ConfigError, ModelError
from ..runtime.providers import Provider, find_provider
from .kernel_events import WARM_UP_RUNS, Feeds, KernelEvent, TensorType, open_ort, record

_CHAIN = 64  # nodes of the model that measures the profiler's own time
_FEW, _MANY = 1, 9  # operands of its nodes; a QLinearConv has 9


@dataclass(frozen=True, slots=True)
class NodeTime:
    """One executed node.

    Attributes:
        name: Its name in the optimised graph.
        op_type: What it computes.
        provider: ONNX Runtime's name of the provider that runs it.
        us: Its kernel's time in one run, microseconds, without the profiler's own.
        inputs: Its operands, constants included.
        outputs: Its results.
    """

    name: str
    op_type: str
    provider: str
    us: float
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """What was executed.

    Attributes:
        times: The executed nodes of the main graph, in order of execution.
        optimised: The graph after ONNX Runtime's optimiser, large weights left out; None where a provider has compiled parts of it.
    """

    times: tuple[NodeTime, ...]
    optimised: ModelProto | None


def profile_nodes(model: ModelProto, feeds: Feeds, *, threads: int = 1, runs: int = 30) -> dict[str, NodeTime]:
    """Time the kernel of every node that ONNX Runtime executes on the CPU.

    Args:
        model: What to run; it is not changed. Nodes without a name of their own get one.
        feeds: One array for each input.
        threads: Threads of the intra-op pool.
        runs: How often to run it.

    Returns:
        Executed node's name to its time, in order of execution. A fused node has the name that ONNX Runtime gave it
        (`benchmarks.origins` leads back to the model's own).

    Raises:
        ConfigError: `runs` is smaller than 1.
        ModelError: ONNX Runtime cannot run the model.
    """
    return {one.name: one for one in profile(model, feeds, threads=threads, runs=runs).times}


def profile(
    model: ModelProto,
    feeds: Feeds,
    *,
    provider: str = "cpu",
    options: Mapping[str, str] | None = None,
    threads: int = 1,
    runs: int = 30,
) -> Profile:
    """Run a model under ONNX Runtime's profiler and keep the graph that its optimiser made.

    Each node's time is the mean of the middle half of its runs, as robust as the median but without its steps: the profiler counts whole
    microseconds. Its own time (2 to 3 us a node) is measured once a process on nodes that do next to nothing, and taken off.

    Args:
        model: What to run; it is not changed.
        feeds: One array for each input.
        provider: Execution provider.
        options: Its options.
        threads: Threads of the intra-op pool.
        runs: How often to run it.

    Raises:
        ConfigError: `runs` is smaller than 1.
        ProviderError: The provider is unknown or not installed.
        ModelError: ONNX Runtime cannot run the model.
    """
    if runs < 1:
        raise ConfigError("profiling needs at least one run", runs, "30 is the usual choice")
    chosen = find_provider(provider)
    with TemporaryDirectory(prefix="edgerec-profile-", ignore_cleanup_errors=True) as name:  # Windows may hold a file a moment longer
        events, optimised = _record(with_names(model), Path(name), chosen, options, threads, feeds, runs)
    start, step = _profiler_us() if chosen.name == "cpu" else (0.0, 0.0)
    grouped: dict[tuple[str, str], list[KernelEvent]] = {}
    for event in events:
        grouped.setdefault((event.index, event.name), []).append(event)
    times = [_time(own, runs, start, step) for own in grouped.values()]
    return Profile(tuple(times), optimised)


def with_names(model: ModelProto) -> ModelProto:
    """Return the model, as a copy if it must change, with a name of its own on every node of the main graph."""
    names = [node.name for node in model.graph.node]
    if all(names) and len(set(names)) == len(names):
        return model
    copy = ModelProto()
    copy.CopyFrom(model)
    taken = set(names)
    seen: set[str] = set()
    for number, node in enumerate(copy.graph.node):
        if not node.name or node.name in seen:
            node.name = _unused(f"{node.name or node.op_type}_{number}", taken)
            taken.add(node.name)
        seen.add(node.name)
    return copy


def _unused(name: str, taken: set[str]) -> str:
    return name if name not in taken else _unused(name + "_", taken)


def _record(
    model: ModelProto, folder: Path, provider: Provider, options: Mapping[str, str] | None, threads: int, feeds: Feeds, runs: int
) -> tuple[list[KernelEvent], ModelProto | None]:
    """Return the kernel calls and the optimised graph; no graph where a provider's compiled nodes cannot be saved."""
    path, target = folder / "model.onnx", folder / "optimised.onnx"
    save_onnx(model, path)
    try:
        session = open_ort(path, provider, threads, profile_in=folder, save_to=target, options=options)
    except ModelError:
        session = open_ort(path, provider, threads, profile_in=folder, options=options)
    events = record(session, feeds, runs)
    return events, onnx.load(target, load_external_data=False) if target.is_file() else None


def _time(events: list[KernelEvent], runs: int, start: float, step: float) -> NodeTime:
    first = events[0]
    operands = len(first.inputs) + len(first.outputs) - 1
    us = max(_middle(event.us for event in events) - start - step * operands, 0.0)
    return NodeTime(first.name, first.op_type, first.provider, us * len(events) / runs, first.inputs, first.outputs)


def _middle(values: Iterable[float]) -> float:
    """Return the mean of the middle half."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    return float(np.mean(ordered[cut : len(ordered) - cut]))


@cache
def _profiler_us() -> tuple[float, float]:
    """Return the profiler's own time (us): for a node without operands, and for each operand."""
    few, many = (_excess_us(operands) for operands in (_FEW, _MANY))
    step = max((many - few) / (_MANY - _FEW), 0.0)
    return max(few - step * _FEW, 0.0), step


def _excess_us(operands: int, runs: int = 30) -> float:
    """Return by how much the profile of a node that adds a few numbers exceeds its share of a run without profiler."""
    provider, feeds = find_provider("cpu"), {"x": np.zeros(16, np.float32)}
    with TemporaryDirectory(prefix="edgerec-profile-", ignore_cleanup_errors=True) as name:
        path = Path(name) / "chain.onnx"
        save_onnx(_chain(operands), path)
        events = record(open_ort(path, provider, 1, profile_in=Path(name), optimise=False), feeds, runs)
        bare = open_ort(path, provider, 1, optimise=False)
        times_us: list[float] = []
        for _ in range(WARM_UP_RUNS + runs):
            begin = time.perf_counter_ns()
            bare.run(None, dict(feeds))
            times_us.append((time.perf_counter_ns() - begin) / 1e3)
    return _middle(event.us for event in events) - _middle(times_us) / _CHAIN


def _chain(operands: int) -> ModelProto:
    """Return a chain of sums of `operands` small tensors each."""
    nodes = [
        helper.make_node("Sum", ["x" if number == 0 else f"t{number - 1}", *["zero"] * (operands - 1)], [f"t{number}"], f"sum_{number}")
        for number in range(_CHAIN)
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [16]) for name in ("x", f"t{_CHAIN - 1}")]
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:], [zero])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
