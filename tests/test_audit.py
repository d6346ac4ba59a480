"""Tests of benchmarks/audit.py: small models that ONNX Runtime really runs."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgerec.benchmarks.audit import Audit, audit
from edgerec.graph.file import save_onnx, with_spec
from edgerec.runtime.errors import ConfigError, DataError, ModelError, ProviderError
from edgerec.runtime.spec import InputSpec, ModelSpec

CHANNELS = 16


def pair(tensor: str) -> list[NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [tensor, "scale", "zero"], [f"{tensor}_q"], f"{tensor}_quantize"),
        helper.make_node("DequantizeLinear", [f"{tensor}_q", "scale", "zero"], [f"{tensor}_d"], f"{tensor}_dequantize"),
    ]


def network(between: NodeProto, *, free: bool = False) -> ModelProto:
    """Return conv -> `between` (from c1_d to m) -> conv, on 8 bits around each convolution."""
    draw = np.random.default_rng(0)
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "scale": np.array(0.05, np.float32),
        "zero": np.array(128, np.uint8),
        "w": draw.integers(-127, 127, (CHANNELS, CHANNELS, 3, 3)).astype(np.int8),
        "w_scale": np.full(CHANNELS, 0.01, np.float32),
        "w_zero": np.zeros(CHANNELS, np.int8),
        "pads": np.array([0, 0, 0, 0, 0, 0, 1, 1], np.int64),
    }
    nodes = [
        *pair("x"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_d"], "weight", axis=0),
        helper.make_node("Conv", ["x_d", "w_d"], ["c1"], "first", pads=[1, 1, 1, 1]),
        *pair("c1"),
        between,
        *pair("m"),
        helper.make_node("Conv", ["m_d", "w_d"], ["c2"], "second", pads=[1, 1, 1, 1]),
        *pair("c2"),
        helper.make_node("Identity", ["c2_d"], ["y"], "out"),
    ]
    size = ["h", "w_"] if free else [8, 8]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", CHANNELS, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", CHANNELS, "h_y", "w_y"])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


SWISH = helper.make_node("HardSwish", ["c1_d"], ["m"], "swish")
PAD = helper.make_node("Pad", ["c1_d", "pads"], ["m"], "pad", mode="reflect")
POOL = helper.make_node("MaxPool", ["c1_d"], ["m"], "pool", kernel_shape=[2, 2], strides=[1, 1], pads=[1, 1, 0, 0])
CONV_MACS = 8 * 8 * CHANNELS * CHANNELS * 9


def quick(model: Path | ModelProto, **options: object) -> Audit:
    return audit(model, runs=3, **options)


def test_an_activation_without_int8_kernel_strands_its_conversions() -> None:
    result = quick(network(SWISH))
    assert {node.title for node in result.nodes if node.kind == "int8"} == {"first", "second"}
    (island,) = result.islands
    assert (island.before, island.behind) == (("first",), ("second",))
    assert "swish" in {name for node in result.nodes if node.name in island.nodes for name in node.origins}
    titles = [one.title for one in result.findings]
    assert "1 float island between int8 layers" in titles
    assert any(title.startswith("Quantize/DequantizeLinear stranded") for title in titles)
    assert any(title.startswith("no int8 kernel for Hard") for title in titles)
    assert "loat island between int8 layers" in result.explanation


def test_a_pad_between_convolutions_is_an_island_that_should_be_folded() -> None:
    result = quick(network(PAD))
    assert [island.core for island in result.islands] == [("pad",)]
    assert "Pad nodes of their own beside convolutions or pools" in [one.title for one in result.findings]


def test_a_graph_that_stays_on_integers_has_no_island() -> None:
    result = quick(network(POOL))
    assert result.islands == ()
    assert result.macs == 2 * CONV_MACS
    assert result.int8_macs_share == 1
    assert result.placement == {"CPUExecutionProvider": len(result.nodes)}


def test_the_parts_add_up() -> None:
    result = quick(network(SWISH))
    assert sum(result.ms_by_kind.values()) == pytest.approx(result.kernels_ms)
    assert result.peak is not None
    assert result.peak_share == pytest.approx(result.macs / (result.latency_ms * 1e6) / result.peak.int8_gmacs)
    assert result.batch == 1


def test_a_file_and_its_content_are_the_same_audit(tmp_path: Path) -> None:
    model = network(POOL)
    save_onnx(model, tmp_path / "small.onnx")
    from_file, from_memory = quick(tmp_path / "small.onnx"), quick(model)
    assert (from_file.file, from_memory.file) == ("small.onnx", "network")
    assert [node.name for node in from_file.nodes] == [node.name for node in from_memory.nodes]


def test_feeds_of_the_user_are_used() -> None:
    assert quick(network(POOL), feeds={"x": np.zeros((5, CHANNELS, 8, 8), np.float32)}).batch == 5


def test_open_sizes_come_from_the_caller_or_the_file() -> None:
    model = network(POOL, free=True)
    with pytest.raises(ConfigError, match="leaves the size of its input open"):
        quick(model)
    image = InputSpec(6, 6, name="x", color="grey", mean=(0.0,), std=(1.0,))
    assert quick(model, images=(image,)).macs == 2 * 6 * 6 * CHANNELS * CHANNELS * 9
    assert quick(with_spec(model, ModelSpec((image,)))).macs == 2 * 6 * 6 * CHANNELS * CHANNELS * 9


def test_what_cannot_be_audited(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="damaged or not ONNX"):
        quick(tmp_path / "broken.onnx")
    with pytest.raises(ProviderError, match="unknown execution provider"):
        quick(network(POOL), provider="fly")
    with pytest.raises(DataError, match="refuses this input"):
        quick(network(POOL), feeds={"x": np.zeros((1, 2), np.float32)})
    with pytest.raises(ConfigError, match="at least one run"):
        audit(network(POOL), runs=0)
