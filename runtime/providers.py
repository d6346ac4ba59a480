"""Execution providers by the names people type, and what to install when one is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from .errors import ConfigError, ProviderError

AUTO = "auto"
_ALONE = "in an environment without another onnxruntime"


@dataclass(frozen=True, slots=True)
class Provider:
    """An execution provider of ONNX Runtime.

    Attributes:
        name: What people type.
        ort_name: What ONNX Runtime calls it.
        install: The command that brings it.
        aliases: Other names that mean the same.
        plugin: Python package that brings it as a plug-in library beside any onnxruntime; empty where there is none.
        threads_option: Its own option for the number of threads; empty where it follows the session or has no threads.
    """

    name: str
    ort_name: str
    install: str
    aliases: tuple[str, ...] = ()
    plugin: str = ""
    threads_option: str = ""


PROVIDERS: dict[str, Provider] = {
    one.name: one
    for one in (
        Provider("cpu", "CPUExecutionProvider", 'pip install "edgerec[cpu]"'),
        Provider("cuda", "CUDAExecutionProvider", f'pip install "edgerec[cuda]" {_ALONE}'),
        Provider("tensorrt", "TensorrtExecutionProvider", f'pip install "edgerec[cuda]" tensorrt {_ALONE}', ("trt",)),
        Provider(
            "tensorrt-rtx",
            "NvTensorRTRTXExecutionProvider",
            'pip install "edgerec[cpu]" onnxruntime-ep-nv-tensorrt-rtx',
            ("nvtensorrtrtx",),
            "onnxruntime_ep_nv_tensorrt_rtx",
        ),
        Provider(
            "openvino",
            "OpenVINOExecutionProvider",
            f'pip install "edgerec[openvino]" {_ALONE}',
            plugin="onnxruntime_ep_openvino",
            threads_option="num_of_threads",
        ),
        Provider("coreml", "CoreMLExecutionProvider", 'pip install "edgerec[cpu]" on macOS'),
        Provider("directml", "DmlExecutionProvider", f"pip install onnxruntime-directml on Windows, {_ALONE}", ("dml",)),
        Provider("qnn", "QNNExecutionProvider", f"pip install onnxruntime-qnn on a Snapdragon device, {_ALONE}", plugin="onnxruntime_qnn"),
        Provider("webgpu", "WebGpuExecutionProvider", 'pip install "edgerec[cpu]" onnxruntime-ep-webgpu', plugin="onnxruntime_ep_webgpu"),
        Provider("xnnpack", "XnnpackExecutionProvider", "build ONNX Runtime with --use_xnnpack", threads_option="intra_op_num_threads"),
        Provider("migraphx", "MIGraphXExecutionProvider", f"pip install onnxruntime-migraphx on a ROCm machine, {_ALONE}", ("rocm",)),
        Provider("nnapi", "NnapiExecutionProvider", "build ONNX Runtime for Android with --use_nnapi"),
    )
}


def load_onnxruntime() -> ModuleType:
    """Import onnxruntime.

    Raises:
        ProviderError: No flavour of it is installed, or what several of them left behind does not load.
    """
    try:
        import onnxruntime  # a quarter of a second: paid by the first session, not by importing edgerec

        _ = onnxruntime.InferenceSession  # what a half-removed package lacks: Python imports an empty folder without complaint
    except (ImportError, AttributeError) as error:
        from .flavours import explain_flavours

        raise ProviderError(
            "onnxruntime is not installed",
            error,
            explain_flavours() or 'pip install "edgerec[cpu]", or [cuda], or [openvino]; exactly one of them',
        ) from error
    return onnxruntime


def known_provider(name: str) -> Provider | None:
    """Return the entry of `PROVIDERS` for a name, an alias or ONNX Runtime's own name, in any case; None when there is none."""
    wanted = name.lower()
    return next((one for one in PROVIDERS.values() if wanted in (one.name, one.ort_name.lower(), *one.aliases)), None)


def find_provider(name: str) -> Provider:
    """Return the installed provider called `name`: one of `PROVIDERS`, or any of ONNX Runtime's own names.

    Raises:
        ProviderError: It is unknown (the choices are listed) or not installed (the command that brings it is named).
    """
    installed = available()
    provider = known_provider(name)
    if provider is None:
        if name in installed:
            return Provider(name, name, "")
        raise ProviderError(
            "unknown execution provider",
            repr(name),
            f"choose one of {', '.join(PROVIDERS)}, {AUTO}, plugin:NAME=PATH, or one installed here: {', '.join(installed)}",
        )
    if provider.ort_name not in installed:
        from .flavours import explain_flavours

        raise ProviderError(
            f"the execution provider {provider.name!r} is not installed",
            f"installed: {', '.join(installed)}",
            explain_flavours(provider) or provider.install,
        )
    return provider


def available() -> Sequence[str]:
    """Return ONNX Runtime's names of the providers that it was built with; whether they can start is another question."""
    # The Azure one calls a web service and runs no node of an ordinary model.
    return [name for name in load_onnxruntime().get_available_providers() if name != "AzureExecutionProvider"]


def parse_options(texts: Sequence[str]) -> dict[str, str]:
    """Turn `["device_id=0"]` into `{"device_id": "0"}`.

    Raises:
        ConfigError: A text has no `=`.
    """
    pairs = [text.partition("=") for text in texts]
    for key, sign, _ in pairs:
        if not (key and sign):
            raise ConfigError("a provider option needs the form key=value", repr(key + sign), "for example device_id=0")
    return {key: value for key, _, value in pairs}
