"""Kernel times: what a kernel is, the model it is measured in, the table and its file."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerec.benchmarks.kernel import Kernel, Operand, Operator, Precision, conversion, kernel_of
from edgerec.benchmarks.kernel_models import AFTER, BEFORE, model_of
from edgerec.benchmarks.kernel_times import KernelTimes, load_times, measure_kernel, save_times, this_device, time_kernels
from edgerec.benchmarks.profiling import profile
from edgerec.runtime.errors import DataError

IMAGE = Operand((1, 16, 12, 12))


def conv(out: int = 16, size: int = 12, **attributes: int | tuple[int, ...]) -> Operator:
    given = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), **attributes}
    operands = Operand((1, 16, size, size)), Operand((out, 16, 3, 3), constant=True), Operand((out,), constant=True)
    return Operator("Conv", operands, tuple(sorted(given.items())))


def gemm() -> Operator:
    return Operator("Gemm", (Operand((1, 64)), Operand((10, 64), constant=True), Operand((10,), constant=True)), (("transB", 1),))


SLICE = Operator("Slice", (IMAGE, *(Operand((2,), constant=True, integer=True, values=one) for one in ((0, 0), (99, 99), (2, 3), (2, 2)))))
PAD = Operator("Pad", (IMAGE, Operand((8,), constant=True, integer=True, values=(0, 8, 0, 0, 0, 8, 0, 0))))


@pytest.mark.parametrize(
    ("operator", "executed"),
    [
        (conv(), ["QLinearConv"]),
        (gemm(), ["QGemm"]),
        (Operator("MatMul", (Operand((1, 8, 16)), Operand((16, 4), constant=True))), ["QLinearMatMul"]),
        (Operator("Add", (IMAGE, IMAGE)), ["QLinearAdd"]),
        (Operator("Mul", (IMAGE, Operand((1, 16, 1, 1)))), ["QLinearMul"]),
        (Operator("Concat", (IMAGE, IMAGE), (("axis", 1),)), ["QLinearConcat"]),
        (Operator("MaxPool", (IMAGE,), (("kernel_shape", (2, 2)),)), ["NhwcMaxPool"]),
        (Operator("GlobalAveragePool", (IMAGE,)), ["QLinearGlobalAveragePool"]),
        (Operator("Sigmoid", (IMAGE,)), ["QLinearSigmoid"]),
        (Operator("HardSigmoid", (IMAGE,)), ["QLinearAdd"]),
        (SLICE, ["Slice"]),
        (PAD, ["Pad"]),
        (Operator("Relu", (IMAGE,)), ["DequantizeLinear", "Relu", "QuantizeLinear"]),  # no kernel: it steps to float and back
    ],
)
def test_int8_operators_run_as_they_do_inside_an_int8_network(operator: Operator, executed: list[str]) -> None:
    assert _executed(Kernel((operator,), "int8")) == executed


@pytest.mark.parametrize(
    ("kernel", "executed"),
    [
        (Kernel((conv(), Operator("Relu", (IMAGE,))), "fp32"), ["Conv"]),  # fused
        (Kernel((SLICE,), "fp32"), ["ReorderOutput", "Slice", "ReorderInput"]),  # leaves the layout of float convolutions
        (Kernel((Operator("MaxPool", (IMAGE,), (("kernel_shape", (2, 2)),)),), "fp32"), ["MaxPool"]),
        (conversion((1, 16, 8, 8), to_int8=True), ["ReorderOutput", "QuantizeLinear", "Transpose"]),
        (conversion((1, 16, 8, 8), to_int8=True, at_edge=True), ["QuantizeLinear", "Transpose"]),
        (conversion((1, 10), to_int8=False), ["DequantizeLinear"]),
    ],
)
@pytest.mark.skipif("avx2" not in this_device().instructions, reason="blocks of channels are a layout of x86 processors")
def test_float_operators_run_as_they_do_inside_a_float_network(kernel: Kernel, executed: list[str]) -> None:
    assert _executed(kernel) == executed


def test_more_work_takes_longer() -> None:
    small, large = (measure_kernel(Kernel((conv(16, size),), "fp32")) for size in (4, 64))

    assert 0 <= small < large / 20  # 256 times as many multiplications


def test_what_cannot_run_takes_for_ever() -> None:
    assert measure_kernel(Kernel((Operator("Add", (Operand((1, 3)), Operand((1, 4)))),), "fp32")) == math.inf


def test_kernels_of_nodes() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv", kernel_shape=[1, 1], strides=[2, 2]),
        helper.make_node("Clip", ["a", "", "six"], ["b"], "clip"),
    ]
    constants = {one.name: one for one in (_constant("w", np.ones((8, 3, 1, 1))), _constant("six", np.array(6)))}
    shapes = {"x": (1, 3, 8, 8), "a": (1, 8, 4, 4)}
    first = Operator("Conv", (Operand((1, 3, 8, 8)), Operand((8, 3, 1, 1), constant=True)), (("kernel_shape", (1, 1)), ("strides", (2, 2))))

    assert kernel_of(nodes, shapes, constants, "int8") == Kernel((first,), "int8")  # the grid does the Clip
    clip = Operator("Clip", (Operand((1, 8, 4, 4)), None, Operand((), constant=True, values=(6.0,))))
    assert kernel_of(nodes, shapes, constants, "fp32") == Kernel((first, clip), "fp32")
    assert kernel_of(nodes, {"x": (1, 3, None, 8)}, constants, "int8") is None


def test_only_new_kernels_are_measured_and_the_cache_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEREC_CACHE", str(tmp_path))
    one, two = Kernel((gemm(),), "fp32"), Kernel((gemm(),), "int8")
    asked: list[Kernel] = []

    def measure(kernel: Kernel) -> float:
        asked.append(kernel)
        return 5.0

    time_kernels([one, one], measure=measure)
    table = time_kernels([one, two], measure=measure)

    assert asked == [one, two]
    assert table.of([one, two, two]) == 15
    assert table.of([Kernel((SLICE,), "int8")]) is None
    assert table.run_us > 0
    (stored,) = (tmp_path / "kernel-times").iterdir()
    stored.write_bytes(b"\x80 not a table")
    assert time_kernels([one], measure=measure).us == {one: 5.0}  # measured again


def test_a_table_goes_to_a_file_and_back(tmp_path: Path) -> None:
    times = KernelTimes(this_device(), {Kernel((SLICE,), "int8"): 1.5, Kernel((conv(), gemm()), "fp32"): math.inf}, 4.0)

    save_times(times, tmp_path / "times.json")

    assert load_times(tmp_path / "times.json") == times


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 99}', '{"schema_version": 1, "kernels": 3, "device": {}}'])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    path.write_text(text)

    with pytest.raises(DataError):
        load_times(path)
    with pytest.raises(DataError, match="cannot be read"):
        load_times(tmp_path / "missing.json")


def _executed(kernel: Kernel) -> list[str]:
    """Return the operators that run between the neighbours, layout changes of the model's own inputs and outputs left out."""
    model = model_of(kernel)
    feeds = {}
    for value in model.graph.input:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        feeds[value.name] = np.zeros(shape, np.float32 if value.type.tensor_type.elem_type == TensorProto.FLOAT else np.uint8)
    result = profile(model, feeds, runs=1)
    assert result.optimised is not None
    outer = {one.name for one in (*result.optimised.graph.input, *result.optimised.graph.output)}
    edges = {
        node.name
        for node in result.optimised.graph.node
        if node.op_type in ("ReorderInput", "ReorderOutput", "Transpose") and outer & {*node.input, *node.output}
    }
    return [one.op_type for one in result.times if one.name not in edges and not one.name.startswith((BEFORE, AFTER))]


def _constant(name: str, array: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(array.astype(np.float32), name)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("inputs", [["x"], ["x", ""]])
def test_a_split_into_equal_parts_has_their_sizes(inputs: list[str], precision: Precision) -> None:
    """Query, key and value of an exporter that names no sizes."""
    split = helper.make_node("Split", inputs, ["q", "k", "v"], axis=2)
    found = kernel_of([split], {"x": (1, 9, 22)}, {}, precision)
    assert found is not None
    assert found.first.operands[1] == Operand((3,), constant=True, integer=True, values=(8, 8, 6))  # the last part takes what is left
    assert [one.op_type for one in model_of(found).graph.node].count("Split") == 1
    assert 0 < measure_kernel(found, runs=3) < math.inf
