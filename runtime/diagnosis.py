"""Why a provider that onnxruntime was built with does not start: a library is missing, or a device."""

import ctypes
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from .errors import EdgerecError, GateError, ProviderError
from .flavours import explain_flavours
from .providers import Provider, load_onnxruntime

# The providers that onnxruntime keeps in a library of their own, by the middle of its name.
_LIBRARIES = {
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "tensorrt",
    "OpenVINOExecutionProvider": "openvino",
    "MIGraphXExecutionProvider": "migraphx",
    "QNNExecutionProvider": "qnn",
    "VitisAIExecutionProvider": "vitisai",
}
_BRINGS = {  # the start of a library's name to what brings it; the first that fits counts
    "libcuda.so": "install the NVIDIA driver",
    "libcu": 'pip install "onnxruntime-gpu[cuda,cudnn]"',
    "libnv": "pip install tensorrt",
    "libopenvino": 'pip install --force-reinstall "edgerec[openvino]"',
}
_MISSING = re.compile(r"([^\s:'\"/]+\.(?:so|dylib|dll)[\w.]*): cannot open shared object file")


def missing_library(message: str) -> str:
    """Return the shared library that a loader's message says is missing; empty when it says nothing of the kind."""
    found = _MISSING.search(message)
    return found.group(1) if found else ""


def why_not_started(provider: Provider, options: Mapping[str, str]) -> EdgerecError:
    """Return the error for a provider that onnxruntime was built with, and that is not in a session which asked for it.

    ONNX Runtime only logs the reason, so it is found out here: the provider's own library is loaded, and the system's loader names what it
    lacks; then the device is looked for.

    Args:
        provider: What was asked for.
        options: Its options, for the message.
    """
    name = provider.name
    if lacking := _what_is_lacking(provider):
        return lacking
    given = ", ".join(f"{key}={value}" for key, value in options.items())
    if device := options.get("device_type"):
        return ProviderError(
            f"the execution provider {name!r} finds no device", f"device_type={device}", "choose a device that is there, such as CPU"
        )
    return GateError(
        f"the execution provider {name!r} is installed but cannot start",
        f"options: {given or 'none'}",
        explain_flavours(provider) or "check its driver, libraries and options; ONNX Runtime's own message is on stderr",
    )


def why_not_loaded(provider: Provider, message: str) -> ProviderError:
    """Return the error for a provider that fails while it loads a model.

    Args:
        provider: What was asked for.
        message: What ONNX Runtime says.
    """
    return _what_is_lacking(provider) or ProviderError(
        f"the execution provider {provider.name!r} refuses the model, or its options",
        message,
        "check the provider's options; --provider cpu tells whether the model is sound",
    )


def _what_is_lacking(provider: Provider) -> ProviderError | None:
    """Return the error for a shared library or a device that is not there; None when nothing of the kind is found."""
    name = provider.name
    if broken := _load_message(provider):
        missing = missing_library(broken)
        problem = (
            f"the execution provider {name!r} lacks a shared library"
            if missing
            else f"the provider {name!r} has a library that does not load"
        )
        return ProviderError(problem, missing or broken, explain_flavours(provider) or _what_brings(missing))
    if name in ("cuda", "tensorrt") and (reason := _no_cuda_device()):
        return ProviderError(
            f"the execution provider {name!r} finds no device", reason, "run it on a machine with an NVIDIA GPU and its driver"
        )
    return None


def _load_message(provider: Provider) -> str:
    """Return why the provider's own library does not load; empty when it loads, or has none."""
    middle = _LIBRARIES.get(provider.ort_name)
    folder = Path(str(load_onnxruntime().__file__)).parent / "capi"
    prefix, suffix = ("", ".dll") if sys.platform == "win32" else ("lib", ".dylib" if sys.platform == "darwin" else ".so")
    library = folder / f"{prefix}onnxruntime_providers_{middle}{suffix}"
    if not middle or not library.is_file():
        return ""
    try:
        # The provider's library finds the symbols of this one only when it was loaded for everybody.
        ctypes.CDLL(str(library.with_name(f"{prefix}onnxruntime_providers_shared{suffix}")), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return ""


def _no_cuda_device() -> str:
    """Return why CUDA has no device, from the driver itself; empty when there is one."""
    driver = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(driver)
    except OSError:
        return f"the NVIDIA driver ({driver}) is not installed"
    count = ctypes.c_int(0)
    failed = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    return f"the NVIDIA driver reports error {failed}" if failed else "" if count.value else "the NVIDIA driver sees no GPU"


def _what_brings(library: str) -> str:
    general = f"install what brings {library}, or add its folder to LD_LIBRARY_PATH" if library else "install it again"
    return next((advice for start, advice in _BRINGS.items() if library.startswith(start)), general)
