"""Saturating pair sums: counted by brute force, bounded by hand, and compared with AVX2 where QEMU is installed."""

import itertools

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import numpy_helper

from edgerec.benchmarks.emulation import avx2, run
from edgerec.benchmarks.int8_products import Product, products, quantized
from edgerec.compress.quantization.reduction import columns, has_pairs, rows
from edgerec.compress.quantization.saturation import MARGIN, SAFE_SUM, count, is_bounded, narrow, protect
from edgerec.compress.quantization.scheme import Grid, IntegerWeight, Scheme, round_weight
from edgerec.compress.quantization.target import TARGETS
from edgerec.runtime.errors import DataError

MATMUL = onnx.parser.parse_node("y = MatMul (x, w)")
CONV = onnx.parser.parse_node("y = Conv <pads = [1, 1, 1, 1]> (x, w)")
WEIGHTS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
    elements=st.floats(-8, 8, width=32).filter(lambda one: one == 0 or abs(one) > 1e-30),
)


def as_kernel(product: Product) -> npt.NDArray[np.uint8]:
    """Return what a kernel with saturating pairs gives, added up one by one."""
    lines = columns(product.node, product.weight.shape, product.values, product.zero_point).astype(np.int64)
    weight = rows(product.node, product.weight).astype(np.int64)
    limits = (-32768, 32767) if has_pairs(product.node, product.weight.shape) else (-(2**31), 2**31)
    sums = np.zeros((len(lines), weight.shape[1], lines.shape[1]), np.int64)  # (groups, outputs, positions)
    for first in range(0, lines.shape[2], 2):
        pair = slice(first, first + 2)
        sums += np.clip(np.einsum("gpk,gok->gop", lines[:, :, pair], weight[:, :, pair]), *limits)
    sums -= product.zero_point * weight.sum(axis=2)[:, :, None]
    return product.requantize(sums.reshape(len(product.scale), -1), 0)


def test_avx2_forms_the_pairs_as_we_do() -> None:
    machine = avx2()
    if machine is None:
        pytest.skip("qemu-x86_64 is not installed (Debian: qemu-user), or this is no x86 Linux")
    kinds = products()
    for kind, answer in zip(kinds, run(machine, [quantized(one) for one in kinds], timeout_s=60), strict=True):
        got = answer["y"]
        channels_first = got.reshape(got.shape[1], -1) if kind.node.op_type == "Conv" else got.T
        np.testing.assert_array_equal(as_kernel(kind), channels_first, err_msg=kind.name)


@given(
    arrays(np.uint8, (2, 3, 5), elements=st.integers(0, 255)),
    arrays(np.int8, (2, 4, 5), elements=st.integers(-127, 127)),
)
def test_the_count_is_that_of_brute_force(lines: npt.NDArray[np.uint8], weight: npt.NDArray[np.int8]) -> None:
    sums: list[int] = []
    for group, position, output, first in itertools.product(range(2), range(3), range(4), range(0, 5, 2)):
        both = range(first, min(first + 2, 5))
        sums.append(sum(int(lines[group, position, one]) * int(weight[group, output, one]) for one in both))
    saturating = sum(not -32768 <= one <= 32767 for one in sums)
    close = sum(abs(one) > MARGIN * 32767 for one in sums)
    assert count(lines, weight) == (len(sums), saturating, close)


@pytest.mark.parametrize(
    ("pair", "expected"),
    [((64, 64), True), ((65, 64), False), ((-64, -64), True), ((-127, -2), False), ((127, -127), True), ((127, 1), True)],
)
def test_the_bound_by_hand(pair: tuple[int, int], expected: bool) -> None:
    weight = IntegerWeight(np.array(pair, np.int8).reshape(2, 1), np.ones(1, np.float32), 1)
    assert is_bounded(MATMUL, weight) is expected
    worst = max(abs(255 * sum(max(sign * one, 0) for one in pair)) for sign in (1, -1))
    assert (worst <= 32767) is expected


@settings(max_examples=200)
@given(WEIGHTS, st.sampled_from([1, None]))
def test_a_narrowed_weight_never_saturates_and_loses_at_most_one_bit(weight: npt.NDArray[np.float32], axis: int | None) -> None:
    narrowed, rounded = narrow(MATMUL, weight, axis), round_weight(weight, axis)
    assert is_bounded(MATMUL, narrowed)
    assert (narrowed.scale <= rounded.scale * np.float32(2.0001)).all()  # 127 of two weights of the top size: 63.5 steps instead of 127
    assert (np.abs(narrowed.dequantize() - weight) <= narrowed.scale * np.float32(0.5001)).all()


def test_a_weight_in_no_danger_keeps_its_scale() -> None:
    weight = np.array([[1, 1], [-1, 0.009], [0.5, -1]], np.float32)
    np.testing.assert_array_equal(narrow(MATMUL, weight, 1).scale, round_weight(weight, 1).scale)
    np.testing.assert_array_equal(narrow(MATMUL, weight, 1).values, round_weight(weight, 1).values)


def test_only_the_channel_in_danger_gets_a_coarser_scale() -> None:
    weight = np.array([[1, 1], [1, 0]], np.float32)  # (K, outputs): the first output's pair is 1 + 1
    assert narrow(MATMUL, weight, 1).values.T.tolist() == [[64, 64], [127, 0]]


def model_of(weight: npt.NDArray[np.float32]) -> onnx.ModelProto:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        graph (float[N, 4, 5, 5] x) => (float[N, 2, 5, 5] y) { [conv] y = Conv <pads = [1, 1, 1, 1]> (x, w) }
    """)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return model


def scheme_of(weight: npt.NDArray[np.float32]) -> Scheme:
    return Scheme(frozenset({"conv"}), {"x": Grid(1 / 255, 0), "y": Grid(0.2, 128)}, {"w": round_weight(weight, 0)})


def feeds(high: float) -> list[dict[str, npt.NDArray[np.generic]]]:
    return [{"x": np.full((2, 4, 5, 5), high, np.float32)}]


WEIGHT = np.ones((2, 4, 3, 3), np.float32)
SAFE = np.tile(np.array([1, -1, 1, -1], np.float32)[:, None, None], (2, 1, 3, 3))


def test_exact_targets_change_nothing() -> None:
    scheme = scheme_of(WEIGHT)
    found = protect(model_of(WEIGHT), scheme, TARGETS["x86-vnni"], feeds(1))
    assert found.scheme is scheme
    assert found.findings == ()


def test_a_saturating_layer_is_narrowed_for_avx2() -> None:
    found = protect(model_of(WEIGHT), scheme_of(WEIGHT), TARGETS["x86-avx2"], feeds(1))
    assert found.scheme.nodes == {"conv"}
    assert np.abs(found.scheme.weights["w"].values).max() == SAFE_SUM // 2
    finding = found.findings[0]
    # 2 images, 25 positions, 2 outputs, 9 taps of 2 pairs; padding at the border never saturates: 13 * 13 of 15 * 15 taps are inside
    assert finding.pairs == 2 * 25 * 2 * 18
    assert finding.saturating == finding.close == 2 * 13 * 13 * 2 * 2
    assert (finding.decision, finding.is_bounded) == ("narrowed", False)


def test_avx2_keeps_what_its_data_do_not_bring_near_the_limit_and_any_does_not() -> None:
    arguments = model_of(WEIGHT), scheme_of(WEIGHT)
    assert [one.decision for one in protect(*arguments, TARGETS["x86-avx2"], feeds(0.3)).findings] == ["kept"]
    assert [one.decision for one in protect(*arguments, TARGETS["any"], feeds(0.3)).findings] == ["narrowed"]


def test_a_bounded_layer_is_kept_for_any() -> None:
    found = protect(model_of(SAFE), scheme_of(SAFE), TARGETS["any"], feeds(1))
    assert [(one.decision, one.is_bounded) for one in found.findings] == [("kept", True)]


def test_a_layer_that_suffers_too_much_stays_float() -> None:
    weight = np.random.default_rng(0).normal(size=WEIGHT.shape).astype(np.float32)
    found = protect(model_of(weight), scheme_of(weight), TARGETS["any"], feeds(1), min_sqnr_db=90)
    assert found.findings[0].decision == "float"
    assert 30 < found.findings[0].sqnr_db < 90
    assert found.scheme.nodes == frozenset()


def test_signed_activations_saturate_as_unsigned_ones() -> None:
    scheme = scheme_of(WEIGHT)
    signed = Scheme(scheme.nodes, {**scheme.activations, "x": Grid(1 / 255, -128, signed=True)}, scheme.weights)
    found = [protect(model_of(WEIGHT), one, TARGETS["any"], feeds(1)).findings for one in (scheme, signed)]
    assert found[0] == found[1]


def test_without_calibration_data_nothing_is_claimed() -> None:
    with pytest.raises(DataError, match="no calibration data"):
        protect(model_of(WEIGHT), scheme_of(WEIGHT), TARGETS["any"], [])


def shared_model() -> onnx.ModelProto:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        graph (float[N, 4, 5, 5] x, float[N, 4, 5, 5] z) => (float[N, 2, 5, 5] y, float[N, 2, 5, 5] v) {
            [one] y = Conv <pads = [1, 1, 1, 1]> (x, w)
            [two] v = Conv <pads = [1, 1, 1, 1]> (z, w)
        }
    """)
    model.graph.initializer.append(numpy_helper.from_array(WEIGHT, "w"))
    return model


def shared_scheme() -> Scheme:
    return Scheme(
        frozenset({"one", "two"}),
        {"x": Grid(1 / 255, 0), "z": Grid(1 / 255, 0), "y": Grid(0.2, 128), "v": Grid(0.2, 128)},
        {"w": round_weight(WEIGHT, 0)},
    )


@pytest.mark.parametrize(("x", "z"), [(1, 0.3), (0.3, 1), (1, 1)])
def test_a_shared_weight_is_narrowed_for_whichever_layer_needs_it(x: float, z: float) -> None:
    batch = {"x": np.full((2, 4, 5, 5), x, np.float32), "z": np.full((2, 4, 5, 5), z, np.float32)}
    found = protect(shared_model(), shared_scheme(), TARGETS["x86-avx2"], [batch])
    assert {one.name: (one.decision, one.saturating > 0) for one in found.findings} == {
        "one": ("narrowed", x == 1),
        "two": ("narrowed", z == 1),
    }
    assert np.abs(found.scheme.weights["w"].values).max() == SAFE_SUM // 2


def test_a_shared_weight_that_no_layer_brings_near_the_limit_keeps_its_scale() -> None:
    batch = {name: np.full((2, 4, 5, 5), 0.3, np.float32) for name in "xz"}
    found = protect(shared_model(), shared_scheme(), TARGETS["x86-avx2"], [batch])
    assert [one.decision for one in found.findings] == ["kept", "kept"]
    assert found.scheme.weights["w"].values.max() == 127


def test_a_weight_read_in_two_ways_is_safe_in_both() -> None:
    """A MatMul pairs the rows of a column, a transposed Gemm the columns of a row: only one of the two is in danger here."""
    gemm = onnx.parser.parse_node("y = Gemm <transB = 1> (x, w)")
    weight = np.array([[1, 1], [-1, -1]], np.float32)
    assert np.abs(narrow(MATMUL, weight, None).values).max() == 127
    for first, second in ((MATMUL, gemm), (gemm, MATMUL)):
        both = narrow(first, weight, None, [second])
        assert is_bounded(MATMUL, both)
        assert is_bounded(gemm, both)
        assert np.abs(both.values).max() == SAFE_SUM // 2
