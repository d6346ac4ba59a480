"""When a warm-up ends: at once for a steady call, after the fall for one that gets faster, at the limit for one that never settles."""

import itertools

import numpy as np

from edgerec.benchmarks.steady import is_steady, runs_for, warm_up


def test_the_rule_on_known_blocks() -> None:
    assert not is_steady([1.0] * 5), "six blocks are compared"
    assert is_steady([1.0] * 6)
    assert not is_steady([1.2, 1.2, 1.2, 1.0, 1.0, 1.0]), "a fall of 20 % is no noise"
    assert is_steady([1.005, 1.005, 1.005, 1.0, 1.0, 1.0]), "half a percent is"
    assert is_steady([1.1, 1.0, 1.1, 1.0, 1.1, 0.95]), "the last three differ among themselves by more than they fell"
    assert is_steady([1.0, 1.0, 1.0, 1.3, 1.3, 1.3]), "slower is drift, which is watched elsewhere"


def test_a_call_that_gets_faster_is_waited_for() -> None:
    # 3 ms falling by a fifth with each block towards 1 ms.
    times = (1 + 2 * 0.8**number for number in itertools.count())
    found = warm_up(lambda runs: [next(times)] * runs, first_ms=3.0, block_ms=3.0)
    assert found.steady
    assert 1.0 < found.run_ms < 1.05


def test_noise_alone_does_not_delay() -> None:
    rng = np.random.default_rng(0)
    blocks: list[int] = []

    def block(runs: int) -> list[float]:
        blocks.append(runs)
        return rng.normal(1.0, 0.02, runs).tolist()

    lengths = []
    for _ in range(200):
        blocks.clear()
        assert warm_up(block, first_ms=1.0, block_ms=20.0).steady
        lengths.append(len(blocks))
    assert np.median(lengths) == 6
    assert max(lengths) <= 20


def test_a_call_that_never_settles_ends_at_the_limit_and_says_so() -> None:
    times = (1000 * 0.9**number for number in itertools.count())
    found = warm_up(lambda runs: [next(times)] * runs, first_ms=1000.0, block_ms=20.0, limit_s=3.0)
    assert not found.steady
    assert found.runs <= 5


def test_a_slow_first_call_makes_only_the_first_block_short() -> None:
    asked: list[int] = []

    def block(runs: int) -> list[float]:
        asked.append(runs)
        return [0.5] * runs

    warm_up(block, first_ms=900.0, block_ms=20.0)
    assert asked == [1, 40, 40, 40, 40, 40]


def test_a_block_holds_at_least_one_call_and_not_endlessly_many() -> None:
    assert (runs_for(1000.0, 20.0), runs_for(0.0, 20.0), runs_for(0.5, 20.0)) == (1, 100_000, 40)
