"""How long ONNX Runtime's kernels take: measured one by one on this machine, or read from a table that another device made."""

import functools
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
from onnx import ModelProto

from ..runtime import cache
from ..runtime.errors import DataError, ModelError
from ..runtime.files import replacing
from ..runtime.session import open_session
from .kernel import Kernel, Operand, Operator
from .kernel_models import AFTER, BEFORE, model_of
from .profiling import Feeds, profile
from .records import machine, versions

SCHEMA_VERSION = 1

_CACHE = "kernel-times"
_RUNS = 30
_FEW, _MANY = 2, 18  # convolutions in a row
_LAYOUT_OPS = frozenset({"ReorderInput", "ReorderOutput", "Transpose"})


@dataclass(frozen=True, slots=True)
class Device:
    """What a table of kernel times holds for.

    Attributes:
        cpu: The processor's model name.
        instructions: Its instructions that decide which kernels run.
        onnxruntime: Version of ONNX Runtime.
        threads: Threads of the intra-op pool.
    """

    cpu: str
    instructions: tuple[str, ...]
    onnxruntime: str
    threads: int


@dataclass(frozen=True, slots=True)
class KernelTimes:
    """A table of kernel times.

    Attributes:
        device: Where they were measured.
        us: Kernel to microseconds; infinite where ONNX Runtime cannot run it.
        run_us: What a run costs besides its nodes.
    """

    device: Device
    us: Mapping[Kernel, float] = field(default_factory=dict[Kernel, float])
    run_us: float = 0.0

    def of(self, kernels: Iterable[Kernel | None]) -> float | None:
        """Return the sum of the times, or None where one of them is not known."""
        total = 0.0
        for kernel in kernels:
            if kernel is None or kernel not in self.us:
                return None
            total += self.us[kernel]
        return total

    def to_json(self) -> str:
        """Return the one JSON form."""
        rows = [{"us": round(us, 3), **kernel.to_json()} for kernel, us in self.us.items()]
        raw = {"schema_version": SCHEMA_VERSION, "device": asdict(self.device), "run_us": round(self.run_us, 3), "kernels": rows}
        return json.dumps(raw, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "KernelTimes":
        """Read a table back.

        Raises:
            DataError: The text is not such a table, or one of a newer edgerec.
        """
        try:
            raw = cast("dict[str, object]", json.loads(text))
            if raw["schema_version"] != SCHEMA_VERSION:
                raise DataError("the kernel times have a schema this version cannot read", text[:80], "update edgerec")
            rows = cast("list[dict[str, object]]", raw["kernels"])
            device = cast("dict[str, object]", raw["device"])
            fields = {**device, "instructions": tuple(cast("list[str]", device["instructions"]))}
            make = cast("Callable[..., Device]", Device)
            times = {Kernel.from_json(row): float(cast("float", row["us"])) for row in rows}
            return cls(make(**fields), times, float(cast("float", raw["run_us"])))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError("this is not a table of kernel times", f"{text[:80]!r} ({error})", "give what `save_times` wrote") from error


def time_kernels(
    kernels: Iterable[Kernel], *, threads: int = 1, known: KernelTimes | None = None, measure: Callable[[Kernel], float] | None = None
) -> KernelTimes:
    """Return the times of these kernels on this machine, and of all that the cache holds; only new ones are measured.

    Args:
        kernels: What to time.
        threads: Threads of the intra-op pool.
        known: A table to start from instead of the cache; it is not changed.
        measure: Gives the microseconds of one kernel; `measure_kernel` if left out.

    Raises:
        ProviderError: onnxruntime is not installed.
    """
    device = this_device(threads)
    table = known if known is not None else _cached(device)
    missing = [kernel for kernel in dict.fromkeys(kernels) if kernel not in table.us]
    if not missing:
        return table
    measure = measure or functools.partial(measure_kernel, threads=threads)
    fresh = {kernel: measure(kernel) for kernel in missing}
    table = replace(table, us={**table.us, **fresh}, run_us=table.run_us or _run_us(threads))
    if known is None:
        # Another process may have stored its kernels meanwhile.
        cache.store(_CACHE, repr(device), replace(table, us={**_cached(device).us, **table.us}).to_json().encode())
    return table


def measure_kernel(kernel: Kernel, *, threads: int = 1, runs: int = _RUNS) -> float:
    """Return the time of one kernel in microseconds, as it is between others of its precision.

    Args:
        kernel: What to time.
        threads: Threads of the intra-op pool.
        runs: How often to run it.

    Returns:
        Microseconds of all nodes that ONNX Runtime makes of it; infinite where ONNX Runtime cannot run it.
    """
    model = model_of(kernel)
    try:
        result = profile(model, _feeds(model), threads=threads, runs=runs)
    except ModelError:
        return math.inf
    edges = _edges(result.optimised) if result.optimised is not None else frozenset[str]()
    return sum(one.us + _node_us(threads) for one in result.times if one.name not in edges)


def this_device(threads: int = 1) -> Device:
    """Describe this machine as far as kernel times depend on it."""
    here = machine()
    installed = versions()
    version = next((installed[name] for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino") if name in installed), "")
    return Device(here.cpu, here.instructions, version, threads)


def save_times(times: KernelTimes, path: Path) -> None:
    """Write a table as JSON.

    Raises:
        OutputError: The file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(times.to_json(), encoding="utf-8")


def load_times(path: Path) -> KernelTimes:
    """Read a table that `save_times` wrote, of this device or of another.

    Raises:
        DataError: The file is missing or holds something else.
    """
    try:
        return KernelTimes.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the table of kernel times cannot be read", f"{path} ({error})", "check the path") from error


def _cached(device: Device) -> KernelTimes:
    data = cache.load(_CACHE, repr(device))
    try:
        return KernelTimes.from_json(data.decode()) if data is not None else KernelTimes(device)
    except (DataError, UnicodeDecodeError):  # of another version: it is measured again
        return KernelTimes(device)


def _feeds(model: ModelProto) -> Feeds:
    random = np.random.default_rng(0)
    feeds: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        shape = [dim.dim_value for dim in tensor.shape.dim]
        is_float = tensor.elem_type == 1
        feeds[value.name] = random.standard_normal(shape).astype(np.float32) if is_float else random.integers(0, 256, shape, np.uint8)
    return feeds


def _edges(model: ModelProto) -> frozenset[str]:
    """Return the nodes that bring a model's inputs and outputs into the layout of convolutions: inside a network there are none."""
    inputs, outputs = ({one.name for one in values} for values in (model.graph.input, model.graph.output))
    return frozenset(
        node.name
        for node in model.graph.node
        if (node.op_type in _LAYOUT_OPS and (node.input[0] in inputs or node.output[0] in outputs)) or node.name.startswith((BEFORE, AFTER))
    )


def _run_us(threads: int) -> float:
    """Return the time of a run that does next to nothing."""
    return _latency_us(Kernel((Operator("Relu", (Operand((1, 4)),)),), "fp32"), threads)


@functools.cache
def _node_us(threads: int) -> float:
    """Return what a node takes in a row of others more than the profile of it alone says: the executor's work, and caches that others fill."""
    operands = Operand((1, 16, 4, 4)), Operand((16, 16, 3, 3), constant=True), Operand((16,), constant=True)
    conv = Operator("Conv", operands, (("kernel_shape", (3, 3)), ("pads", (1, 1, 1, 1))))
    model = model_of(Kernel((conv,), "int8"))
    alone = sum(one.us for one in profile(model, _feeds(model), threads=threads, runs=3 * _RUNS).times if one.op_type == "QLinearConv")
    few, many = (_latency_us(Kernel((conv,) * count, "int8"), threads) for count in (_FEW, _MANY))
    return max((many - few) / (_MANY - _FEW) - alone, 0.0)


def _latency_us(kernel: Kernel, threads: int, runs: int = 200) -> float:
    """Return the median time of a run of the kernel's model, microseconds."""
    model = model_of(kernel)
    session, feeds = open_session(model.SerializeToString(), threads=threads), dict(_feeds(model))
    times: list[int] = []
    for _ in range(runs):
        begin = time.perf_counter_ns()
        session.ort.run(None, feeds)
        times.append(time.perf_counter_ns() - begin)
    return float(np.median(times)) / 1e3
