"""The timer against calls whose time is known, because a fake clock advances only while they run."""

import pytest

from edgerec.benchmarks.latency import Latency, Timing, images_per_second, measure, measure_interleaved
from edgerec.runtime.errors import ConfigError


class FakeClock:
    """Time that passes only when a call says so; remembers the order of the calls."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.order: list[str] = []

    def __call__(self) -> int:
        return self.now_ns

    def taking(self, name: str, *times_ms: float):
        """Return a call that takes each of these times in turn, over and over."""
        turn = 0

        def call() -> None:
            nonlocal turn
            self.order.append(name)
            self.now_ns += round(times_ms[turn % len(times_ms)] * 1e6)
            turn += 1

        return call


def test_percentiles_of_known_times() -> None:
    # 100 runs in one block: 1, 2, ... 100 ms; linear percentiles are 50.5, 90.1 and 99.01. The warm-up and the block's own
    # settling run take the first two of 102 turns.
    clock = FakeClock()
    call = clock.taking("a", 100.0, 5.0, *range(1, 101))
    latency = measure(call, Timing(rounds=1, block_seconds=10.0, warmup_seconds=0.0), clock=clock)
    assert latency == Latency(p50_ms=pytest.approx(50.5), p90_ms=pytest.approx(90.1), p99_ms=pytest.approx(99.01), min_ms=1.0, runs=100)


def test_a_call_twice_as_fast_has_speedup_two() -> None:
    clock = FakeClock()
    found = measure_interleaved({"slow": clock.taking("slow", 4.0), "fast": clock.taking("fast", 2.0)}, clock=clock)
    assert found.speedup["slow"].ratio == 1.0
    assert found.speedup["fast"].ratio == 2.0
    assert (found.speedup["fast"].low, found.speedup["fast"].high) == (2.0, 2.0)
    assert found.latency["slow"].p50_ms == 4.0


def test_the_interval_of_noisy_times_holds_the_true_ratio() -> None:
    # Same two distributions, one scaled by three; the noise repeats out of step, so no two blocks are equal.
    clock = FakeClock()
    noise = (1.0, 1.3, 0.9, 1.1, 1.7, 1.0, 0.95)
    calls = {"a": clock.taking("a", *(3 * one for one in noise)), "b": clock.taking("b", *noise)}
    speedup = measure_interleaved(calls, Timing(rounds=15, block_seconds=0.01), clock=clock).speedup["b"]
    assert speedup.low <= 3.0 <= speedup.high
    assert speedup.low <= speedup.ratio <= speedup.high


def test_a_machine_that_slows_down_does_not_change_the_ratio() -> None:
    clock = FakeClock()

    def slowing(factor: float):
        def call() -> None:
            clock.now_ns += round(factor * 1e6 * (1 + clock.now_ns / 1e9))

        return call

    found = measure_interleaved({"a": slowing(2.0), "b": slowing(1.0)}, clock=clock)
    assert found.latency["a"].p99_ms > 1.2 * found.latency["a"].min_ms, "the machine did slow down"
    assert found.speedup["b"].ratio == pytest.approx(2.0, rel=0.05)


def test_a_real_call_against_itself_is_as_fast_as_itself() -> None:
    numbers = list(range(2000))

    def call() -> int:
        return sum(numbers)

    found = measure_interleaved({"a": call, "b": call}, Timing(rounds=30, block_seconds=0.001, warmup_seconds=0.01)).speedup["b"]
    assert found.low <= 1.05
    assert found.high >= 0.95


def test_blocks_alternate_in_order() -> None:
    clock = FakeClock()
    calls = {name: clock.taking(name, 1.0) for name in "abc"}
    measure_interleaved(calls, Timing(rounds=2, block_seconds=0.0, warmup_seconds=0.0), clock=clock)
    # One warm-up each, then in every block one settling run and one timed run.
    assert "".join(clock.order) == "abc" + "aabbcc" + "ccbbaa"


def test_the_warm_up_lasts_as_long_as_told_and_is_not_counted() -> None:
    clock = FakeClock()
    latency = measure(clock.taking("a", 10.0), Timing(rounds=3, block_seconds=0.02, warmup_seconds=0.1), clock=clock)
    assert latency.runs == 3 * 2
    assert len(clock.order) == 10 + 3 * (1 + 2)


def test_throughput_is_images_over_seconds() -> None:
    assert images_per_second(Latency(p50_ms=20.0, p90_ms=0, p99_ms=0, min_ms=0, runs=1), batch=64) == 3200.0


@pytest.mark.parametrize(
    "fields", [{"rounds": 0}, {"block_seconds": -1.0}, {"warmup_seconds": float("nan")}, {"block_seconds": float("inf")}]
)
def test_timing_that_measures_nothing_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="at least one round"):
        Timing(**fields)


def test_no_call_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to time"):
        measure_interleaved({})
