"""Every test has its own cache folder, so that none depends on what ran before on this machine."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper
from PIL import Image

from edgerec.cli import main

# The models here are tiny: threads would wait for each other longer than they compute, most of all beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EDGEREC_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def make_core() -> Callable[..., ModelProto]:
    """Return a maker of small classifiers: one convolution, mean and variance of what it finds, four classes."""
    return core


def core(
    *,
    name: str = "input",
    channels: int = 3,
    layout: str = "NCHW",
    quantizer: tuple[float, int] | None = None,
    batch: int | str = "N",
    opset: int = 17,
    probabilities: bool = False,
) -> ModelProto:
    """Write one as text; weights are random, but the same every time."""
    shape = f"{batch}, {channels}, 16, 16" if layout == "NCHW" else f"{batch}, 16, 16, {channels}"
    start = f"given = Identity ({name})"
    if quantizer:
        start = f"whole = QuantizeLinear ({name}, s, z) given = DequantizeLinear (whole, s, z)"
    if layout == "NHWC":
        start += " first = Transpose <perm = [0, 3, 1, 2]> (given)"
    source = "first" if layout == "NHWC" else "given"
    end = " y = Softmax <axis = -1> (logits)" if probabilities else " y = Identity (logits)"
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]> g (float[{shape}] {name}) => (float[{batch}, 4] y) {{
        {start}
        features = Conv <pads = [1, 1, 1, 1]> ({source}, w)
        positive = Relu (features)
        pooled = GlobalAveragePool (positive)
        flat = Flatten (pooled)
        logits = Gemm (flat, head)
        {end}
    }}"""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(3)
    arrays = {"w": rng.normal(size=(8, channels, 3, 3)), "head": 2 * rng.normal(size=(8, 4))}
    model.graph.initializer.extend(numpy_helper.from_array(array.astype(np.float32), key) for key, array in arrays.items())
    if quantizer:
        model.graph.initializer.append(numpy_helper.from_array(np.array(quantizer[0], np.float32), "s"))
        model.graph.initializer.append(numpy_helper.from_array(np.array(quantizer[1], np.uint8), "z"))
    return model


@pytest.fixture(scope="session")
def make_pictures() -> Callable[..., None]:
    return pictures


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of two easy classes, trained by the command itself."""
    folder = tmp_path_factory.mktemp("trained")
    pictures(folder / "data")
    code = main(
        [
            "train",
            "--model",
            "cnn",
            "--data",
            str(folder / "data"),
            "--input-size",
            "1x12x12",
            "--epochs",
            "3",
            "--batch",
            "16",
            "--augment",
            "none",
            "-o",
            str(folder / "a.safetensors"),
            "-q",
        ]
    )
    assert code == 0
    return folder


@pytest.fixture(scope="session")
def exported(trained: Path) -> Path:
    assert main(["export", str(trained / "a.safetensors"), "-o", str(trained / "a.onnx"), "--data", str(trained / "data"), "-q"]) == 0
    return trained


@pytest.fixture
def error_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return what runs the command, expects an exit code and no traceback, and returns what was printed on stderr."""

    def run(*arguments: str, code: int = 1) -> str:
        capsys.readouterr()
        assert main(list(arguments)) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        if code in (1, 3):
            assert err.splitlines()[-3].startswith("error: "), err
            assert err.splitlines()[-2].startswith("  given: "), err
            assert err.splitlines()[-1].startswith("  what to do: "), err
        return err

    return run


def pictures(folder: Path, count: int = 60) -> None:
    """Dark and bright pictures, one sub-folder a class."""
    noise = np.random.default_rng(0)
    for name, level in (("bright", 200), ("dark", 40)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(noise.integers(level - 40, level + 40, (12, 12), np.uint8)).save(folder / name / f"{number}.png")


@pytest.fixture
def bare(exported: Path, tmp_path: Path) -> Path:
    """The exported file without what it says about itself."""
    model = onnx.load(exported / "a.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    return tmp_path / "bare.onnx"
