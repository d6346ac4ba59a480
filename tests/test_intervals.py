"""Student's t against printed tables, the interval of a ratio against simulated noise whose truth is known, percentiles by hand."""

import math

import numpy as np
import pytest

from edgerec.benchmarks.intervals import latency_of, ratio_of
from edgerec.benchmarks.student import student_cdf, student_quantile
from edgerec.runtime.errors import ConfigError

# Fisher and Yates' table, as printed in every textbook: degrees of freedom, two-sided 5 % and 1 %.
TABLE = {
    1: (12.706, 63.657),
    2: (4.303, 9.925),
    3: (3.182, 5.841),
    4: (2.776, 4.604),
    9: (2.262, 3.250),
    10: (2.228, 3.169),
    30: (2.042, 2.750),
}


@pytest.mark.parametrize("freedom", TABLE)
def test_quantiles_are_those_of_the_printed_table(freedom: int) -> None:
    found = (student_quantile(0.975, freedom), student_quantile(0.995, freedom))
    assert found == pytest.approx(TABLE[freedom], abs=6e-4)


@pytest.mark.parametrize("freedom", range(1, 12))
def test_the_distribution_is_symmetric_and_agrees_with_its_density(freedom: int) -> None:
    constant = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    x = np.linspace(0, 2, 20_001)
    density = constant * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    integral = float(((density[1:] + density[:-1]) / 2 * np.diff(x)).sum())
    assert student_cdf(2.0, freedom) == pytest.approx(0.5 + integral, abs=1e-8)
    assert student_cdf(-2.0, freedom) == pytest.approx(1 - student_cdf(2.0, freedom))


def simulated(rng: np.random.Generator, slower: float, starts: int = 10, rounds: int = 2, neighbour: float = 0.0):
    """Return two files' blocks on a machine whose speed wanders (AR(1), 0.95 from block to block), every process with a bias of its own.

    With the probability `neighbour`, a process loses up to a tenth of its speed for its whole life.
    """
    first, other, machine = [], [], 0.0
    for _ in range(starts):
        bias = rng.normal(0, 0.003, 2) + (rng.random(2) < neighbour) * rng.uniform(0, 0.1, 2)
        blocks: tuple[list, list] = ([], [])
        for turn in range(rounds):
            for which in (0, 1) if turn % 2 == 0 else (1, 0):
                machine = 0.95 * machine + rng.normal(0, 0.01)
                blocks[which].append(np.array([math.exp(machine + bias[which] + which * slower + rng.normal(0, 0.002))]))
        first.append(blocks[0])
        other.append(blocks[1])
    return first, other


@pytest.mark.parametrize(("starts", "rounds"), [(5, 4), (10, 2)])
def test_equal_files_are_called_different_as_often_as_promised_and_slower_ones_always(starts: int, rounds: int) -> None:
    rng = np.random.default_rng(5)

    def different(slower: float) -> bool:
        found = ratio_of(*simulated(rng, slower, starts, rounds), 0.99)
        return not found.low <= 1 <= found.high

    # 1,000 comparisons at 1 %: between 2 and 21 with a probability of 0.999 (binomial).
    assert 2 <= sum(different(0.0) for _ in range(1000)) <= 21
    assert sum(different(0.05) for _ in range(100)) >= 95


def test_ten_starts_forgive_a_neighbour_that_slows_one_process_in_ten_and_five_do_not() -> None:
    rng = np.random.default_rng(6)

    def detected(starts: int, rounds: int) -> int:
        found = [ratio_of(*simulated(rng, 0.05, starts, rounds, neighbour=0.1), 0.99) for _ in range(200)]
        return sum(one.high < 1 for one in found)

    assert detected(10, 2) >= 180
    assert detected(5, 4) < 150
    same = [ratio_of(*simulated(rng, 0.0, neighbour=0.1), 0.99) for _ in range(500)]
    assert sum(not one.low <= 1 <= one.high for one in same) <= 15, "3 %: the bar of the A/A runs"


def test_an_interval_over_the_rounds_of_one_process_pair_would_not_do() -> None:
    # The reason for starting anew: what differs from process to process is not in the rounds of one pair.
    rng = np.random.default_rng(5)
    found = [ratio_of(*simulated(rng, 0.0, starts=1, rounds=20), 0.99) for _ in range(200)]
    rate = sum(not one.low <= 1 <= one.high for one in found) / 200
    assert rate > 0.02, "if this fails, the simulated machine has no difference between processes"


def test_the_ratio_of_known_times_is_exact() -> None:
    first = [[np.full(3, 4.0)] * 4] * 5
    found = ratio_of(first, [[np.full(3, 2.0)] * 4] * 5)
    assert (found.ratio, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_the_interval_of_five_starts_by_hand() -> None:
    # Logs of the ratios -0.02 ... 0.02: mean 0, deviation 0.0158114, t(4) at 95 % is 2.776, over the root of 5.
    logs = (-0.02, -0.01, 0.0, 0.01, 0.02)
    found = ratio_of([[np.array([math.exp(one)])] for one in logs], [[np.array([1.0])] for _ in logs])
    half = 2.77645 * 0.0158114 / math.sqrt(5)
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((-half, half), rel=1e-4)


def test_a_drift_cancels_in_pairs_of_rounds() -> None:
    # One start, the machine 1 % slower with every block, A B B A: without pairs the rounds' ratios swing by 1 % each way.
    times = iter(range(100, 116))
    first, other = [], []
    for turn in range(8):
        for blocks in (first, other) if turn % 2 == 0 else (other, first):
            blocks.append(np.array([math.exp(0.01 * next(times))]))
    found = ratio_of([first], [other])
    assert (found.ratio, found.low, found.high) == pytest.approx((1, 1, 1))


def test_one_round_alone_has_an_endless_interval() -> None:
    found = ratio_of([[np.array([2.0])]], [[np.array([1.0])]])
    assert (found.ratio, found.low, found.high) == (pytest.approx(2), 0.0, math.inf)


def test_percentiles_of_known_times_and_intervals_around_them() -> None:
    rng = np.random.default_rng(0)
    values = rng.permutation(np.arange(1.0, 1001.0))
    blocks = [list(start.reshape(4, 50)) for start in values.reshape(5, 200)]
    found = latency_of(blocks, warmup_runs=7)
    assert (found.p50_ms, found.p90_ms, found.p99_ms) == pytest.approx((500.5, 900.1, 990.01))
    assert (found.min_ms, found.max_ms, found.runs, found.warmup_runs) == (1.0, 1000.0, 1000, 7)
    assert len(found.quantiles_ms) == 101
    assert found.quantiles_ms[50] == found.p50_ms
    for middle, span in ((found.p50_ms, found.p50_interval_ms), (found.p99_ms, found.p99_interval_ms)):
        assert span is not None
        assert span[0] <= middle <= span[1]
    # The median of 1,000 uniform values has a standard error of 1000 / (2 sqrt(1000)) = 15.8: 62 wide, and rounds vary a little more.
    assert found.p50_interval_ms is not None
    assert 30 < found.p50_interval_ms[1] - found.p50_interval_ms[0] < 130


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_that_is_no_share_is_refused(confidence: float) -> None:
    with pytest.raises(ConfigError):
        ratio_of([[np.ones(1)]], [[np.ones(1)]], confidence)


def test_nothing_in_common_is_refused() -> None:
    with pytest.raises(ConfigError):
        ratio_of([[]], [[np.ones(1)]])
