"""From a model file to an `onnxruntime.InferenceSession`: options, providers, the cache of optimised graphs, and errors in our words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import optimised
from .errors import ModelError
from .placement import count_nodes
from .plugins import Device, choose_devices
from .profiles import Profile, apply_
from .providers import Provider, load_onnxruntime

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SessionOptions = Any  # onnxruntime declares no types for what comes from its native module

CPU = "CPUExecutionProvider"
# A code, and file, line and C++ function, in front of some messages.
_SOURCE = re.compile(r"^(\[ONNXRuntimeError\] : \d+ : \w+ : )?(\S+\.(cc|h):\d+ ([^()]+\([^()]*\)|\w+) )?")
_FILE_FAULTS = ("InvalidProtobuf", "InvalidGraph", "NoSuchFile", "UnicodeDecodeError")


@dataclass(frozen=True, slots=True)
class Request:
    """How a model is to be loaded.

    Attributes:
        provider: Where it runs.
        profile: How it uses the machine.
        threads: Threads of one call.
        options: Options of the provider.
        devices: The provider's devices, when it comes as a plug-in library.
        optimise: Let ONNX Runtime rewrite the graph.
        cache: Keep the rewritten graph for the next time.
    """

    provider: Provider
    profile: Profile
    threads: int
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    devices: Sequence[Device] = ()
    optimise: bool = True
    cache: bool = True


@dataclass(frozen=True, slots=True)
class Loaded:
    """A session of ONNX Runtime, its nodes on each provider, and whether its graph came from the cache."""

    ort: "InferenceSession"
    nodes: Mapping[str, int]
    from_cache: bool = False


def load(file: Path | bytes, request: Request) -> Loaded:
    """Load a model; on the CPU from the cache of optimised graphs, which is filled on the way.

    Raises:
        ModelError: The file is missing or damaged, or ONNX Runtime cannot run it.
        ProviderError: The provider lacks a library or a device, or refuses the model or its options.
    """
    _check_file(file)
    try:
        return _cached(file, request) or _plain(file, request)
    except ort_errors() as error:
        name = f"{len(file)} bytes" if isinstance(file, bytes) else str(file)
        if request.provider.ort_name != CPU and type(error).__name__ not in _FILE_FAULTS:
            from .diagnosis import why_not_loaded

            raise why_not_loaded(request.provider, first_line(error)) from error
        raise ModelError(
            "ONNX Runtime cannot load this model", f"{name} ({first_line(error)})", "export it again, or check that it is an ONNX file"
        ) from error


def ort_errors() -> tuple[type[Exception], ...]:
    """Return everything that ONNX Runtime raises on damaged files and wrong input (its classes share no base of their own)."""
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = [value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*own, RuntimeError, ValueError, TypeError, OSError)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without the place in ONNX Runtime's source, cut to a length that people read."""
    lines = str(error).strip().splitlines()
    return _SOURCE.sub("", lines[0])[:300] if lines else type(error).__name__


def _check_file(file: Path | bytes) -> None:
    if isinstance(file, Path) and not file.is_file():
        raise ModelError("the model file does not exist", file, "check the path")
    if isinstance(file, Path) and file.suffix in (".safetensors", ".pth", ".pt"):
        raise ModelError("this is no ONNX file", file, "export it first: edgerec export")


def _plain(file: Path | bytes, request: Request) -> Loaded:
    ort = _session(file if isinstance(file, bytes) else str(file), _settings(request), request)
    return Loaded(ort, count_nodes(ort))


def _cached(file: Path | bytes, request: Request) -> Loaded | None:
    """Load through the cache; None where that does not work or does not pay, for whatever reason."""
    # Other providers compile their nodes, and ONNX Runtime cannot save such a graph.
    if isinstance(file, bytes) or not (request.cache and request.optimise and request.provider.ort_name == CPU and file.suffix != ".ort"):
        return None
    if not optimised.is_usable():  # else a start without a cache would hash the file for nothing: 30 ms for 47 MB
        return None
    key = optimised.key_of(file, request.options, load_onnxruntime().__version__)
    if key is None:
        return None
    if (entry := optimised.find(key)) and (found := _from_entry(entry, request)):
        return found
    return _filling(file, request, key)


def _from_entry(entry: optimised.Entry, request: Request) -> Loaded | None:
    settings = _settings(request)
    settings.graph_optimization_level = load_onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL  # that has been done
    try:
        ort = _session(str(entry.graph), settings, request)
    except ort_errors():
        return None
    # The proof is that of the graph that runs; how many nodes it had before ONNX Runtime fused them, the entry knows.
    return Loaded(ort, entry.nodes, from_cache=True) if set(count_nodes(ort)) <= {CPU} else None


def _filling(file: Path, request: Request, key: str) -> Loaded | None:
    made = optimised.draft(key)
    settings = _settings(request)
    settings.optimized_model_filepath = str(made.graph)
    settings.add_session_config_entry("session.optimized_model_external_initializers_file_name", made.weights.name)
    settings.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", str(optimised.EXTERNAL_BYTES))
    try:
        ort = _session(str(file), settings, request)
    except ort_errors():  # the model cannot be loaded, or its graph cannot be written: loading it plainly tells them apart
        optimised.discard(made)
        return None
    loaded = Loaded(ort, count_nodes(ort))
    optimised.publish(made, loaded.nodes)
    return loaded


def _settings(request: Request) -> SessionOptions:
    onnxruntime = load_onnxruntime()
    settings = onnxruntime.SessionOptions()
    apply_(request.profile, request.threads, settings)
    settings.log_severity_level = 4  # what goes wrong is raised; ONNX Runtime would print it as well
    if not request.optimise:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return settings


def _session(model: str | bytes, settings: SessionOptions, request: Request) -> "InferenceSession":
    provider, wanted = request.provider, None
    if request.devices:
        devices, options = choose_devices(request.devices, request.options)
        settings.add_provider_for_devices(devices, options)
    else:
        threads = {provider.threads_option: str(request.threads)} if provider.threads_option else {}
        wanted: list[Any] | None = [(provider.ort_name, {**threads, **request.options})]
        if provider.ort_name != CPU:
            from .cuda_libraries import preload_for

            preload_for(provider)
            wanted.append((CPU, {}))  # takes single nodes that the provider lacks; `min_on_provider` bounds how many
    return load_onnxruntime().InferenceSession(
        model,
        settings,
        providers=wanted,
        enable_fallback=0,  # else ONNX Runtime prints to stdout and silently retries on the CPU
        read_config_from_model=0,  # a model's own metadata must not configure the session
    )
