"""Providers: found by any of their names, refused with the reason, proved by the nodes; plug-ins and `auto`."""

import shutil
import subprocess
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest

from edgerec.runtime import auto, cache, diagnosis, open_session, plugins
from edgerec.runtime.errors import ConfigError, GateError, ModelError, ProviderError
from edgerec.runtime.flavours import explain_flavours, installed_flavours, winning_flavour
from edgerec.runtime.loading import Request
from edgerec.runtime.profiles import PROFILES
from edgerec.runtime.providers import PROVIDERS, find_provider, known_provider

CPU = "CPUExecutionProvider"
# Logits (0, sum of the four pixels - 510).
MODEL = """<ir_version: 8, opset_import: ["" : 17]> brightness (float[n, 1, 2, 2] input) => (float[n, 2] logits)
    <float[4, 2] weight = {0, 1, 0, 1, 0, 1, 0, 1}, float[2] bias = {0, -510}>
    { flat = Flatten <axis = 1> (input) logits = Gemm (flat, weight, bias) }"""
HERE = set(onnxruntime.get_available_providers())
X = np.full((1, 1, 2, 2), 200, np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "brightness.onnx"
    path.write_bytes(onnx.parser.parse_model(MODEL).SerializeToString())
    return path


@pytest.mark.parametrize("name", ["migraphx", "rocm", "MIGraphXExecutionProvider", "MIGRAPHX"])
def test_every_name_of_a_provider_finds_it(name: str) -> None:
    found = known_provider(name)
    assert found is not None
    assert found.ort_name == "MIGraphXExecutionProvider"


def test_no_name_means_two_providers() -> None:
    names = [name for one in PROVIDERS.values() for name in (one.name, one.ort_name.lower(), *one.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", [one.name for one in PROVIDERS.values() if one.ort_name not in HERE and not one.plugin])
def test_a_provider_that_is_not_installed_says_what_brings_it(file: Path, name: str) -> None:
    with pytest.raises(ProviderError, match="is not installed") as caught:
        open_session(file, provider=name)
    assert caught.value.exit_code == 1
    assert PROVIDERS[name].install in caught.value.fix
    assert CPU in caught.value.given


@pytest.mark.parametrize("name", ["nonsense", "", " ", "plugin"])
def test_an_unknown_provider_lists_the_choices(file: Path, name: str) -> None:
    with pytest.raises(ProviderError, match="unknown execution provider") as caught:
        open_session(file, provider=name)
    assert caught.value.exit_code == 1
    assert caught.value.given == repr(name)
    assert "openvino" in caught.value.fix


def test_cuda_runs_here_or_says_why_not(file: Path) -> None:
    """Wherever a GPU is, its outputs are the CPU's; elsewhere the error names what is missing."""
    if not Path("/dev/nvidia0").exists() or "CUDAExecutionProvider" not in HERE:
        with pytest.raises(ProviderError, match=r"is not installed|lacks a shared library|finds no device") as caught:
            open_session(file, provider="cuda")
        assert caught.value.exit_code == 1
        return
    session = open_session(file, provider="cuda")
    assert session.placement.share("CUDAExecutionProvider") >= 0.9
    np.testing.assert_allclose(session.run({"input": X})["logits"], open_session(file).run({"input": X})["logits"], rtol=1e-3)


def test_a_missing_library_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "libcublasLt.so.13: cannot open shared object file: No such file or directory"  # glibc's, for onnxruntime-gpu without CUDA
    monkeypatch.setattr(diagnosis, "_load_message", lambda provider: message)
    error = diagnosis.why_not_started(PROVIDERS["cuda"], {})
    assert (type(error), error.given) == (ProviderError, "libcublasLt.so.13")
    assert "onnxruntime-gpu[cuda,cudnn]" in error.fix
    assert diagnosis.why_not_loaded(PROVIDERS["cuda"], "whatever").given == "libcublasLt.so.13"


@pytest.mark.skipif(not shutil.which("gcc"), reason="no compiler makes a library that lacks another")
def test_the_loader_names_what_a_real_library_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capi = tmp_path / "capi"
    capi.mkdir()
    for name in ("libgone.so", "libonnxruntime_providers_shared.so"):
        subprocess.run(["gcc", "-shared", "-o", capi / name, "-x", "c", "/dev/null"], check=True)
    needing = [
        "gcc",
        "-shared",
        "-Wl,--no-as-needed",
        "-o",
        capi / "libonnxruntime_providers_cuda.so",
        "-x",
        "c",
        "/dev/null",
        "-x",
        "none",
    ]
    subprocess.run([*needing, "-L", capi, "-lgone"], check=True)
    (capi / "libgone.so").unlink()
    monkeypatch.setattr(diagnosis, "load_onnxruntime", lambda: SimpleNamespace(__file__=str(tmp_path / "__init__.py")))
    error = diagnosis.why_not_started(PROVIDERS["cuda"], {})
    assert (type(error), error.given) == (ProviderError, "libgone.so")
    assert "LD_LIBRARY_PATH" in error.fix


def test_no_device_is_told_and_an_unknown_reason_is_a_failed_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_load_message", lambda provider: "")
    monkeypatch.setattr(diagnosis, "_no_cuda_device", lambda: "the NVIDIA driver sees no GPU")
    error = diagnosis.why_not_started(PROVIDERS["cuda"], {})
    assert (type(error), error.exit_code, error.given) == (ProviderError, 1, "the NVIDIA driver sees no GPU")
    error = diagnosis.why_not_started(PROVIDERS["openvino"], {"device_type": "NPU"})
    assert (type(error), error.given) == (ProviderError, "device_type=NPU")
    error = diagnosis.why_not_started(PROVIDERS["coreml"], {})
    assert (type(error), error.exit_code) == (GateError, 3)


def test_the_share_that_must_run_on_the_provider_is_checked(file: Path) -> None:
    with pytest.raises(ConfigError, match="fraction"):
        open_session(file, min_on_provider=1.5)
    session = open_session(file, allow_fallback=True)
    assert session.placement.fallback_allowed
    assert not open_session(file).placement.fallback_allowed


# Plug-in libraries


@pytest.mark.parametrize("name", ["plugin:", "plugin:name", "plugin:=path", "plugin:name="])
def test_a_plugin_needs_a_name_and_a_path(file: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="plugin:NAME=PATH"):
        open_session(file, provider=name)


def test_a_plugin_that_is_not_there_or_is_no_library(file: Path) -> None:
    with pytest.raises(ProviderError, match="does not exist"):
        open_session(file, provider=f"plugin:mine={file.parent / 'none.so'}")
    with pytest.raises(ProviderError, match="cannot be loaded") as caught:
        open_session(file, provider=f"plugin:mine={file}")
    assert "built for this onnxruntime" in caught.value.fix


def test_a_library_that_is_no_provider(file: Path) -> None:
    native = next(Path(onnxruntime.__file__).parent.glob("capi/*providers_shared*"), None)
    if native is None:
        pytest.skip("this onnxruntime has no library beside its own")
    with pytest.raises(ProviderError, match="cannot be loaded"):
        open_session(file, provider=f"plugin:mine={native}")


@dataclass(frozen=True)
class FakeDevice:
    """What `get_ep_devices` lists."""

    ep_name: str
    device: SimpleNamespace


def fake_device(ep_name: str, kind: str, number: int = 0) -> FakeDevice:
    return FakeDevice(ep_name, SimpleNamespace(type=SimpleNamespace(name=kind), vendor_id=1, device_id=number))


class FakeRuntime:
    """ONNX Runtime with plug-ins: registering a library adds its devices."""

    def __init__(self, brings: list[FakeDevice]) -> None:
        self.devices, self.brings, self.registered = [fake_device(CPU, "CPU")], brings, dict[str, str]()

    def register_execution_provider_library(self, name: str, path: str) -> None:
        self.registered[name] = path
        self.devices += self.brings

    def unregister_execution_provider_library(self, name: str) -> None:
        del self.registered[name]

    def get_ep_devices(self) -> list[FakeDevice]:
        return self.devices

    def get_available_providers(self) -> list[str]:
        return [CPU]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    fake = FakeRuntime([fake_device("MyExecutionProvider", "GPU"), fake_device("MyExecutionProvider", "NPU")])
    monkeypatch.setattr(plugins, "load_onnxruntime", lambda: fake)
    monkeypatch.setattr(plugins, "_registered", {})
    return fake


def test_a_plugin_is_registered_once_and_its_device_chosen(runtime: FakeRuntime, file: Path) -> None:
    for _ in range(2):
        provider, devices = plugins.resolve_provider(f"plugin:mine={file}")
        assert (provider.name, provider.ort_name, len(devices)) == ("mine", "MyExecutionProvider", 2)
    assert runtime.registered == {"mine": str(file.resolve())}
    chosen, left = plugins.choose_devices(devices, {"device_type": "npu", "a": "b"})
    assert (chosen[0].device.type.name, left) == ("NPU", {"a": "b"})
    assert plugins.choose_devices(devices, {})[0][0].device.type.name == "GPU"
    with pytest.raises(ProviderError, match="GPU, NPU"):
        plugins.choose_devices(devices, {"device_type": "CPU"})
    with pytest.raises(ProviderError, match="registered already"):
        plugins.resolve_provider(f"plugin:mine={file.parent}")


def test_a_plugin_without_a_device_is_taken_out_again(runtime: FakeRuntime, file: Path) -> None:
    runtime.brings = []
    with pytest.raises(ProviderError, match="no device"):
        plugins.register_plugin("mine", file, "MyExecutionProvider")
    assert runtime.registered == {}


def test_a_session_on_devices_runs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device way of ONNX Runtime, on the one device that is everywhere: its own CPU provider."""
    devices = plugins.devices_of(CPU)
    if not devices:
        pytest.skip("this onnxruntime lists no devices")
    monkeypatch.setattr("edgerec.runtime.session.resolve_provider", lambda name: (find_provider("cpu"), devices))
    session = open_session(file, provider="plugin:cpu=any")
    assert session.placement.share(CPU) == 1
    np.testing.assert_array_equal(session.run({"input": X})["logits"], [[0, 290]])


# Several flavours of onnxruntime


def wheel(folder: Path, name: str, files: dict[str, int]) -> metadata.Distribution:
    """Write the record that an installed wheel leaves."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{path},,{size}\n" for path, size in files.items()))
    return metadata.Distribution.at(info)


def test_two_flavours_are_explained(tmp_path: Path) -> None:
    native = "onnxruntime/capi/state.so"
    wheels = [wheel(tmp_path, "onnxruntime", {native: 5}), wheel(tmp_path, "onnxruntime-gpu", {native: 9}), wheel(tmp_path, "numpy", {})]
    (tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
    (tmp_path / native).write_bytes(bytes(9))  # the one installed last
    assert installed_flavours(wheels) == {"onnxruntime": "1.0", "onnxruntime-gpu": "1.0"}
    assert winning_flavour(wheels) == "onnxruntime-gpu"
    told = explain_flavours(PROVIDERS["cuda"], wheels)
    assert "the files on disk are onnxruntime-gpu's" in told
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in told
    assert "edgerec[cuda]" in told
    (tmp_path / native).unlink()  # one of them was uninstalled
    assert "a mixture" in explain_flavours(None, wheels)
    assert explain_flavours(None, wheels[:1]) == ""


def test_plugins_beside_onnxruntime_are_no_second_flavour(tmp_path: Path) -> None:
    names = [
        "onnxruntime",
        "onnxruntime-ep-openvino",
        "onnxruntime-extensions",
        "onnxruntime-tools",
        "onnxruntime-qnn",
        "onnxruntime-genai",
    ]
    assert list(installed_flavours([wheel(tmp_path, name, {}) for name in names])) == ["onnxruntime"]
    own = wheel(tmp_path / "old", "onnxruntime_qnn", {"onnxruntime/capi/state.so": 0})
    (tmp_path / "old" / "onnxruntime" / "capi").mkdir(parents=True)
    (tmp_path / "old" / "onnxruntime" / "capi" / "state.so").touch()  # from Python 3.12 on, a wheel's record lists what is there
    assert list(installed_flavours([own])) == ["onnxruntime-qnn"]


def test_this_environment_has_one_flavour() -> None:
    assert len(installed_flavours()) == 1
    assert winning_flavour() in installed_flavours()
    assert explain_flavours() == ""


# auto


def test_auto_with_one_provider_measures_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "candidates", lambda: ["cpu"])
    session = open_session(file, provider="auto")
    assert (session.provider, session.choice) == ("cpu", auto.Choice("cpu"))


def test_auto_skips_what_fails_and_remembers(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "candidates", lambda: ["cpu", "rocm"])
    session = open_session(file, provider="auto", threads=1)
    choice = session.choice
    assert choice is not None
    assert (session.provider, list(choice.p50_ms)) == ("cpu", ["cpu"])
    assert choice.p50_ms["cpu"] > 0
    assert "migraphx" in choice.skipped["rocm"]
    monkeypatch.setattr(auto, "measure_providers", None)  # would fail when called
    assert open_session(file, provider="auto", threads=1).choice == choice
    cache.clear("auto")
    with pytest.raises(TypeError):
        open_session(file, provider="auto", threads=1)


def test_auto_takes_the_fastest(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = {"slow": 0.004, "quick": 0.001, "middle": 0.002}
    monkeypatch.setattr(auto, "_call", lambda file, request, least: lambda: time.sleep(waits[request]))
    choice = auto.measure_providers(file, list(waits), lambda name: name, 0.9)  # type: ignore[arg-type, return-value]
    assert choice.provider == "quick"
    assert sorted(choice.p50_ms, key=lambda name: choice.p50_ms[name]) == ["quick", "middle", "slow"]


def test_auto_says_when_nothing_runs_and_when_the_file_is_no_model(file: Path) -> None:
    def refuse(name: str) -> Request:
        raise ProviderError("no", name)

    with pytest.raises(ProviderError, match="no provider runs this model: a: no: a; b"):
        auto.measure_providers(file, ["a", "b"], refuse, 0.9)
    file.write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot load"):
        auto.measure_providers(file, ["cpu"], lambda name: Request(find_provider(name), PROFILES["latency"], 1), 0.9)


def test_auto_takes_no_options_of_one_provider(file: Path) -> None:
    with pytest.raises(ConfigError, match="belong to one provider"):
        open_session(file, provider="auto", options={"device_id": "0"})
