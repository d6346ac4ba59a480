"""Execution providers that come as a library of their own, beside any onnxruntime."""

import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .errors import ConfigError, ProviderError
from .providers import Provider, available, find_provider, known_provider, load_onnxruntime

Device = Any  # `onnxruntime.OrtEpDevice`, for which onnxruntime declares no type

PREFIX = "plugin:"
DEVICE_TYPE = "device_type"  # our own option: which kind of device a plug-in is to use
_USAGE = "write plugin:NAME=PATH, for example plugin:openvino=/opt/ep/libonnxruntime_providers_openvino_plugin.so"

_lock = threading.Lock()
_registered: dict[str, tuple[Path, str]] = {}  # a library can be registered once in a process: name to its path and its provider


def resolve_provider(name: str) -> tuple[Provider, list[Device]]:
    """Return the provider called `name`, and its devices when it comes as a plug-in library (otherwise none).

    Args:
        name: What `find_provider` takes, or `plugin:NAME=PATH` with a name of your choice and the library's path.

    Raises:
        ConfigError: The plug-in's spelling is wrong.
        ProviderError: Unknown, not installed, no plug-in library, or no device for it.
    """
    if name.startswith(PREFIX):
        own, sign, path = name.removeprefix(PREFIX).partition("=")
        if not (own and sign and path):
            raise ConfigError("a plug-in needs a name and a path", repr(name), _USAGE)
        ort_name = register_plugin(own, Path(path))
        return Provider(own, ort_name, ""), devices_of(ort_name)
    known = known_provider(name)
    if known and known.plugin and known.ort_name not in available() and find_spec(known.plugin):
        library: str = import_module(known.plugin).get_library_path()
        register_plugin(known.name, Path(library), known.ort_name)
        return known, devices_of(known.ort_name)
    if known is None and name and name not in available() and (devices := devices_of(name)):  # no name would mean every device
        return Provider(name, name, ""), devices  # a library that the caller registered with ONNX Runtime
    return find_provider(name), []


def register_plugin(name: str, library: Path, ort_name: str = "") -> str:
    """Load a plug-in library into ONNX Runtime, once in a process; return ONNX Runtime's name of its provider.

    Args:
        name: The name it is registered by, free to choose.
        library: The shared library.
        ort_name: The provider's name, where it is known before.

    Raises:
        ProviderError: The file is missing or no plug-in library, the name is taken, or there is no device for it.
    """
    path = library.resolve()
    with _lock:
        if name in _registered:
            known_path, known_name = _registered[name]
            if known_path != path:
                raise ProviderError("a plug-in of this name is registered already", f"{name} ({known_path})", "choose another name")
            return known_name
        before = _identities(devices_of(""))
        _register(name, path)
        found = ort_name or next((ep for ep, device in _identities(devices_of("")) if (ep, device) not in before), "")
        if not devices_of(found):
            load_onnxruntime().unregister_execution_provider_library(name)
            raise ProviderError(
                f"the plug-in {name!r} finds no device on this machine", path, "check the device and its driver, or use another provider"
            )
        _registered[name] = path, found
        return found


def devices_of(ort_name: str) -> list[Device]:
    """Return ONNX Runtime's devices of one provider, or of all when the name is empty."""
    onnxruntime = load_onnxruntime()
    listed: Sequence[Any] = onnxruntime.get_ep_devices() if hasattr(onnxruntime, "get_ep_devices") else []
    return [one for one in listed if ort_name in ("", one.ep_name)]


def choose_devices(devices: Sequence[Device], options: Mapping[str, str]) -> tuple[list[Device], dict[str, str]]:
    """Return the device to use and the options that are left for the provider.

    Args:
        devices: The provider's devices.
        options: `device_type` (CPU, GPU or NPU) chooses among them; the first one is used otherwise.

    Raises:
        ProviderError: None is of the wanted kind.
    """
    left = {key: value for key, value in options.items() if key != DEVICE_TYPE}
    wanted = options.get(DEVICE_TYPE, "").upper()
    fitting = [one for one in devices if wanted in ("", one.device.type.name)]
    if not fitting:
        there = ", ".join(one.device.type.name for one in devices) or "none"
        raise ProviderError("the provider has no device of this type", f"{wanted}; devices: {there}", f"choose another {DEVICE_TYPE}")
    return fitting[:1], left


def _register(name: str, path: Path) -> None:
    onnxruntime = load_onnxruntime()
    if not path.is_file():
        raise ProviderError("the plug-in library does not exist", path, _USAGE)
    try:
        onnxruntime.register_execution_provider_library(name, str(path))
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        from .diagnosis import missing_library

        missing = missing_library(str(error))
        raise ProviderError(
            f"the plug-in {name!r} cannot be loaded",
            str(error).strip()[:300],
            f"install what brings {missing}, or add its folder to LD_LIBRARY_PATH"
            if missing
            else "give an execution provider library built for this onnxruntime",
        ) from error


def _identities(devices: Sequence[Device]) -> list[tuple[str, str]]:
    return [(one.ep_name, f"{one.device.type} {one.device.vendor_id} {one.device.device_id}") for one in devices]
