"""Parity against numbers worked out by hand, and a gate that lets no NaN through."""

import math

import numpy as np
import pytest

from edgerec.graph.parity import Array, Feeds, Parity, Tolerance, check, compare
from edgerec.runtime.errors import ConfigError, GateError

REFERENCE = np.array([[1.0, 0.0, 0.0], [0.0, 3.0, 4.0]], np.float32)


def same(feeds: Feeds) -> Array:
    return feeds["x"]


def _measure(candidate: np.ndarray, reference: np.ndarray = REFERENCE) -> Parity:
    return compare(same, lambda _: candidate, [{"x": reference}])


def test_a_model_equals_itself() -> None:
    parity = compare(same, same, [{"x": REFERENCE}, {"x": REFERENCE[:1]}])
    assert parity == Parity(max_abs=0.0, largest=4.0, cosine=1.0, top1_agreement=1.0, images=3)
    check(parity, Tolerance(max_abs=0.0, cosine=1.0, top1_agreement=1.0))


def test_differences_by_hand() -> None:
    # Second row (0, 3, 4) against (0, 4, 3): differs by 1, cosine 24 / 25, and the largest value moved from 2 to 1.
    parity = _measure(np.array([[1, 0, 0], [0, 4, 3]], np.float32))
    assert parity.max_abs == 1.0
    assert parity.cosine == pytest.approx(24 / 25)
    assert parity.top1_agreement == 0.5


def test_scaling_keeps_the_cosine_and_the_class() -> None:
    parity = _measure(REFERENCE * 2)
    assert parity.cosine == pytest.approx(1.0)
    assert parity.top1_agreement == 1.0
    assert parity.max_abs == 4.0


def test_the_worst_image_of_the_worst_batch_counts() -> None:
    answers = iter([REFERENCE, REFERENCE + np.float32([[0, 0, 0], [0, 0, 0.5]])])
    parity = compare(same, lambda _: next(answers), [{"x": REFERENCE}] * 2)
    assert parity.max_abs == 0.5
    assert parity.images == 4


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("both", [False, True])
def test_nan_and_infinity_fail(value: float, both: bool) -> None:
    broken = REFERENCE.copy()
    broken[0, 1] = value
    parity = _measure(broken, broken if both else REFERENCE)
    assert not math.isfinite(parity.max_abs)
    with pytest.raises(GateError):
        check(parity, Tolerance(max_abs=1e30, cosine=-1, top1_agreement=0))


def test_nan_in_one_batch_is_not_forgotten_in_the_next() -> None:
    answers = iter([np.full_like(REFERENCE, np.nan), REFERENCE])
    parity = compare(same, lambda _: next(answers), [{"x": REFERENCE}] * 2)
    with pytest.raises(GateError, match="nan"):
        check(parity, Tolerance())


def test_different_shapes_fail_and_say_so() -> None:
    with pytest.raises(GateError, match=r"different shapes.*\(2, 3\) and \(2, 4\)"):
        _measure(np.zeros((2, 4), np.float32))


def test_two_answers_of_zeros_are_the_same() -> None:
    zeros = np.zeros((2, 3), np.float32)
    check(_measure(zeros, zeros), Tolerance(max_abs=0, cosine=1))
    assert _measure(zeros).cosine == 0.0


def test_large_values_may_differ_in_proportion() -> None:
    off = np.float32([[0, 0, 0.01], [0, 0, 0]])
    check(_measure(REFERENCE * 1000 + off, REFERENCE * 1000), Tolerance(max_abs=1e-4))
    with pytest.raises(GateError, match="values differ"):
        check(_measure(REFERENCE + off), Tolerance(max_abs=1e-4))


def test_the_error_names_every_fault() -> None:
    with pytest.raises(GateError, match=r"values differ by 1.00e\+00.*cosine 0.96.*top-1 agrees on 50.00%.*2 images") as caught:
        check(_measure(np.array([[1, 0, 0], [0, 4, 3]], np.float32)), Tolerance())
    assert caught.value.exit_code == 3


def test_no_image_proves_nothing() -> None:
    with pytest.raises(ConfigError, match="at least one image"):
        compare(same, same, [])
    with pytest.raises(ConfigError, match="at least one image"):
        compare(same, same, [{"x": REFERENCE[:0]}])


@pytest.mark.parametrize("fields", [{"max_abs": -1.0}, {"max_abs": math.nan}, {"cosine": 1.1}, {"top1_agreement": -0.1}])
def test_a_tolerance_out_of_range_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        Tolerance(**fields)
