"""Tests of benchmarks/file_findings.py: each trap in a small file, and none in a clean one."""

import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgerec.benchmarks.file_findings import file_findings, machine_findings
from edgerec.benchmarks.records import Machine

X86 = Machine("some processor", ("avx2", "avx512f", "avx512_vnni"), 2, "x86_64", "Linux 6", "3.11")
OLD_X86 = Machine("an older one", ("avx2",), 2, "x86_64", "Linux 6", "3.11")
ARM = Machine("a board", ("asimd", "asimddp"), 4, "aarch64", "Linux 6", "3.11")


def quantized(
    *,
    activation: npt.DTypeLike = np.uint8,
    weight: npt.DTypeLike = np.int8,
    per_channel: bool = True,
    constants_as_nodes: bool = False,
    opset: int = 17,
) -> ModelProto:
    """Return a convolution between QuantizeLinear and DequantizeLinear."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "scale": np.array(0.1, np.float32),
        "zero": np.zeros((), activation),
        "w": np.ones((4, 3, 1, 1), weight),
        "w_scale": np.full(4 if per_channel else (), 0.1, np.float32),
        "w_zero": np.zeros(4 if per_channel else (), weight),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["x_q"], "enter"),
        helper.make_node("DequantizeLinear", ["x_q", "scale", "zero"], ["x_d"], "back"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_d"], "weight", axis=0),
        helper.make_node("Conv", ["x_d", "w_d"], ["y"], "conv"),
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    if constants_as_nodes:
        nodes = [*(helper.make_node("Constant", [], [one.name], f"c_{one.name}", value=one) for one in tensors), *nodes]
        tensors = []
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "test", [value], [result], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def told(model: ModelProto, provider: str = "cpu", where: Machine = X86) -> dict[str, tuple[str, ...]]:
    return {one.title: one.nodes for one in file_findings(model, provider, where)}


@pytest.mark.parametrize("constants_as_nodes", [False, True])
def test_a_good_int8_file_has_no_findings(constants_as_nodes: bool) -> None:
    assert told(quantized(constants_as_nodes=constants_as_nodes)) == {}


@pytest.mark.parametrize("constants_as_nodes", [False, True])
@pytest.mark.parametrize(
    ("model", "provider", "where", "title", "nodes"),
    [
        ({"per_channel": False}, "cpu", X86, "convolution weights have one scale a tensor", ("conv",)),
        ({"activation": np.int8}, "cpu", X86, "activations are int8, on x86", ("enter",)),
        ({"weight": np.uint8}, "cpu", X86, "weights are uint8, on x86", ("conv",)),
        ({}, "cpu", OLD_X86, "this processor has no VNNI", ("conv",)),
        ({}, "cuda", X86, "int8 convolutions have no kernel on CUDA: they run in float, between conversions", ("conv",)),
        ({}, "tensorrt", X86, "activations are uint8, which TensorRT refuses", ("enter",)),
        ({"activation": np.uint16, "opset": 21}, "cpu", X86, "activations are quantized to other than 8 bits", ("enter",)),
    ],
)
def test_traps_of_quantized_files(
    model: dict[str, object], provider: str, where: Machine, title: str, nodes: tuple[str, ...], constants_as_nodes: bool
) -> None:
    assert told(quantized(**model, constants_as_nodes=constants_as_nodes), provider, where)[title] == nodes


def test_the_cuda_finding_offers_float16() -> None:
    (finding,) = file_findings(quantized(), "cuda", X86)
    assert "--precision fp16" in finding.advice


def test_int8_activations_are_right_on_arm_and_on_tensorrt() -> None:
    assert told(quantized(activation=np.int8), "cpu", ARM) == {}
    assert told(quantized(activation=np.int8), "tensorrt", X86) == {}


def test_versions_that_old_runtimes_do_not_read() -> None:
    model = quantized(opset=20)
    model.ir_version = 10
    assert set(told(model)) == {"opset 20 is newer than old runtimes read", "IR version 10 is newer than old runtimes read"}


def test_weights_among_the_inputs_are_no_constants_from_ir_4_on() -> None:
    model = quantized()
    model.graph.input.add(name="w").type.tensor_type.elem_type = TensorProto.INT8
    assert told(model) == {"weights are inputs of the graph, so that they are no constants": ("w",)}
    model.ir_version = 3
    assert told(model) == {}


def test_a_file_that_the_optimiser_saved_is_not_portable() -> None:
    model = quantized()
    model.graph.node[-1].domain = "com.microsoft.nchwc"
    assert told(model)["the file was saved by ONNX Runtime's optimiser"] == ("conv",)


def test_the_installation_and_the_container() -> None:
    assert machine_findings(["onnxruntime", "numpy"], host_cores=4, allowed_cores=4) == []
    (both,) = machine_findings(["onnxruntime-gpu", "onnxruntime"], host_cores=1, allowed_cores=1)
    assert both.title == "onnxruntime and onnxruntime-gpu are installed together and overwrite each other"
    (pool,) = machine_findings([], host_cores=64, allowed_cores=2)
    assert "64 threads where this process may use 2" in pool.title
    assert "intra_op_num_threads = 2" in pool.advice
