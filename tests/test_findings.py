"""Tests of benchmarks/findings.py and benchmarks/explanation.py: each trap, on nodes written by hand."""

from dataclasses import replace

import pytest

from edgerec.benchmarks.executed import Executed, Kind
from edgerec.benchmarks.explanation import explain, shortened
from edgerec.benchmarks.findings import Finding, execution_findings
from edgerec.benchmarks.peak import Peak

PEAK = Peak(int8_gmacs=200, float_gmacs=50, threads=1)


def node(name: str, op_type: str, kind: Kind, reads: str = "", makes: str = "", *, dtype: str = "float", us: float = 100.0) -> Executed:
    return Executed(name, name, op_type, kind, "CPUExecutionProvider", us, 0, 0, (name,), tuple(reads.split()), tuple(makes.split()), dtype)


def convolution(name: str, weight: tuple[int, ...], groups: int = 1) -> Executed:
    return replace(node(name, "QLinearConv", "int8", dtype="uint8"), weight_shape=weight, groups=groups)


def titles(*nodes: Executed, provider: str = "cpu") -> list[str]:
    return [one.title for one in execution_findings(nodes, provider)]


@pytest.mark.parametrize(
    ("weight", "groups", "told"),
    [
        ((16, 3, 3, 3), 1, "no multiple of 4"),
        ((16, 4, 3, 3), 1, "fewer than 16"),
        ((8, 32, 1, 1), 1, "fewer than 16"),
        ((16, 16, 3, 3), 1, ""),
        ((24, 48, 3, 3), 1, ""),
        ((32, 1, 3, 3), 32, ""),
    ],
)
def test_channels_of_integer_convolutions(weight: tuple[int, ...], groups: int, told: str) -> None:
    found = titles(convolution("conv", weight, groups))
    assert len(found) == bool(told)
    assert all(told in title for title in found)


def test_an_island_names_its_nodes_what_it_costs_and_its_way() -> None:
    nodes = [
        node("first", "QLinearConv", "int8", "x", "a8", dtype="uint8"),
        node("back", "DequantizeLinear", "conversion", "a8", "a", us=10),
        node("swish", "HardSwish", "float", "a", "b", us=30),
        node("again", "QuantizeLinear", "conversion", "b", "b8", dtype="uint8", us=20),
        node("second", "QLinearConv", "int8", "b8", "c8", dtype="uint8"),
    ]
    found = {one.title: one for one in execution_findings(nodes)}
    island = found["1 float island between int8 layers"]
    assert (island.nodes, island.cost_ms) == (("swish",), pytest.approx(0.06))
    assert "first -> swish -> second" in island.advice
    conversions = found["Quantize/DequantizeLinear stranded beside HardSwish"]
    assert (conversions.nodes, conversions.cost_ms) == (("back", "again"), pytest.approx(0.03))
    assert found["no int8 kernel for HardSwish"].cost_ms == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ([node("pad", "Pad", "movement", "x", "p"), node("conv", "Conv", "float", "p", "y")], "Pad nodes of their own"),
        ([node("reorder", "ReorderInput", "layout")], ""),
        ([replace(node("reorder", "ReorderInput", "layout"), origins=())], "layout changes"),
        ([node(f"size_{at}", "Gather", "shape") for at in range(4)], "sizes and indices"),
        ([node("size", "Shape", "shape")], ""),
        ([node("conv", "ConvInteger", "int8")], "dynamically quantized convolutions"),
        ([node("product", "MatMulInteger", "int8"), node("scale", "DynamicQuantizeLinear", "conversion")], ""),
        ([node("cast", "Cast", "conversion", dtype="float16")], "float16 on the CPU"),
        ([node("cast", "Cast", "conversion", dtype="int64")], ""),
        ([node("norm", "BatchNormalization", "float")], "BatchNormalization that is not folded"),
        ([node("norm", "LayerNormalization", "float")], ""),  # in a float file there is nothing to regret
    ],
)
def test_other_traps(nodes: list[Executed], told: str) -> None:
    found = titles(*nodes)
    assert bool(found) == bool(told)
    assert all(told in title for title in found)


def test_nodes_that_fall_back_to_the_cpu_are_named() -> None:
    nodes = [node("conv", "Conv", "float"), replace(node("other", "Conv", "float"), provider="CUDAExecutionProvider")]
    assert titles(*nodes, provider="cuda") == ["nodes that run on the CPU instead of cuda"]


def test_the_paragraph_has_the_total_the_kinds_and_the_guilty() -> None:
    nodes = [replace(node("conv", "QLinearConv", "int8", us=900), macs=45_000_000), replace(node("gelu", "Gelu", "float"), macs=5_000_000)]
    findings = [Finding("no int8 kernel for Gelu", ("gelu",), 0.1, "use ReLU"), Finding("odd", ("conv",), 0.001, "never mind")]
    told = explain(nodes, findings, latency_ms=1.0, threads=1, peak=PEAK)
    # 50 million in 1 ms are 50 GMAC/s, a quarter of 200.
    assert "One run takes 1.000 ms on 1 thread: 50 million multiply-accumulates, 90% of them in int8 kernels" in told
    assert "at 25% of this machine's int8 peak (200 GMAC/s)" in told
    assert "90% in int8 kernels, 10% in float kernels" in told
    assert "No int8 kernel for Gelu: 10% of the time, 0.100 ms (gelu)." in told
    assert "odd" not in told


def test_the_paragraph_of_a_float_file_names_the_most_expensive_nodes() -> None:
    nodes = [replace(node("conv", "Conv", "float", us=300), macs=10_000_000), node("relu", "Relu", "float")]
    told = explain(nodes, [], latency_ms=0.4, threads=2, peak=PEAK)
    assert "none of them in int8 kernels" in told
    assert "50% of its float peak" in told
    assert "the most expensive ones are conv (75%), relu (25%)" in told
    assert "Nothing else stands out." in told


def test_a_paragraph_without_products_or_peak() -> None:
    assert explain([], [], latency_ms=0.1, threads=1, peak=None, provider="cuda").startswith("One run takes 0.100 ms on 1 thread.")


def test_long_lists_are_shortened() -> None:
    assert shortened(["a", "b"]) == "a, b"
    assert shortened(list("abcdef")) == "a, b, c, d and 2 more"
