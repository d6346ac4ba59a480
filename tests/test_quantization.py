"""Quantization as a whole: signal to noise against the float file, what a foreign file may bring, equal bytes, and what is refused."""

import hashlib
import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.parser
import onnxruntime
import pytest
from onnx import ModelProto

from edgerec.compress.quantization import Corrections, Quantization, Quantized, quantize
from edgerec.graph.file import read_spec, with_spec
from edgerec.runtime.errors import ModelError
from edgerec.runtime.session import open_session
from edgerec.runtime.spec import InputSpec, ModelSpec

Array = np.ndarray
# OpenVINO's types are those of ONNX Runtime on x86, and its kernels are not timed here: quick, and the same on every machine.
CONFIG = Quantization(target="openvino")
PLAIN = replace(CONFIG, method="minmax", corrections=Corrections(equalise=False, correct_bias=False, round_weights=False))

RESIDUAL = """
    [stem] a = Conv <pads = [1, 1, 1, 1]> (input, w0)
    [norm] n = BatchNormalization (a, ones, shift, mean, spread)
    [act] r = Relu (n)
    [inner] b = Conv <pads = [1, 1, 1, 1]> (r, w1, b1)
    [sum] s = Add (b, r)
    [act_2] t = Relu (s)
    [shrink] m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (t)
    [depthwise] d = Conv <pads = [1, 1, 1, 1], group = 8> (m, w2)
    [pool] p = GlobalAveragePool (d)
    [flat] f = Flatten (p)
    [head] logits = Gemm <transB = 1> (f, w3, b3)
"""
SHAPES = {"w0": (8, 3, 3, 3), "w1": (8, 8, 3, 3), "b1": (8,), "w2": (8, 1, 3, 3), "w3": (4, 8), "b3": (4,)}
NORM = {"ones": (8,), "shift": (8,), "mean": (8,), "spread": (8,)}


def net(body: str, head: str, shapes: Mapping[str, tuple[int, ...]], opset: int = 17) -> ModelProto:
    """A model from text, with random weights."""
    model = onnx.parser.parse_model(f'<ir_version: {3 if opset < 9 else 8}, opset_import: ["" : {opset}]> net {head} {{ {body} }}')
    draw = np.random.default_rng(0)
    for name, shape in shapes.items():
        values = draw.normal(size=shape) * float(np.prod(shape[1:])) ** -0.5
        values = draw.uniform(0.5, 2, shape) if name in ("ones", "spread") else values
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    return model


def residual_net(opset: int = 17, batch: str = "N") -> ModelProto:
    """Three convolutions with a batch norm, a residual sum, pools and a dense layer."""
    model = net(RESIDUAL, f"(float[{batch}, 3, 12, 12] input) => (float[{batch}, 4] logits)", SHAPES | NORM, opset)
    if opset < 9:  # files of that time list their weights among the inputs
        constants = model.graph.initializer
        model.graph.input.extend(onnx.helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in constants)
    return model


def feeds(count: int = 32, seed: int = 1, shape: tuple[int, ...] = (3, 12, 12)) -> dict[str, Array]:
    return {"input": np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)}


def run(model: ModelProto, images: Mapping[str, Array]) -> Array:
    return next(iter(open_session(model.SerializeToString(), threads=1).run(images).values()))


def sqnr(model: ModelProto, other: ModelProto, images: Mapping[str, Array]) -> float:
    """Return the signal-to-noise ratio of the other model's first output in dB."""
    expected, found = run(model, images), run(other, images)
    return float(10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum()))


def executed(model: ModelProto, folder: Path) -> Counter[str]:
    """Return what ONNX Runtime really runs: the operators after its extended optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize("method", ["auto", "minmax", "percentile", "mse", "entropy"])
def test_outputs_stay_near_the_float_files_and_kernels_are_int8(method: str, tmp_path: Path) -> None:
    model = residual_net()
    before = model.SerializeToString()
    result = quantize(model, [feeds()], replace(CONFIG, method=method))
    assert model.SerializeToString() == before, "the input is never edited"
    assert sqnr(model, result.model, feeds(seed=2)) > (14 if method == "entropy" else 25), "on images that it has not seen"
    ops = executed(result.model, tmp_path)
    assert (ops["QLinearConv"], ops["QLinearAdd"], ops["QLinearGlobalAveragePool"], ops["QGemm"]) == (3, 1, 1, 1)
    assert not ops.keys() & {"Conv", "Relu", "BatchNormalization", "Gemm", "Add"}


def test_weights_are_int8_per_channel_and_the_file_shrinks() -> None:
    result = quantize(residual_net(), [feeds()], CONFIG)
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in result.model.graph.initializer}
    kernels = [array for array in constants.values() if array.ndim == 4]
    assert len(kernels) == 3
    assert all(array.dtype == np.int8 and abs(array.astype(int)).max() == 127 for array in kernels)
    assert not [name for name, array in constants.items() if array.dtype == np.float32 and array.size > 8], "no weight is there twice"


def test_without_corrections_the_rounding_is_plain() -> None:
    model = net("logits = MatMul (input, w)", "(float[N, 6] input) => (float[N, 4] logits)", {"w": (6, 4)})
    found = {one.name: onnx.numpy_helper.to_array(one) for one in quantize(model, [feeds(shape=(6,))], PLAIN).model.graph.initializer}
    weight = onnx.numpy_helper.to_array(model.graph.initializer[0])
    expected = np.rint(weight / (np.abs(weight).max(axis=0) / 127)).astype(np.int8)
    assert any(array.shape == (6, 4) and np.array_equal(array, expected) for array in found.values())


@pytest.mark.parametrize("name", ["equalise", "correct_bias", "round_weights"])
def test_no_correction_costs_more_than_it_brings(name: str) -> None:
    model, images = residual_net(), feeds(64)
    plain = quantize(model, [images], PLAIN)
    corrected = quantize(model, [images], replace(PLAIN, corrections=replace(PLAIN.corrections, **{name: True})))
    assert plain.report.sqnr_db is not None
    assert corrected.report.sqnr_db is not None
    assert corrected.report.sqnr_db > plain.report.sqnr_db - 0.5


@pytest.mark.parametrize("opset", [8, 11, 12, 18])
def test_foreign_opsets(opset: int) -> None:
    model = residual_net(opset)
    result = quantize(model, [feeds()], PLAIN)
    onnx.checker.check_model(result.model, full_check=True)
    assert next(one.version for one in result.model.opset_import if not one.domain) >= 13
    assert [one.name for one in result.model.graph.input] == ["input"]
    assert sqnr(model, result.model, feeds(seed=2)) > 25


SCRIPT = """
import hashlib, sys
import numpy as np, onnx
from edgerec.compress.quantization import Quantization, quantize
images = np.random.default_rng(1).normal(size=(8, 3, 12, 12)).astype(np.float32)
result = quantize(onnx.load(sys.argv[1]), [{"input": images}], Quantization(target="openvino", speed="int8"))
print(hashlib.sha256(result.model.SerializeToString(deterministic=True)).hexdigest())
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_same_bytes_in_every_process_and_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(residual_net(), tmp_path / "net.onnx")
    monkeypatch.setenv("PYTHONHASHSEED", "123")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [sys.executable, "-P", "-c", SCRIPT, str(tmp_path / "net.onnx")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    here = quantize(residual_net(), [feeds(8)], replace(CONFIG, speed="int8")).model.SerializeToString(deterministic=True)
    assert told[0] == hashlib.sha256(here).hexdigest()
    assert not set(told[1].split()) & {"torch", "torch_pruning", "accelerate", "kornia"}
    assert str(tmp_path).encode() not in here


def test_what_to_install_is_told_where_onnxruntime_is_missing(tmp_path: Path) -> None:
    onnx.save(residual_net(), tmp_path / "net.onnx")
    without = "import sys; sys.modules['onnxruntime'] = None\n" + SCRIPT
    done = subprocess.run([sys.executable, "-c", without, str(tmp_path / "net.onnx")], capture_output=True, text=True, check=False)
    assert "ProviderError: onnxruntime is not installed" in done.stderr
    assert "edgerec[cpu]" in done.stderr


def test_spec_travels_and_remembers() -> None:
    spec = ModelSpec((InputSpec(12, 12),), tuple("abcd"))
    result = quantize(with_spec(residual_net(), spec), [feeds(8)], CONFIG)
    found = read_spec(result.model)
    assert found is not None
    assert (found.inputs, found.labels) == (spec.inputs, spec.labels)
    assert [step["step"] for step in found.provenance.history] == ["quantize"]
    step = found.provenance.history[0]
    assert (step["samples"], step["target"], step["round_weights"]) == (8, "openvino", True)
    assert str(step["method"]).startswith("auto (")
    assert [entry.key for entry in result.model.metadata_props] == ["edgerec"]


def test_several_inputs_and_outputs_of_several_types() -> None:
    body = """
        [stem] a = Conv <pads = [1, 1, 1, 1]> (left, w0)
        [act] r = Relu (a)
        [pool] p = GlobalAveragePool (r)
        [flat] features = Flatten (p)
        [side] d = Gemm <transB = 1> (right, w1, b1)
        [sum] s = Add (features, d)
        [head] logits = Gemm <transB = 1> (s, w3, b3)
        [same] again = Identity (ids)
    """
    head = "(float[N, 3, 8, 8] left, float[N, 6] right, int64[N, 2] ids) => (float[N, 4] logits, float[N, 8] features, int64[N, 2] again)"
    model = net(body, head, {**SHAPES, "w1": (8, 6)})
    images = {"left": feeds(8, shape=(3, 8, 8))["input"], "right": feeds(8, shape=(6,))["input"], "ids": np.arange(16).reshape(8, 2)}
    result = quantize(model, [images], CONFIG)
    expected, found = (open_session(one.SerializeToString(), threads=1).run(images) for one in (model, result.model))
    assert list(found) == ["logits", "features", "again"]
    assert np.array_equal(found["again"], images["ids"])
    for name in ("logits", "features"):
        assert found[name] == pytest.approx(expected[name], abs=0.05 * float(np.abs(expected[name]).max()))


def test_control_flow_passes_through() -> None:
    body = """
        [before] d = Gemm <transB = 1> (input, w0)
        most = ReduceMax <keepdims = 0> (d)
        zero = Constant <value = float {0.0}> ()
        is_large = Greater (most, zero)
        [choice] c = If (is_large) <
            then_branch = yes () => (float[N, 8] t) { t = Neg (d) },
            else_branch = no () => (float[N, 8] e) { e = Abs (d) }>
        [after] logits = Gemm <transB = 1> (c, w3)
    """
    model = net(body, "(float[N, 6] input) => (float[N, 4] logits)", {"w0": (8, 6), "w3": (4, 8)})
    result = quantize(model, [feeds(shape=(6,))], CONFIG)
    assert {one.name: one.precision for one in result.report.layers}["after"] == "int8"
    assert [node.op_type for node in result.model.graph.node].count("If") == 1
    assert sqnr(model, result.model, feeds(4, seed=2, shape=(6,))) > 25


def test_transformers_keep_all_but_products_with_weights_in_float(tmp_path: Path) -> None:
    body = """
        [norm] n = LayerNormalization (input, ones)
        [values] v = MatMul (n, w0)
        [turn] k = Transpose <perm = [0, 2, 1]> (v)
        [products] scores = MatMul (v, k)
        [weigh] shares = Softmax <axis = -1> (scores)
        [mix] x = MatMul (shares, v)
        [sum] j = Add (x, input)
        [head] logits = MatMul (j, w3)
    """
    model = net(body, "(float[N, 5, 16] input) => (float[N, 5, 4] logits)", {"ones": (16,), "w0": (16, 16), "w3": (16, 4)})
    result = quantize(model, [feeds(shape=(5, 16))], CONFIG)
    assert [one.name for one in result.report.layers if one.precision == "int8"] == ["values", "head"]
    assert executed(result.model, tmp_path)["LayerNormalization"] == 1
    assert sqnr(model, result.model, feeds(seed=2, shape=(5, 16))) > 30


def test_model_that_computes_nan_is_named() -> None:
    body = "[root] r = Sqrt (input) [dense] logits = MatMul (r, w)"
    model = net(body, "(float[N, 6] input) => (float[N, 4] logits)", {"w": (6, 4)})
    with pytest.raises(ModelError, match=r"NaN.*'root'.*tensor 'r'"):
        quantize(model, [feeds(shape=(6,))], CONFIG)
    # Only the 40th image is negative: the clean-up, which looks at the first ones, cannot know.
    images = np.abs(feeds(64, shape=(6,))["input"])
    images[40] *= -1
    with pytest.raises(ModelError, match=r"NaN.*'root'.*tensor 'r'"):
        quantize(model, [{"input": images}], CONFIG)


REFUSED = {
    "nothing to quantize": ("logits = Relu (input)", "nothing to quantize.*Relu"),
    "unknown domain": ("logits = com.example.Magic (input)", "unknown domain.*com.example::Magic"),
    "no such tensor": ("logits = MatMul (nowhere, w)", "cannot load this model"),
    "integers": ("s = DynamicQuantizeLinear (input) logits = Relu (input)", "quantized already.*DynamicQuantizeLinear"),
}


@pytest.mark.parametrize(("body", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_models_that_are_refused(body: str, told: str) -> None:
    model = net(body, "(float[N, 6] input) => (float[N, 6] logits)", {"w": (6, 6)})
    if "com.example" in body:
        model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    with pytest.raises(ModelError, match=told):
        quantize(model, [feeds(shape=(6,))], CONFIG)


def test_our_own_file_is_refused() -> None:
    once = quantize(residual_net(), [feeds(4)], PLAIN).model
    with pytest.raises(ModelError, match=r"quantized already.*QuantizeLinear.*float model"):
        quantize(once, [feeds(4)], PLAIN)


def test_function_and_package_do_not_hide_each_other() -> None:
    compress = importlib.import_module("edgerec.compress")
    package = importlib.import_module("edgerec.compress.quantization")
    assert compress.quantize is package.quantize is quantize
    assert compress.quantization is package
    assert compress.Quantized is Quantized
    with pytest.raises(AttributeError, match="quantise"):
        getattr(compress, "quantise")  # noqa: B009
