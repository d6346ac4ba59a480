"""The judge of the measurement's own bars, with made-up comparisons, and the slowed call."""

import time

import pytest

from edgerec.benchmarks.latency_bars import judge_bars, slowed


def made_up(same: int, slow: int, seconds: float = 5.0, bare: float = 1.001, count: tuple[int, int, int] = (200, 100, 20)):
    return {
        "same": [{"different": number < same, "seconds": 5.0} for number in range(count[0])],
        "slowed": [{"different": number < slow, "seconds": seconds} for number in range(count[1])],
        "bare": [{"bare_ms": 0.3, "edgerec_ms": 0.3 * bare * (1 + 0.001 * (number % 2))} for number in range(count[2])],
    }


def test_the_bars_as_they_stand_in_the_issue() -> None:
    assert judge_bars(made_up(6, 95))[1]
    assert not judge_bars(made_up(7, 95))[1]
    assert not judge_bars(made_up(6, 94))[1]
    assert not judge_bars(made_up(0, 100, seconds=20.1))[1]
    assert not judge_bars(made_up(0, 100, bare=1.02))[1]


@pytest.mark.parametrize("count", [(199, 100, 20), (200, 99, 20), (200, 100, 19), (0, 0, 0)])
def test_too_few_comparisons_meet_no_bar(count: tuple[int, int, int]) -> None:
    assert not judge_bars(made_up(0, 100, count=count))[1]


def test_a_slowed_call_takes_a_twentieth_longer() -> None:
    def call() -> None:
        until = time.perf_counter_ns() + 2_000_000
        while time.perf_counter_ns() < until:
            pass

    took = []
    for _ in range(15):
        start = time.perf_counter_ns()
        slowed(call)()
        took.append((time.perf_counter_ns() - start) / 1e6)
    assert min(took) == pytest.approx(2.1, abs=0.03)
