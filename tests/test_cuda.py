"""CUDA: its libraries from pip's packages, and wherever a GPU is, the CPU's answers on it."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerec.compress import quantize
from edgerec.compress.quantization import Quantization
from edgerec.graph.precision import to_fp16
from edgerec.runtime import InputSpec, ModelSpec, Recognizer, cuda_libraries, open_session
from edgerec.runtime.errors import EdgerecError
from edgerec.runtime.providers import PROVIDERS, Provider

CUDA = "CUDAExecutionProvider"
on_gpu = pytest.mark.skipif(
    CUDA not in onnxruntime.get_available_providers() or not Path("/dev/nvidia0").exists(),
    reason="did not run: no NVIDIA GPU, or no onnxruntime-gpu",
)
rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (32, 16, 16, 3), np.uint8)
SPEC = ModelSpec((InputSpec(16, 16, mean=(0.5,) * 3, std=(0.25,) * 3),), labels=tuple("abcde"))


def small_cnn(images: int | str = "n") -> onnx.ModelProto:
    """Three convolutions and a classifier, seeded, with edgerec's metadata."""
    shapes = {"a": (16, 3, 3, 3), "b": (16, 16, 3, 3), "c": (32, 16, 3, 3), "d": (32, 5)}
    weights = [numpy_helper.from_array((rng.normal(size=s) * np.sqrt(2 / np.prod(s[1:]))).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["a1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a1"], ["a2"]),
        helper.make_node("Conv", ["a2", "b"], ["b1"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["a2", "b1"], ["b2"]),
        helper.make_node("Relu", ["b2"], ["b3"]),
        helper.make_node("Conv", ["b3", "c"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["c2"]),
        helper.make_node("GlobalAveragePool", ["c2"], ["c3"]),
        helper.make_node("Flatten", ["c3"], ["c4"]),
        helper.make_node("MatMul", ["c4", "d"], ["y"]),
    ]
    declared = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [images, 3, 16, 16]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [images, 5]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", declared[:1], declared[1:], weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    helper.set_model_props(model, {"edgerec": SPEC.to_json()})
    return model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cnn.onnx"
    onnx.save(small_cnn(), path)
    return path


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Stand-ins: an onnxruntime for GPUs whose `preload_dlls` talks, and `nvidia` packages."""
    calls: list[str] = []

    def preload() -> None:
        calls.append("preload")
        print("Failed to load libcufft.so.12")

    monkeypatch.setattr(cuda_libraries, "load_onnxruntime", lambda: SimpleNamespace(preload_dlls=preload))
    monkeypatch.setattr(cuda_libraries, "find_spec", {"nvidia": True}.get)
    cuda_libraries._preload.cache_clear()
    yield calls
    cuda_libraries._preload.cache_clear()


def test_pips_cuda_libraries_are_loaded_once_and_without_a_word(called: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cuda", "tensorrt", "cuda"):
        cuda_libraries.preload_for(PROVIDERS[name])
    assert called == ["preload"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("provider", [PROVIDERS["cpu"], PROVIDERS["openvino"]])
def test_other_providers_load_none(called: list[str], provider: Provider) -> None:
    cuda_libraries.preload_for(provider)
    assert called == []


def test_without_such_packages_nothing_is_done(called: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_libraries, "find_spec", dict[str, bool]().get)
    cuda_libraries.preload_for(PROVIDERS["cuda"])
    assert called == []


@on_gpu
def test_cuda_gives_the_cpus_answers_and_proves_its_placement(file: Path) -> None:
    x = rng.normal(size=(4, 3, 16, 16)).astype(np.float32)
    cpu, cuda = (open_session(file, provider=name, options=options) for name, options in (("cpu", {}), ("cuda", {"use_tf32": "0"})))
    assert cuda.placement.share(CUDA) == 1
    np.testing.assert_allclose(cuda.run({"x": x})["y"], cpu.run({"x": x})["y"], rtol=1e-4, atol=1e-4)


@on_gpu
def test_the_recognizer_gives_the_cpus_scores_on_cuda_in_every_way_it_is_called(file: Path) -> None:
    with Recognizer.load(file) as cpu, Recognizer.load(file, provider="cuda", options={"use_tf32": "0"}) as cuda:
        wanted = [[one.score for one in cpu.predict(image)] for image in IMAGES]
        for _ in range(2):  # the second call runs through bound buffers
            single = [[one.score for one in cuda.predict(image)] for image in IMAGES]
            np.testing.assert_allclose(single, wanted, atol=1e-4)
        batch = [[one.score for one in found] for found in cuda.predict_batch(IMAGES)]
        np.testing.assert_allclose(batch, wanted, atol=1e-4)
        with cuda.stream(iter(IMAGES)) as found:
            np.testing.assert_allclose([[one.score for one in one] for one in found], wanted, atol=1e-4)


@on_gpu
def test_float16_on_cuda_is_the_float_file_within_its_precision(file: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    onnx.save(to_fp16(onnx.load(file)), half)
    x = rng.normal(size=(4, 3, 16, 16)).astype(np.float32)
    cuda = open_session(half, provider="cuda")
    assert cuda.placement.share(CUDA) >= 0.9
    wanted = open_session(file).run({"x": x})["y"]
    assert np.abs(cuda.run({"x": x})["y"] - wanted).max() <= 5e-3 * np.abs(wanted).max()


@on_gpu
def test_an_int8_file_on_cuda_runs_its_convolutions_in_float_and_keeps_its_answers(file: Path, tmp_path: Path) -> None:
    int8 = tmp_path / "int8.onnx"
    model = quantize(onnx.load(file), [{"x": rng.normal(size=(16, 3, 16, 16)).astype(np.float32)}], Quantization(speed="int8")).model
    onnx.save(model, int8)
    x = rng.normal(size=(4, 3, 16, 16)).astype(np.float32)
    cuda = open_session(int8, provider="cuda", allow_fallback=True)
    wanted = open_session(int8).run({"x": x})["y"]
    assert np.abs(cuda.run({"x": x})["y"] - wanted).max() <= 0.05 * np.abs(wanted).max()


@on_gpu
def test_a_gpu_that_is_not_there_is_refused(file: Path) -> None:
    with pytest.raises(EdgerecError, match="device") as caught:
        open_session(file, provider="cuda", options={"device_id": "99"})
    assert caught.value.exit_code in (1, 3)


@on_gpu
def test_auto_measures_the_gpu_too(file: Path) -> None:
    session = open_session(file, provider="auto")
    assert session.choice is not None
    assert {"cpu", "cuda"} <= session.choice.p50_ms.keys()
