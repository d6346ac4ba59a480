"""Static quantization: SQNR against the float file, ranges against numpy, and everything a foreign file may bring."""

import hashlib
import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto

from edgerec.compress.quantization import Quantization, Quantized, quantize
from edgerec.graph.cleanup import normalise
from edgerec.graph.file import read_spec, with_spec
from edgerec.runtime.errors import ConfigError, DataError, ModelError
from edgerec.runtime.session import open_session
from edgerec.runtime.spec import InputSpec, ModelSpec

Array = np.ndarray
Batch = int | str


class Graph:
    """Builds a small model, node by node."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def weight(self, *shape: int, scale: float = 1.0) -> str:
        return self.constant((self.rng.normal(size=shape) * scale).astype(np.float32))

    def constant(self, array: Array) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(onnx.numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, *inputs: str, outputs: tuple[str, ...] = (), domain: str = "", **attributes: object) -> str:
        outputs = outputs or (f"t{len(self.nodes)}",)
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), list(outputs), domain=domain, **attributes))
        return outputs[0] or outputs[-1]

    def conv(self, source: str, inputs: int, outputs: int, *, kernel: int = 3, **attributes: object) -> str:
        weight = self.weight(outputs, inputs // int(attributes.get("group", 1)), kernel, kernel, scale=(inputs * kernel**2) ** -0.5)
        return self.add("Conv", source, weight, self.weight(outputs, scale=0.1), pads=[kernel // 2] * 4, **attributes)

    def batch_norm(self, source: str, channels: int) -> str:
        mean, variance = self.weight(channels, scale=0.1), self.constant(self.rng.uniform(0.5, 2, channels).astype(np.float32))
        return self.add("BatchNormalization", source, self.constant(np.ones(channels, np.float32)), self.weight(channels), mean, variance)

    def model(
        self, shape: tuple[Batch, ...], output: str, width: int | None = 10, *, opset: int = 17, weights_as_inputs: bool = False
    ) -> ModelProto:
        inputs = [onnx.helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)]
        if weights_as_inputs:  # as IR version 3 demands
            inputs += [onnx.helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in self.weights]
        result = onnx.helper.make_empty_tensor_value_info(output)
        if width is not None:
            result = onnx.helper.make_tensor_value_info(output, TensorProto.FLOAT, [shape[0], width])
        graph = onnx.helper.make_graph(self.nodes, "net", inputs, [result], self.weights)
        ir_version = 3 if opset < 9 else 8
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=ir_version)


def conv_net(*, opset: int = 17, batch: Batch = "n", weights_as_inputs: bool = False) -> ModelProto:
    """Four convolutions with a batch norm, a residual sum, a depthwise layer, pools, and a dense layer whose bias is (1, 10)."""
    g = Graph()
    stem = g.add("Relu", g.batch_norm(g.conv("input", 3, 16), 16))
    inner = g.conv(g.add("Relu", g.conv(stem, 16, 16)), 16, 16)
    joined = g.add("MaxPool", g.add("Relu", g.add("Add", inner, stem)), kernel_shape=[2, 2], strides=[2, 2])
    pooled = g.add("GlobalAveragePool", g.add("Relu", g.conv(joined, 16, 16, group=16)))
    product = g.add("MatMul", g.add("Flatten", pooled), g.weight(16, 10))
    logits = g.add("Add", product, g.weight(1, 10))
    return g.model((batch, 3, 12, 12), logits, opset=opset, weights_as_inputs=weights_as_inputs)


def feeds(count: int = 64, seed: int = 1, shape: tuple[int, ...] = (3, 12, 12)) -> dict[str, Array]:
    return {"input": np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)}


def run(model: ModelProto, images: Mapping[str, Array]) -> Array:
    return next(iter(open_session(model.SerializeToString(), threads=1).run(images).values()))


def sqnr(reference: Array, other: Array) -> float:
    """Return the signal-to-noise ratio of `other` in dB."""
    return float(10 * np.log10((reference**2).sum() / ((reference - other) ** 2).sum()))


def optimised_ops(model: ModelProto, folder: Path) -> Counter[str]:
    """Return what ONNX Runtime really runs: the operators after its extended optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def weights_of(model: ModelProto) -> dict[str, Array]:
    return {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}


@pytest.mark.parametrize("method", ["percentile", "minmax"])
def test_outputs_stay_near_the_float_files_and_kernels_are_int8(method: str, tmp_path: Path) -> None:
    model = conv_net()
    before = model.SerializeToString()
    result = quantize(model, [feeds()], Quantization(method=method))
    assert model.SerializeToString() == before, "the input is never edited"
    unseen = feeds(seed=2)
    assert sqnr(run(model, unseen), run(result.model, unseen)) > 20
    ops = optimised_ops(result.model, tmp_path)
    assert (ops["QLinearConv"], ops["Conv"], ops["BatchNormalization"]) == (4, 0, 0)
    assert ops["QLinearAdd"] == ops["QGemm"] == 1
    assert result.report.images == 64
    assert result.report.quantized["Conv"] == 4
    assert result.report.left_float == {}
    assert result.report.size_bytes_before == len(before)


def test_weights_are_int8_per_channel_and_activations_uint8() -> None:
    constants = weights_of(quantize(conv_net(), [feeds()]).model)
    kernels = [array for array in constants.values() if array.ndim == 4]
    assert len(kernels) == 4
    assert all(array.dtype == np.int8 and abs(array.astype(int)).max() == 127 for array in kernels)
    per_channel = [array for name, array in constants.items() if name.endswith("_scale") and array.shape == (16,)]
    assert len(per_channel) >= 4
    points = [array for name, array in constants.items() if name.endswith("_zero_point") and array.dtype in (np.int8, np.uint8)]
    assert {array.dtype.name for array in points if array.ndim == 0} == {"uint8"}
    assert all((array == 0).all() for array in points if array.dtype == np.int8)


def test_per_tensor_has_one_scale_a_kernel() -> None:
    constants = weights_of(quantize(conv_net(), [feeds()], Quantization(per_channel=False)).model)
    assert all(array.size == 1 for name, array in constants.items() if name.endswith("_scale"))


@pytest.mark.parametrize(("opset", "weights_as_inputs"), [(8, True), (11, False), (12, False), (18, False)])
def test_foreign_opsets(opset: int, weights_as_inputs: bool) -> None:
    model = conv_net(opset=opset, weights_as_inputs=weights_as_inputs)
    result = quantize(model, [feeds()])
    onnx.checker.check_model(result.model, full_check=True)
    assert next(one.version for one in result.model.opset_import if not one.domain) >= 13
    assert [one.name for one in result.model.graph.input] == ["input"]
    assert result.model.ir_version == 8
    assert sqnr(run(model, feeds(seed=2)), run(result.model, feeds(seed=2))) > 20


def test_preparation_changes_nothing_but_the_form() -> None:
    model = conv_net(opset=8, weights_as_inputs=True)
    assert run(normalise(model).model, feeds()) == pytest.approx(run(model, feeds()), abs=1e-5)


def test_fixed_batch_uses_whole_batches_only() -> None:
    result = quantize(conv_net(batch=4), [feeds(10)])
    assert result.report.images == 8


def test_fixed_batch_is_filled_over_the_batches_that_come() -> None:
    whole = feeds(12)["input"]
    parts = [{"input": whole[start : start + 3]} for start in range(0, 12, 3)]
    one, other = quantize(conv_net(batch=4), [{"input": whole}]), quantize(conv_net(batch=4), parts)
    assert other.report.images == 12
    assert one.model.SerializeToString() == other.model.SerializeToString()


def test_fewer_images_than_a_fixed_batch_are_refused() -> None:
    with pytest.raises(DataError, match="at least 4 images"):
        quantize(conv_net(batch=4), [feeds(3)])
    with pytest.raises(DataError, match="samples is 3"):
        quantize(conv_net(batch=4), [feeds(8)], Quantization(samples=3))


def test_what_to_install_is_told_where_onnxruntime_is_missing(tmp_path: Path) -> None:
    onnx.save(conv_net(), tmp_path / "net.onnx")
    without = "import sys; sys.modules['onnxruntime'] = None\n" + SCRIPT
    done = subprocess.run([sys.executable, "-c", without, str(tmp_path / "net.onnx")], capture_output=True, text=True, check=False)
    assert "ProviderError: onnxruntime is not installed" in done.stderr
    assert "edgerec[cpu]" in done.stderr


def test_samples_bound_what_is_read() -> None:
    def batches() -> Iterator[dict[str, Array]]:
        yield feeds(8)
        yield feeds(8)
        raise AssertionError("12 images are enough")

    assert quantize(conv_net(), batches(), Quantization(samples=12)).report.images == 12


def test_batching_does_not_matter() -> None:
    whole = feeds(12)["input"]
    parts = [{"input": whole[start : start + 5]} for start in range(0, 12, 5)]
    one, other = quantize(conv_net(), [{"input": whole}]), quantize(conv_net(), reversed(parts))
    assert one.model.SerializeToString() == other.model.SerializeToString()
    assert one.report == other.report


SCRIPT = """
import hashlib, sys
import numpy as np, onnx
from edgerec.compress.quantization import quantize
images = np.random.default_rng(1).normal(size=(8, 3, 12, 12)).astype(np.float32)
result = quantize(onnx.load(sys.argv[1]), [{"input": images}])
print(hashlib.sha256(result.model.SerializeToString(deterministic=True)).hexdigest())
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_same_bytes_in_every_process_and_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(conv_net(), tmp_path / "net.onnx")
    monkeypatch.setenv("PYTHONHASHSEED", "123")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [sys.executable, "-P", "-c", SCRIPT, str(tmp_path / "net.onnx")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    here = quantize(conv_net(), [feeds(8)]).model.SerializeToString(deterministic=True)
    assert told[0] == hashlib.sha256(here).hexdigest()
    loaded = set(told[1].split())
    assert not loaded & {"torch", "torch_pruning", "accelerate", "kornia"}
    assert str(tmp_path).encode() not in here


def test_spec_travels_and_remembers() -> None:
    spec = ModelSpec((InputSpec(12, 12),), tuple("abcdefghij"))
    result = quantize(with_spec(conv_net(), spec), [feeds(8)])
    found = read_spec(result.model)
    assert found is not None
    assert (found.inputs, found.labels) == (spec.inputs, spec.labels)
    assert [step["step"] for step in found.provenance.history] == ["quantize"]
    assert found.provenance.history[0]["samples"] == 8
    assert [entry.key for entry in result.model.metadata_props] == ["edgerec"]


def test_extreme_data_does_not_break() -> None:
    dead = {"input": np.zeros((1, 3, 12, 12), np.float32)}  # one image, and nothing in it
    assert np.isfinite(run(quantize(conv_net(), [dead]).model, feeds())).all()


def attention_block() -> ModelProto:
    """LayerNorm, a dense layer, attention weights times values, and the residual sum."""
    g = Graph()
    normal = g.add("LayerNormalization", "input", g.constant(np.ones(16, np.float32)))
    values = g.add("MatMul", normal, g.weight(16, 16, scale=0.25))
    scores = g.add("Softmax", g.add("MatMul", values, g.add("Transpose", values, perm=[0, 2, 1])), axis=-1)
    joined = g.add("Add", g.add("MatMul", scores, values), "input")
    return g.model(("n", 5, 16), g.add("MatMul", joined, g.weight(16, 10)), width=None)


def test_transformers_keep_all_but_products_in_float(tmp_path: Path) -> None:
    model, images = attention_block(), feeds(shape=(5, 16))
    result = quantize(model, [images])
    assert result.report.quantized == {"MatMul": 4}
    assert {"LayerNormalization", "Softmax", "Add"} <= set(result.report.left_float)
    assert sqnr(run(model, images), run(result.model, images)) > 20
    assert optimised_ops(result.model, tmp_path)["LayerNormalization"] == 1


def test_gates_stay_float() -> None:
    """Hard-swish spelled out as x * clip(x + 3, 0, 6) / 6, and a squeeze-excite gate."""
    g = Graph()
    x = g.conv("input", 3, 8)
    shifted = g.add("Add", x, g.constant(np.float32(3)))
    clipped = g.add("Clip", shifted, g.constant(np.float32(0)), g.constant(np.float32(6)))
    swish = g.add("Div", g.add("Mul", x, clipped), g.constant(np.float32(6)))
    gate = g.add("HardSigmoid", g.conv(g.add("GlobalAveragePool", swish), 8, 8, kernel=1))
    last = g.add("GlobalAveragePool", g.conv(g.add("Mul", swish, gate), 8, 10))
    model = g.model(("n", 3, 12, 12), g.add("Flatten", last))
    report = quantize(model, [feeds()]).report
    assert report.quantized["Conv"] == 3
    assert report.left_float == {"HardSigmoid": 2, "Mul": 2}


def test_recurrent_layers_stay_float_and_the_report_says_so() -> None:
    g = Graph()
    rows = g.add("Transpose", "input", perm=[1, 0, 2])
    last = g.add("GRU", rows, g.weight(1, 24, 12), g.weight(1, 24, 8), hidden_size=8, outputs=("", "state"))
    flat = g.add("Squeeze", last, g.constant(np.array([0], np.int64)))
    model = g.model(("n", 12, 12), g.add("Gemm", flat, g.weight(8, 10), g.weight(10)))
    result = quantize(model, [feeds(shape=(12, 12))])
    assert result.report.quantized["Gemm"] == 1
    assert result.report.left_float["GRU"] == 1
    assert any("recurrent" in note for note in result.report.notes)
    assert sqnr(run(model, feeds(shape=(12, 12))), run(result.model, feeds(shape=(12, 12)))) > 20


WRONG: dict[str, Iterable[dict[str, Array]]] = {
    "none": [],
    "no image": [feeds(0)],
    "other size": [feeds(shape=(3, 10, 12))],
    "other rank": [{"input": feeds()["input"][0]}],
    "other name": [{"image": feeds()["input"]}],
    "one too many": [{**feeds(), "mask": feeds()["input"]}],
    "pixels": [{"input": np.zeros((2, 3, 12, 12), np.uint8)}],
    "NaN": [{"input": np.full((2, 3, 12, 12), np.nan, np.float32)}],
    "infinity": [{"input": np.full((2, 3, 12, 12), np.inf, np.float32)}],
}


@pytest.mark.parametrize("images", WRONG.values(), ids=WRONG.keys())
def test_wrong_calibration_images_are_refused(images: list[dict[str, Array]]) -> None:
    with pytest.raises(DataError) as caught:
        quantize(conv_net(), images)
    assert caught.value.problem
    assert caught.value.given
    assert caught.value.fix


def test_model_that_computes_nan_is_named() -> None:
    g = Graph()
    root = g.add("Sqrt", "input", outputs=("root",))
    model = g.model(("n", 3, 12, 12), g.add("Flatten", g.add("GlobalAveragePool", g.conv(root, 3, 10))))
    with pytest.raises(ModelError, match=r"NaN or infinity.*'root'"):
        quantize(model, [feeds()])


def test_quantized_file_is_refused() -> None:
    once = quantize(conv_net(), [feeds(4)]).model
    with pytest.raises(ModelError, match=r"quantized already.*QuantizeLinear.*float model"):
        quantize(once, [feeds(4)])


def test_nothing_to_quantize_is_refused() -> None:
    g = Graph()
    with pytest.raises(ModelError, match=r"nothing to quantize.*Relu"):
        quantize(g.model(("n", 10), g.add("Relu", "input")), [feeds(shape=(10,))])


def test_unknown_domain_is_refused() -> None:
    g = Graph()
    model = g.model(("n", 10), g.add("Magic", "input", domain="com.example"), width=None)
    with pytest.raises(ModelError, match=r"unknown domain.*com.example::Magic"):
        quantize(model, [feeds(shape=(10,))])


def test_model_that_cannot_run_is_refused() -> None:
    g = Graph()
    model = g.model(("n", 3, 12, 12), g.conv("nowhere", 3, 10), width=None)
    with pytest.raises(ModelError, match="cannot load this model"):
        quantize(model, [feeds()])


@pytest.mark.parametrize("fields", [{"method": "best"}, {"percentile": 0.999}, {"percentile": 101}, {"samples": 0}])
def test_settings_out_of_range_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        Quantization(**fields)
    assert caught.value.problem
    assert caught.value.given
    assert caught.value.fix


def test_function_and_package_do_not_hide_each_other() -> None:
    compress = importlib.import_module("edgerec.compress")
    package = importlib.import_module("edgerec.compress.quantization")
    assert compress.quantize is package.quantize is quantize
    assert compress.quantization is package
    assert compress.Quantized is Quantized
    with pytest.raises(AttributeError, match="quantise"):
        getattr(compress, "quantise")  # noqa: B009
