"""How fast this machine moves numbers that nothing is computed from, by the size of the buffer: caches answer for small ones."""

import json
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper

from ..runtime import cache
from ..runtime.errors import ConfigError
from ..runtime.session import open_session
from .latency import Timing, measure_interleaved
from .peak import KIND, peak_key
from .records import machine, versions

# From the second-level cache of a small core to beyond the last level of most processors; 64 MiB and as much again fit a board of 1 GiB.
SIZES_BYTES = (1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26)
_SHORT, _LONG = 4, 16  # nodes of the two chains whose difference leaves out what a run costs besides
_TIMING = Timing(rounds=10, block_seconds=0.003, warmup_seconds=0.01)


def machine_bandwidth(threads: int = 1) -> dict[int, float]:
    """Return this machine's bandwidth by buffer size; measured once (about a second), then taken from the cache.

    Args:
        threads: Threads of the kernels.

    Returns:
        Bytes of the buffer to 10^9 bytes a second, read and written.
    """
    key = "bandwidth " + peak_key(machine(), threads, versions().get("onnxruntime", ""))
    if (stored := cache.load(KIND, key)) is not None:
        try:
            return {int(size): float(rate) for size, rate in json.loads(stored).items()}
        except (ValueError, TypeError, AttributeError):
            pass  # a damaged entry costs a measurement
    found = measure_bandwidth(threads)
    cache.store(KIND, key, json.dumps(found).encode())
    return found


def measure_bandwidth(threads: int = 1, sizes_bytes: Sequence[int] = SIZES_BYTES) -> dict[int, float]:
    """Run chains of Relu, which ONNX Runtime computes in place: every node reads the buffer once and writes it once.

    Relu, because it was the fastest of its elementwise kernels: 110 GB/s inside the caches of a Zen 4 core, as numpy's copy; Neg, Abs and
    Add reach 60 to 97. The time is the difference of two chains' fastest runs.

    Args:
        threads: Threads of the kernels.
        sizes_bytes: Sizes of the buffer.

    Returns:
        Bytes of the buffer to 10^9 bytes a second, read and written.
    """
    return {size: _rate(size, threads) for size in sizes_bytes}


def bandwidth_at(rates: dict[int, float], working_set_bytes: int) -> tuple[int, float]:
    """Return the smallest measured buffer that holds the working set, else the largest, and its bandwidth.

    Raises:
        ConfigError: Nothing was measured.
    """
    if not rates:
        raise ConfigError("there is no bandwidth to choose from", "no sizes", "measure at least one")
    size = min((one for one in rates if one >= working_set_bytes), default=max(rates))
    return size, rates[size]


def _rate(size: int, threads: int) -> float:
    buffer: dict[str, npt.NDArray[np.generic]] = {"x": np.ones(size // 4, np.float32)}
    sessions = {
        nodes: open_session(_chain(nodes, size // 4).SerializeToString(), threads=threads, optimise=False) for nodes in (_SHORT, _LONG)
    }
    calls = {str(nodes): partial(one.ort.run, None, buffer) for nodes, one in sessions.items()}
    latency = measure_interleaved(calls, _TIMING).latency
    longer_ms = latency[str(_LONG)].min_ms - latency[str(_SHORT)].min_ms
    if longer_ms <= 0:  # the short chain was disturbed in every run; the long one alone gives a lower bound
        return 2 * size * _LONG / (latency[str(_LONG)].min_ms * 1e6)
    return 2 * size * (_LONG - _SHORT) / (longer_ms * 1e6)


def _chain(nodes: int, numbers: int) -> ModelProto:
    """Return a chain of Relu with one number of the last as its result: a large result would have to be allocated in every run."""
    chain = [helper.make_node("Relu", [f"t{at}" if at else "x"], [f"t{at + 1}"], f"relu_{at}") for at in range(nodes)]
    graph = helper.make_graph(
        [*chain, helper.make_node("Gather", [f"t{nodes}", "first"], ["y"], "end")],
        "bandwidth",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [numbers])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [helper.make_tensor("first", TensorProto.INT64, [1], [0])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
