"""The robust line by hand, and its test against chance."""

import numpy as np
import pytest

from edgerec.benchmarks.drift import trend
from edgerec.benchmarks.watched import drift_of, drifts


def test_one_wild_value_does_not_move_the_line() -> None:
    # Slopes of all pairs of 0, 1, 2, 3, 100: six are 1 (pairs without the last), the others 100, 49.5, 32.7, 97 -> the median is 1.
    assert trend([0.0, 1.0, 2.0, 3.0, 100.0]).slope == 1.0


def test_positions_count() -> None:
    assert trend([0.0, 10.0, 20.0, 30.0], [0, 5, 10, 15]).slope == 2.0


def test_the_p_value_of_a_rising_series_by_hand() -> None:
    # n = 10: S = 45, variance 10 * 9 * 25 / 18 = 125, z = 44 / 11.18 = 3.935, p = 8.3e-5.
    assert trend([float(one) for one in range(10)]).p == pytest.approx(8.3e-5, rel=0.02)


def test_noise_is_called_a_trend_as_rarely_as_it_should() -> None:
    rng = np.random.default_rng(0)
    found = [trend(rng.normal(size=20).tolist()) for _ in range(1000)]
    assert 2 <= sum(one.p < 0.01 for one in found) <= 21
    assert 920 <= sum(one.low <= 0 <= one.high for one in found) <= 985, "the slope's interval is a 95 % one"


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [3.0] * 10])
def test_too_few_or_equal_values_have_no_trend(values: list[float]) -> None:
    assert (trend(values).slope, trend(values).p) == (0.0, 1.0)


def test_a_board_that_gets_hot_drifts_and_a_noisy_one_does_not() -> None:
    rng = np.random.default_rng(1)

    def blocks(rise: float):
        medians = np.linspace(1, 1 + rise, 20) * rng.normal(1, 0.003, 20)
        return [[np.array([one]) for one in start] for start in medians.reshape(5, 4)]

    assert drifts(blocks(0.2))
    assert drift_of(blocks(0.2))[0] == pytest.approx(0.2, abs=0.03)
    assert not drifts(blocks(0.0))
    assert not drifts(blocks(0.01)), "significant, but too small to matter"
