"""Every test has its own cache folder, so that none depends on what ran before on this machine."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

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
