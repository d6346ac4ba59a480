"""Sessions under ONNX Runtime's profiler, and the kernel calls that its log holds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from ..runtime.errors import ModelError, OutputError
from ..runtime.providers import Provider, load_onnxruntime

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Feeds = Mapping[str, npt.NDArray[np.generic]]

WARM_UP_RUNS = 3
_SUFFIX = "_kernel_time"
_INLINE_BYTES = 1024  # smaller weights stay in the optimised file: scales and zero points are read there


@dataclass(frozen=True, slots=True)
class TensorType:
    """What an operand is in one run: its type as ONNX Runtime writes it (`float`, `uint8` ...) and its shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KernelEvent:
    """One kernel call of the profile.

    Attributes:
        name: The node's name.
        index: The node's number in the optimised graph.
        op_type: What it computes.
        provider: ONNX Runtime's name of the provider that ran it.
        start_us: When it began, microseconds since the session was made.
        us: How long it took, whole microseconds, the profiler's own time for this node included.
        inputs: Its operands; weights that the kernel has packed are left out.
        outputs: Its results.
    """

    name: str
    index: str
    op_type: str
    provider: str
    start_us: int
    us: int
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]


def open_ort(
    path: Path,
    provider: Provider,
    threads: int,
    *,
    profile_in: Path | None = None,
    save_to: Path | None = None,
    optimise: bool = True,
    options: Mapping[str, str] | None = None,
) -> "InferenceSession":
    """Open a session for measuring kernels.

    Args:
        path: The model.
        provider: Who runs it; the CPU takes what it lacks.
        threads: Threads of the intra-op pool.
        profile_in: Folder for the profile; none is taken without.
        save_to: Where the optimised graph goes, its weights into a file beside it, so that protobuf's limit of 2 GiB does not matter.
        optimise: Let ONNX Runtime rewrite the graph.
        options: Options of the provider.

    Raises:
        ModelError: ONNX Runtime refuses the model, or cannot save what a provider has compiled.
    """
    onnxruntime = load_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # what goes wrong is raised
    if not optimise:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if profile_in:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(profile_in / "profile")
    if save_to:
        settings.optimized_model_filepath = str(save_to)
        settings.add_session_config_entry("session.optimized_model_external_initializers_file_name", f"{save_to.stem}.data")
        settings.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", str(_INLINE_BYTES))
    names = [(provider.ort_name, dict(options or {})), *([("CPUExecutionProvider", {})] if provider.name != "cpu" else [])]
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=names, enable_fallback=0, read_config_from_model=0)
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise ModelError("ONNX Runtime cannot load this model", str(error)[:300], "check it with edgerec.runtime.open_session") from error


def record(session: "InferenceSession", feeds: Feeds, runs: int) -> list[KernelEvent]:
    """Run a profiling session and return the kernel calls of its main graph, without those of the warm-up; it ends the profile.

    Raises:
        ModelError: A node fails, or the feeds do not fit.
        OutputError: The temporary folder is full.
    """
    try:
        for _ in range(WARM_UP_RUNS + runs):
            session.run(None, dict(feeds))
    except Exception as error:  # as above
        given = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items())
        raise ModelError("the model fails while it is profiled", f"{str(error)[:300]}; input {given}", "give feeds that fit it") from error
    finally:
        path = Path(session.end_profiling())
    try:
        records = cast("list[dict[str, object]]", json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:  # ONNX Runtime does not say that its profile was cut off
        raise OutputError("the temporary folder takes no more", path.parent, "free some space, or point TMPDIR elsewhere") from error
    starts = sorted(cast("int", one["ts"]) for one in records if one["name"] == "model_run")
    calls = [_event(one) for one in records if one["cat"] == "Node" and str(one["name"]).endswith(_SUFFIX)]
    return _outermost([one for one in calls if one.start_us >= starts[WARM_UP_RUNS]])


def _event(raw: Mapping[str, object]) -> KernelEvent:
    args = cast("dict[str, object]", raw["args"])
    inputs, outputs = (_types(cast("list[dict[str, list[int]]]", args.get(key, []))) for key in ("input_type_shape", "output_type_shape"))
    return KernelEvent(
        name=str(raw["name"]).removesuffix(_SUFFIX),
        index=str(args.get("node_index", "")),
        op_type=str(args.get("op_name", "")),
        provider=str(args.get("provider", "")),
        start_us=cast("int", raw["ts"]),
        us=cast("int", raw["dur"]),
        inputs=inputs,
        outputs=outputs,
    )


def _types(written: list[dict[str, list[int]]]) -> tuple[TensorType, ...]:
    return tuple(TensorType(dtype, tuple(shape)) for one in written for dtype, shape in one.items())


def _outermost(events: list[KernelEvent]) -> list[KernelEvent]:
    """Leave out calls inside the body of an If, Loop or Scan: the outer node's time holds theirs."""
    kept: list[KernelEvent] = []
    end = -1
    for event in sorted(events, key=lambda one: (one.start_us, -one.us)):
        if event.start_us + event.us > end or event.us == 0:
            kept.append(event)
            end = max(end, event.start_us + event.us)
    return kept
