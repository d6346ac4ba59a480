"""MLPerf's scenarios: the early-stopping rule against what LoadGen has printed, durations and counts with a fake clock."""

from array import array

import numpy as np
import pytest

from edgerec.benchmarks.scenarios import Rules, batch_of, early_stopping_ns, least_queries, queries_over, run_scenario
from edgerec.runtime.errors import ConfigError


class Clock:
    """Time passes only in calls."""

    def __init__(self, call_ms: float) -> None:
        self.now, self.call_ms, self.calls = 0, call_ms, 0

    def __call__(self) -> int:
        return self.now

    def call(self) -> None:
        self.calls += 1
        self.now += int(self.call_ms * 1e6)


# From published LoadGen summaries of single-stream runs: "Processed at least 64 queries (2048). Would discard 172 highest latency queries."
@pytest.mark.parametrize(("queries", "discarded"), [(2048, 172), (7469, 685)])
def test_the_early_stopping_rule_discards_what_loadgen_discards(queries: int, discarded: int) -> None:
    assert queries_over(queries, 0.9) - 1 == discarded


def test_the_fewest_queries_are_those_of_the_rules() -> None:
    # "Processed at least 64 queries" and min_query_count = 662 in LoadGen's mlperf.conf.
    assert (least_queries(0.9), least_queries(0.99)) == (64, 662)


def test_the_estimate_is_above_the_percentile_in_99_of_100_runs() -> None:
    rng = np.random.default_rng(0)
    true_p90 = 0.9e6  # of uniform times, 0 to 1 ms
    above = sum(early_stopping_ns(array("q", rng.integers(0, 10**6, 500).tolist()), 0.9) >= true_p90 for _ in range(1000))
    assert above >= 978, "99 % minus three deviations and the discreteness"


def test_a_full_run_is_valid_and_waits_for_the_count() -> None:
    slow = Clock(call_ms=2000.0)
    found = run_scenario("multi-stream", slow.call, Rules(), 8, clock=slow)
    assert (found.queries, found.valid, found.metric) == (662, True, "p99_ms")
    assert found.value == 2000.0
    quick = Clock(call_ms=100.0)
    found = run_scenario("single-stream", quick.call, Rules(), 1, clock=quick)
    assert (found.queries, found.seconds, found.valid, found.metric) == (6000, 600.0, True, "p90_ms")


def test_a_shortened_run_ends_in_time_and_is_not_valid() -> None:
    clock = Clock(call_ms=300.0)
    found = run_scenario("multi-stream", clock.call, Rules(seconds=2), 8, clock=clock)
    assert (found.queries, found.valid) == (7, False)
    assert found.seconds == pytest.approx(2.1)


def test_offline_counts_images_and_has_all_of_them() -> None:
    clock = Clock(call_ms=1000.0)
    found = run_scenario("offline", clock.call, Rules(), 32, clock=clock)
    assert clock.calls == 768, "24,576 images in batches of 32; 600 s are shorter"
    assert (found.value, found.metric, found.queries, found.valid) == (32.0, "images_per_s", 1, True)


def test_batches_of_the_scenarios() -> None:
    assert [batch_of(name, 32) for name in ("single-stream", "multi-stream", "offline")] == [1, 8, 32]
    with pytest.raises(ConfigError, match="single-stream"):
        batch_of("server", 1)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_a_scenario_without_end_or_beginning_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError):
        Rules(seconds)
