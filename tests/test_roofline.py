"""Tests of benchmarks/roofline.py and benchmarks/traffic.py: bounds by hand, and bytes of a model that ONNX Runtime really runs."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerec.benchmarks.bandwidth import bandwidth_at
from edgerec.benchmarks.executed import Executed
from edgerec.benchmarks.measured import Peaks
from edgerec.benchmarks.roofline import judge, roofline
from edgerec.runtime.errors import ConfigError

# A byte takes 1 ns, a float product 1 ns, an integer product 0.25 ns.
PEAKS = Peaks(1, {"fp32": 1.0, "int8": 4.0}, 1.0)


def node(kind: str, macs: int) -> Executed:
    return Executed("n", "n", "Conv", kind, "CPUExecutionProvider", 1000.0, 1.0, macs, ())


@pytest.mark.parametrize(
    ("nodes", "moved", "ms", "bound", "share"),
    [
        ([node("float", 1_000_000)], [1000], 2.0, "fp32", 0.5),
        ([node("int8", 1_000_000)], [1000], 1.0, "int8", 0.25),
        ([node("int8", 1_000_000), node("float", 500_000)], [0, 0], 1.5, "fp32", 0.5),  # 0.25 ms and 0.5 ms
        ([node("float", 1000)], [1_000_000], 2.0, "memory", 0.5),
        ([node("float", 1000)], [1000], 1.0, "overhead", 0.001),
    ],
)
def test_the_bound_is_what_takes_longest(nodes: list[Executed], moved: list[int], ms: float, bound: str, share: float) -> None:
    found = judge(nodes, moved, ms, PEAKS)
    assert found.bound == bound
    assert found.share == pytest.approx(share)


def test_a_product_is_counted_in_macs_and_bytes() -> None:
    weight = numpy_helper.from_array(np.ones((64, 32), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 32])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = roofline(model, peaks=PEAKS)
    assert found is not None
    (cost,) = found.operators
    assert found.macs == cost.macs == 8 * 64 * 32
    assert found.bytes == cost.bytes == 4 * (8 * 64 + 64 * 32 + 8 * 32)  # the weight that the kernel packs is among them


def test_other_providers_have_no_roof_yet() -> None:
    assert roofline(helper.make_model(helper.make_graph([], "g", [], [])), provider="cuda") is None


def test_the_bandwidth_is_that_of_the_buffer_that_holds_the_working_set() -> None:
    rates = {10: 3.0, 100: 2.0}
    assert [bandwidth_at(rates, size) for size in (5, 10, 11, 1000)] == [(10, 3.0), (10, 3.0), (100, 2.0), (100, 2.0)]
    with pytest.raises(ConfigError):
        bandwidth_at({}, 1)
