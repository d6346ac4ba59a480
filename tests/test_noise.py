"""Signal-to-noise ratio and agreement, by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgerec.benchmarks.noise import Noise, agreement, measure_noise, sqnr_db
from edgerec.runtime.errors import ModelError

FLOATS = arrays(np.float32, (6, 3), elements=st.floats(-100, 100, width=32))


def test_by_hand() -> None:
    # 9 + 16 = 25 of signal, 0.25 of noise: a ratio of 100.
    noise = measure_noise(np.array([3, 4], np.float32), np.array([3, 4.5], np.float32))
    assert noise == Noise(signal=25, noise=0.25, max_abs=0.5, largest=4)
    assert noise.sqnr_db == pytest.approx(20)


def test_edges() -> None:
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    assert sqnr_db(one, one) == math.inf
    assert sqnr_db(zero, zero) == math.inf
    assert sqnr_db(zero, one) == -math.inf
    assert sqnr_db(one, one * np.inf) == -math.inf
    assert math.isnan(sqnr_db(one, one * np.nan))
    assert math.isnan((measure_noise(one, one * np.nan) + measure_noise(one, one)).max_abs)
    assert math.isnan((measure_noise(one, one) + measure_noise(one, one * np.nan)).max_abs)
    assert measure_noise(one[:0], one[:0]) == Noise()


def test_integers_do_not_wrap_around() -> None:
    assert measure_noise(np.array([0, 255], np.uint8), np.array([255, 0], np.uint8)).noise == 2 * 255**2


@given(FLOATS, FLOATS, st.integers(0, 6))
def test_parts_add_up_to_the_whole(reference: np.ndarray, candidate: np.ndarray, cut: int) -> None:
    whole = measure_noise(reference, candidate)
    parts = measure_noise(reference[:cut], candidate[:cut]) + measure_noise(reference[cut:], candidate[cut:])
    assert (parts.signal, parts.noise) == pytest.approx((whole.signal, whole.noise))
    assert (parts.max_abs, parts.largest) == (whole.max_abs, whole.largest)


def test_agreement_by_hand() -> None:
    reference = np.array([[1, 2], [3, 0], [0, 1], [0, 1]], np.float32)
    candidate = np.array([[0, 9], [0, 1], [math.nan, 1], [0, math.inf]], np.float32)
    assert agreement(reference, candidate).tolist() == [True, False, False, True]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ModelError, match="different shapes"):
        sqnr_db(np.ones(3), np.ones(4))
    for one, other in ((np.ones((2, 3)), np.ones((2, 4))), (np.ones(3), np.ones(3)), (np.ones((0, 3)), np.ones((0, 3)))):
        with pytest.raises(ModelError, match="same shape"):
            agreement(one, other)
