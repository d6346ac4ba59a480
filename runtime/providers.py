"""Execution providers by the names people type, and what to install when one is missing."""

from dataclasses import dataclass
from types import ModuleType

from .errors import ConfigError, ProviderError


@dataclass(frozen=True, slots=True)
class Provider:
    """An execution provider of ONNX Runtime.

    Attributes:
        name: What people type.
        ort_name: What ONNX Runtime calls it.
        install: The command that brings it.
    """

    name: str
    ort_name: str
    install: str


PROVIDERS: dict[str, Provider] = {
    one.name: one
    for one in (
        Provider("cpu", "CPUExecutionProvider", 'pip install "edgerec[cpu]"'),
        Provider("cuda", "CUDAExecutionProvider", 'pip install "edgerec[cuda]" in an environment without the cpu extra'),
        Provider(
            "tensorrt", "TensorrtExecutionProvider", 'pip install "edgerec[cuda]" in an environment without the cpu extra, and TensorRT'
        ),
        Provider("openvino", "OpenVINOExecutionProvider", 'pip install "edgerec[openvino]" in an environment without the cpu extra'),
        Provider("coreml", "CoreMLExecutionProvider", 'pip install "edgerec[cpu]" on macOS'),
        Provider(
            "directml", "DmlExecutionProvider", "pip install onnxruntime-directml on Windows, in an environment without the cpu extra"
        ),
        Provider(
            "qnn", "QNNExecutionProvider", "pip install onnxruntime-qnn on a Snapdragon device, in an environment without the cpu extra"
        ),
        Provider("webgpu", "WebGpuExecutionProvider", "pip install onnxruntime-webgpu in an environment without the cpu extra"),
        Provider("xnnpack", "XnnpackExecutionProvider", "build ONNX Runtime with --use_xnnpack"),
        Provider(
            "migraphx",
            "MIGraphXExecutionProvider",
            "pip install onnxruntime-migraphx on a ROCm machine, in an environment without the cpu extra",
        ),
    )
}


def load_onnxruntime() -> ModuleType:
    """Import onnxruntime.

    Raises:
        ProviderError: No flavour of it is installed.
    """
    try:
        import onnxruntime  # a quarter of a second: paid by the first session, not by importing edgerec
    except ImportError as error:
        raise ProviderError(
            "onnxruntime is not installed", error, 'pip install "edgerec[cpu]", or [cuda], or [openvino]; exactly one of them'
        ) from error
    return onnxruntime


def find_provider(name: str) -> Provider:
    """Return the installed provider called `name`: one of `PROVIDERS`, or any of ONNX Runtime's own names.

    Raises:
        ProviderError: It is unknown (the choices are listed) or not installed (the command that brings it is named).
    """
    installed: list[str] = load_onnxruntime().get_available_providers()
    provider = PROVIDERS.get(name.lower()) or next((p for p in PROVIDERS.values() if p.ort_name == name), None)
    if provider is None:
        if name in installed:
            return Provider(name, name, "")
        raise ProviderError(
            "unknown execution provider", repr(name), f"choose one of {', '.join(PROVIDERS)}, or one installed here: {', '.join(installed)}"
        )
    if provider.ort_name not in installed:
        raise ProviderError(
            f"the execution provider {provider.name!r} is not installed", f"installed: {', '.join(installed)}", provider.install
        )
    return provider


def parse_options(texts: list[str]) -> dict[str, str]:
    """Turn `["device_id=0"]` into `{"device_id": "0"}`.

    Raises:
        ConfigError: A text has no `=`.
    """
    pairs = [text.partition("=") for text in texts]
    for key, sign, _ in pairs:
        if not (key and sign):
            raise ConfigError("a provider option needs the form key=value", repr(key + sign), "for example device_id=0")
    return {key: value for key, _, value in pairs}
