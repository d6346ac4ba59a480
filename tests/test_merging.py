"""Parallel layers as one: the same numbers from one layer, only where it may and where it wins."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import onnx.checker
import onnx.parser
import onnx.shape_inference
import pytest
from onnx import ModelProto, NodeProto, numpy_helper

from edgerec.benchmarks.kernel import Kernel
from edgerec.benchmarks.kernel_times import KernelTimes, measure_kernel, this_device
from edgerec.benchmarks.latency import Comparison, Speedup
from edgerec.compress.quantization import Corrections, Layer, Quantization, Rules, float_shaping, merging, quantize
from edgerec.compress.quantization.fitting import fit
from edgerec.compress.quantization.float_shaping import fastest_float
from edgerec.compress.quantization.joining import Part, join, join_on_one_grid
from edgerec.compress.quantization.kernels import Shaped
from edgerec.compress.quantization.merging import float_merging_edits, merge_layers, shape_fastest
from edgerec.compress.quantization.qdq import write_qdq
from edgerec.compress.quantization.rewriting import Scene, applied
from edgerec.compress.quantization.scheme import Grid, Scheme, round_weight
from edgerec.graph.execution import open_model

Arrays = dict[str, np.ndarray]
CONFIG = Quantization(method="minmax", corrections=Corrections(equalise=False, correct_bias=False, round_weights=False), speed="int8")

TOKENS = """
    [q] q0 = MatMul (x, wq) [q_sum] q1 = Add (q0, bq)
    [k] k0 = MatMul (x, wk) [k_sum] k1 = Add (bk, k0)
    [v] v0 = MatMul (x, wv) [v_sum] v1 = Add (v0, bv)
    [turn] kt = Transpose <perm = [0, 2, 1]> (k1)
    [scores] s = MatMul (q1, kt) [weights] p = Softmax (s) [mix] y = MatMul (p, v1)
"""
TOKEN_WEIGHTS = {"wq": (8, 4), "wk": (8, 4), "wv": (8, 6), "bq": (4,), "bk": (4,), "bv": (6,)}
HEADS = """
    [a] a0 = Gemm <transB = 1> (x, wa, ba) [a_gate] y = Sigmoid (a0)
    [b] b0 = Gemm <transB = 1> (x, wb, bb) [b_gate] z = Sigmoid (b0)
"""
HEAD_WEIGHTS = {"wa": (3, 16), "ba": (3,), "wb": (5, 16), "bb": (5,)}
FLAT = """
    [a] a0 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, wa, ba)
    [b] b0 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, wb, bb)
    [a_last] y = Transpose <perm = [0, 2, 3, 1]> (a0) [b_last] z = Transpose <perm = [0, 2, 3, 1]> (b0)
"""
FLAT_WEIGHTS = {"wa": (4, 8, 3, 3), "ba": (4,), "wb": (6, 8, 3, 3), "bb": (6,)}
BRANCHES = """
    [stem] s = Conv (x, ws) [stem_act] r = Relu (s)
    [a] a0 = Conv (r, wa, ba) [a_act] a1 = Relu (a0) [a_next] a2 = Conv (a1, va)
    [b] b0 = Conv (r, wb) [b_act] b1 = Relu (b0) [b_next] b2 = Conv (b1, vb)
    [c] c0 = Conv (r, wc, bc) [c_act] c1 = Clip (c0, zero, six) [c_next] c2 = Conv (c1, vc)
    [sum] t = Add (a2, b2) [all] y = Add (t, c2)
"""
BRANCH_WEIGHTS = {
    "ws": (8, 8, 1, 1),
    "wa": (4, 8, 1, 1),
    "ba": (4,),
    "wb": (6, 8, 1, 1),
    "wc": (5, 8, 1, 1),
    "bc": (5,),
    "va": (4, 4, 1, 1),
    "vb": (4, 6, 1, 1),
    "vc": (4, 5, 1, 1),
    "zero": (),
    "six": (),
}


@pytest.mark.parametrize(
    ("body", "weights", "shape", "ops"),
    [
        (TOKENS, TOKEN_WEIGHTS, (5, 8), {"MatMul": (5, 3), "Add": (3, 1), "Split": (0, 1)}),
        (HEADS, HEAD_WEIGHTS, (16,), {"Gemm": (2, 1), "Sigmoid": (2, 1), "Split": (0, 1)}),
        (HEADS.replace(", ba", ""), HEAD_WEIGHTS, (16,), {"Gemm": (2, 1), "Split": (0, 1)}),  # which is one of zeros
        (FLAT, FLAT_WEIGHTS, (8, 6, 6), {"Conv": (2, 1), "Split": (0, 1)}),
    ],
    ids=["attention", "heads", "one without bias", "detector"],
)
def test_in_float_one_layer_computes_what_several_did(
    body: str, weights: dict[str, tuple[int, ...]], shape: tuple[int, ...], ops: dict[str, tuple[int, int]]
) -> None:
    model = net(body, shape, weights)
    merged = merged_in_float(model)
    assert {name: (count(model, name), count(merged, name)) for name in ops} == ops
    onnx.checker.check_model(merged, full_check=True)
    expected, found = (run(one, feeds(shape)) for one in (model, merged))
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        assert np.ptp(array) > 0.1
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)


def test_the_merged_layer_bears_the_names_of_all() -> None:
    merged = merged_in_float(net(TOKENS, (5, 8), TOKEN_WEIGHTS))
    assert next(node.name for node in merged.graph.node if node.op_type == "MatMul") == "q+k+v"


@pytest.mark.parametrize(
    "body",
    [
        FLAT.replace("(x, wb, bb)", "(r, wb, bb)").replace("[b]", "[act] r = Relu (x) [b]"),  # another input
        FLAT.replace("(x, wb, bb)", "(x, wb, bb)").replace("[1, 1, 1, 1]> (x, wb", "[1, 1, 1, 1], dilations = [2, 2]> (x, wb"),
        FLAT.replace("[1, 1, 1, 1]> (x, wb", "[0, 0, 0, 0]> (x, wb"),
        FLAT.replace("[1, 1, 1, 1]> (x, wb", "[1, 1, 1, 1], strides = [2, 2]> (x, wb"),
        FLAT.replace("Transpose <perm = [0, 2, 3, 1]> (b0)", "MaxPool <kernel_shape = [2, 2]> (b0)"),  # an image still
        HEADS.replace("Sigmoid (b0)", "Tanh (b0)"),
        HEADS.replace("[b] b0 = Gemm <transB = 1>", "[b] b0 = Gemm <transB = 1, alpha = 2.0>"),
    ],
    ids=["input", "dilations", "pads", "strides", "reader", "activation", "alpha"],
)
def test_layers_of_another_form_stay_apart(body: str) -> None:
    shape, weights = ((8, 6, 6), FLAT_WEIGHTS) if "Conv" in body else ((16,), HEAD_WEIGHTS)
    model = net(body, shape, weights)
    assert merged_in_float(model) == model


def test_grouped_convolutions_stay_apart() -> None:
    weights = {**FLAT_WEIGHTS, "wa": (4, 4, 3, 3), "wb": (6, 4, 3, 3)}
    model = net(FLAT.replace("pads", "group = 2, pads"), (8, 6, 6), weights)
    assert merged_in_float(model) == model


def test_a_result_that_the_caller_reads_is_still_there() -> None:
    model = net(TOKENS, (5, 8), TOKEN_WEIGHTS, outputs=("y", "q1", "k1"))
    merged = merged_in_float(model)
    assert count(merged, "Split") == 1
    for name, array in run(model, feeds((5, 8))).items():
        np.testing.assert_allclose(run(merged, feeds((5, 8)))[name], array, rtol=1e-5, atol=1e-5)
    inside = net(TOKENS, (5, 8), TOKEN_WEIGHTS, outputs=("y", "q0"))  # between product and sum: that layer has no sum
    assert "k+v" in {node.name for node in merged_in_float(inside).graph.node}


def test_int8_branches_keep_their_own_grids_and_every_bit() -> None:
    model = net(BRANCHES, (8, 6, 6), BRANCH_WEIGHTS)
    scheme, shaped = merged_in_int8(model, (8, 6, 6))
    assert [one.nodes for one in shaped.rewrites] == [("a", "a_act", "b", "b_act", "c", "c_act")]
    assert len({scheme.activations[name].scale for name in ("a1", "b1", "c1")}) == 3
    written = write_qdq(shaped.model, shaped.scheme)
    (split,) = [node for node in written.graph.node if node.op_type == "Split"]
    assert producer(written, split.input[0]).op_type == "QuantizeLinear"  # it moves integers
    assert "a+b+c" in {node.name for node in written.graph.node if node.op_type == "Conv"}


def test_int8_products_with_float_results_keep_every_bit() -> None:
    _, shaped = merged_in_int8(net(TOKENS, (5, 8), TOKEN_WEIGHTS), (5, 8))
    assert [one.nodes for one in shaped.rewrites] == [("q", "q_sum", "k", "k_sum", "v", "v_sum")]
    written = write_qdq(shaped.model, shaped.scheme)
    (split,) = [node for node in written.graph.node if node.op_type == "Split"]
    assert producer(written, split.input[0]).op_type == "Add"


def test_int8_branches_with_other_zero_points_stay_apart() -> None:
    body = BRANCHES.replace("[b_act] b1 = Relu (b0)", "").replace("(b1, vb)", "(b0, vb)")
    _, shaped = merged_in_int8(net(body, (8, 6, 6), BRANCH_WEIGHTS), (8, 6, 6))
    assert [one.nodes for one in shaped.rewrites] == [("a", "a_act", "c", "c_act")]


def test_an_int8_branch_that_the_caller_reads_keeps_every_bit() -> None:
    _, shaped = merged_in_int8(net(BRANCHES, (8, 6, 6), BRANCH_WEIGHTS, outputs=("y", "a1")), (8, 6, 6))
    assert len(shaped.rewrites) == 1


def test_what_the_table_does_not_hold_stays_apart() -> None:
    model = net(BRANCHES, (8, 6, 6), BRANCH_WEIGHTS)
    fitted = fit(model, [feeds((8, 6, 6))], CONFIG)
    assert merge_layers(fitted.model, fitted.scheme, lambda _kernels: KernelTimes(this_device())).rewrites == ()
    assert merge_layers(fitted.model, fitted.scheme, table(lambda _kernel: 1.0)).rewrites != ()  # one kernel for three
    assert merge_layers(fitted.model, fitted.scheme, table(lambda kernel: 9.0 if is_split(kernel) else 1.0)).rewrites == ()


@pytest.mark.parametrize(("low", "is_merged"), [(1.02, True), (1.0, False)])
def test_the_clock_refuses_what_is_not_faster(low: float, is_merged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = fit(net(BRANCHES, (8, 6, 6), BRANCH_WEIGHTS), [feeds((8, 6, 6))], CONFIG)
    monkeypatch.setattr(merging, "time_files", lambda files, images: Comparison({}, {"merged": Speedup(1.05, low, 1.1)}))
    times_of = table(lambda kernel: 1.0 if is_split(kernel) else 5.0)
    assert bool(shape_fastest(fitted.model, fitted.scheme, times_of, fitted.probe).rewrites) == is_merged
    assert shape_fastest(fitted.model, fitted.scheme, times_of, ()).rewrites  # for another machine the table decides


@pytest.mark.parametrize(("low", "is_merged"), [(1.02, True), (1.0, False)])
def test_in_float_the_clock_refuses_as_well(low: float, is_merged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float_shaping, "time_kernels", table(lambda kernel: 1.0 if is_split(kernel) else 5.0))
    monkeypatch.setattr(float_shaping, "time_files", lambda files, images: Comparison({}, {"merged": Speedup(1.05, low, 1.1)}))
    found = fastest_float(net(HEADS, (16,), HEAD_WEIGHTS))
    assert count(found.model, "Gemm") == (1 if is_merged else 2)
    assert [one.nodes for one in found.rewrites] == ([("a", "a_gate", "b", "b_gate")] if is_merged else [])
    assert len(found.notes) == (0 if is_merged else 1)


def test_what_the_user_keeps_float_is_not_merged_and_rows_go_by_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "time_files", lambda files, images: Comparison({}, {"merged": Speedup(1.05, 1.04, 1.1)}))
    model = net(BRANCHES, (8, 6, 6), BRANCH_WEIGHTS)
    config = replace(CONFIG, target="x86-vnni", rules=Rules(keep_float=("b",)), layers=(Layer("a", weight_bits=7),))
    made = quantize(model, [feeds((8, 6, 6))], config, times_of=table(lambda kernel: 1.0 if is_split(kernel) else 5.0))
    assert {"a+c", "b"} <= {node.name for node in made.model.graph.node}
    rows = {one.name: one.precision for one in made.report.layers}
    assert [rows[name] for name in "abc"] == ["int8", "float", "int8"]
    assert "2 parallel layers as one: a, a_act, c, c_act" in made.report.rewrites


@pytest.mark.parametrize("target", ["any", "tensorrt"])
def test_guarded_targets_and_providers_keep_layers_apart(target: str) -> None:
    model = net(BRANCHES, (8, 6, 6), BRANCH_WEIGHTS)
    made = quantize(
        model, [feeds((8, 6, 6))], replace(CONFIG, target=target), times_of=table(lambda kernel: 1.0 if is_split(kernel) else 5.0)
    )
    assert count(made.model, "Split") == 0


def test_a_joint_grid_gives_every_channel_its_very_multiplier() -> None:
    source, grids, parts = Grid(0.013, 7), [Grid(0.021, 0), Grid(0.0047, 0)], [part(6, 1), part(5, 2)]
    found = join_on_one_grid(source, grids, parts)
    assert found is not None
    grid, joint = found
    step, rows = np.float32(source.scale), 0
    for one, own in zip(parts, grids, strict=True):
        here = slice(rows, rows := rows + one.channels)
        assert one.integers is not None
        assert one.bias is not None
        assert joint.integers is not None
        assert joint.bias is not None
        np.testing.assert_array_equal(joint.integers.values[here], one.integers.values)
        scales = joint.integers.scale[here]
        np.testing.assert_array_equal(step * scales / np.float32(grid.scale), step * one.integers.scale / np.float32(own.scale))
        np.testing.assert_array_equal(np.rint(joint.bias[here] / (step * scales)), np.rint(one.bias / (step * one.integers.scale)))


def test_no_joint_grid_where_multipliers_are_too_many_or_a_bias_too_large() -> None:
    source, grids = Grid(0.0127, 7), [Grid(0.021, 0), Grid(0.0047, 0)]
    assert join_on_one_grid(source, grids, [part(600, 1), part(600, 2)]) is None
    huge = part(2, 1)
    assert huge.integers is not None
    large = replace(huge, bias=np.full(2, 2.0**31, np.float32) * huge.integers.scale * np.float32(source.scale))
    assert join_on_one_grid(source, grids, [large, part(2, 2)]) is None
    assert join([large, part(2, 2)]).channels == 4


@pytest.mark.parametrize("name", ["int8", "fp32"])
def test_the_kernels_of_a_merged_layer_can_be_timed(name: str) -> None:
    asked: list[Kernel] = []

    def times_of(kernels: Iterable[Kernel]) -> KernelTimes:
        asked.extend(kernels)
        return KernelTimes(this_device())

    if name == "int8":
        fitted = fit(net(BRANCHES, (8, 6, 6), BRANCH_WEIGHTS), [feeds((8, 6, 6))], CONFIG)
        merge_layers(fitted.model, fitted.scheme, times_of)
    else:
        float_shaping._candidates(net(FLAT, (8, 6, 6), FLAT_WEIGHTS), times_of)
    (split,) = [one for one in asked if is_split(one)]
    assert 0 < measure_kernel(split, runs=3) < 1e6


def net(body: str, shape: tuple[int, ...], weights: dict[str, tuple[int, ...]], outputs: tuple[str, ...] = ()) -> ModelProto:
    """Return a model from the text of its nodes, with any number of images and random weights."""
    names = outputs or (("y", "z") if " z = " in body else ("y",))
    results = ", ".join(f"float[] {one}" for one in names)
    text = f'<ir_version: 8, opset_import: ["" : 17]> net (float[N, {", ".join(map(str, shape))}] x) => ({results}) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    draw = np.random.default_rng(0)
    for name, dims in weights.items():
        array = np.float32({"zero": 0, "six": 0.6}.get(name, 0)) if not dims else draw.normal(size=dims).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    for one in model.graph.output:
        one.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(model)


def feeds(shape: tuple[int, ...], seed: int = 1) -> Arrays:
    return {"x": np.random.default_rng(seed).normal(size=(8, *shape)).astype(np.float32)}


def run(model: ModelProto, images: Arrays) -> Arrays:
    return open_model(model, threads=1).run(images)


def merged_in_float(model: ModelProto) -> ModelProto:
    scene = Scene.of(model, float_shaping._everything(model))
    for (edit,) in list(float_merging_edits(scene)):
        scene = applied(scene, edit)
    return scene.model


def merged_in_int8(model: ModelProto, shape: tuple[int, ...]) -> tuple[Scheme, Shaped]:
    """Merge where it can be, and check that the written files agree in every bit on images that they never saw."""
    fitted = fit(model, [feeds(shape)], CONFIG)
    shaped = merge_layers(fitted.model, fitted.scheme, table(lambda kernel: 1.0 if is_split(kernel) else 5.0))
    files = [write_qdq(one.model, one.scheme) for one in (fitted, shaped)]
    onnx.checker.check_model(files[1], full_check=True)
    apart, merged = (run(one, feeds(shape, seed=2)) for one in files)
    for name, array in apart.items():
        assert np.ptp(array) > 0.1
        np.testing.assert_array_equal(merged[name], array)
    return fitted.scheme, shaped


def part(channels: int, seed: int) -> Part:
    draw = np.random.default_rng(seed)
    weight, bias = (draw.normal(size=size).astype(np.float32) for size in ((channels, 3, 1, 1), (channels,)))
    return Part(weight, round_weight(weight), bias, 0)


def table(price: Callable[[Kernel], float]) -> Callable[[Iterable[Kernel]], KernelTimes]:
    return lambda kernels: KernelTimes(this_device(), {kernel: price(kernel) for kernel in kernels})


def is_split(kernel: Kernel) -> bool:
    return any(one.op_type == "Split" for one in kernel.operators)


def count(model: ModelProto, op_type: str) -> int:
    return sum(node.op_type == op_type for node in model.graph.node)


def producer(model: ModelProto, name: str) -> NodeProto:
    return next(node for node in model.graph.node if name in node.output)
