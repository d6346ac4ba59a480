"""Early decisions: the error rates by simulation at the limit itself, the spending functions by their definition, every bad input."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from edgerec.benchmarks.paired import Pairs
from edgerec.benchmarks.sequential import LOOKS, Verdict, decide, decide_early, obrien_fleming, pocock
from edgerec.runtime.errors import ConfigError, DataError

ALPHA = 0.05
TRIALS = 700


def simulate(images: int, lost: float, won: float, limit: float, trials: int = TRIALS) -> list[Verdict]:
    """Decide again and again with true shares of lost and won images."""
    parts = np.diff([0, *(math.ceil(share * images) for share in LOOKS)])
    random = np.random.default_rng(0)
    draws = [random.multinomial(part, [1 - lost - won, lost, won], size=trials).tolist() for part in parts]
    return [decide_early((Pairs(*one[trial], 0) for one in draws), images, limit, ALPHA) for trial in range(trials)]


@pytest.mark.parametrize("images", [600, 5000])
@pytest.mark.parametrize("won", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("limit", [0.5, 2.0])
def test_at_the_limit_neither_wrong_decision_is_more_frequent_than_alpha(images: int, won: float, limit: float) -> None:
    verdicts = simulate(images, won + limit / 100, won, limit)
    allowed = ALPHA + 2.6 * math.sqrt(ALPHA * (1 - ALPHA) / TRIALS)  # a rate of alpha exceeds this once in 200 simulations
    for decision in ("inside", "outside"):
        assert sum(one.decision == decision for one in verdicts) / TRIALS <= allowed


def test_clear_cases_are_decided_and_early() -> None:
    worse = simulate(5000, 0.05, 0.01, limit=0.5, trials=100)
    assert all(one.decision == "outside" for one in worse)
    assert np.mean([one.images for one in worse]) < 1500
    equal = simulate(20000, 0.005, 0.005, limit=0.5, trials=100)
    assert sum(one.decision == "inside" for one in equal) >= 95
    assert np.mean([one.images for one in equal]) < 15000


def test_an_undecided_verdict_says_how_many_images_would_decide() -> None:
    flags = np.ones(200, bool)
    verdict = decide(flags, flags, 0.5, ALPHA, looks=[1.0])
    assert verdict.decision == "undecided"
    assert verdict.drop_points == 0
    assert verdict.low < 0 < 0.5 < verdict.high
    needed = verdict.images_needed
    assert needed is not None
    # No image lost: the score (n d - 1/2) / sqrt(n d (1 - d)) must reach 1.645.
    score = [(n * 0.005 - 0.5) / math.sqrt(n * 0.005 * 0.995) for n in (needed - 1, needed)]
    assert score[0] < 1.6449 <= score[1] + 1e-3
    more = np.ones(needed, bool)
    assert decide(more, more, 0.5, ALPHA, looks=[1.0]).decision == "inside"
    fewer = more[1:]
    assert decide(fewer, fewer, 0.5, ALPHA, looks=[1.0]).decision == "undecided"


def test_no_number_of_images_decides_a_drop_that_is_the_limit() -> None:
    reference, candidate = np.ones(1000, bool), np.ones(1000, bool)
    candidate[:10] = False
    assert decide(reference, candidate, 1.0).images_needed is None
    same = decide(reference, reference, 0.0)
    assert (same.decision, same.images_needed) == ("undecided", None)


def test_later_images_are_not_asked_for() -> None:
    asked: list[int] = []

    def parts() -> Iterator[Pairs]:
        for number in range(10):
            asked.append(number)
            yield Pairs(50, 50, 0, 0)

    verdict = decide_early(parts(), 1000, 0.5)
    assert verdict.decision == "outside"
    assert verdict.images_needed is None
    assert verdict.low > 0.5
    assert asked == [0]
    assert verdict.images == 100


def test_one_part_at_a_time_or_all_at_once_gives_the_same_looks() -> None:
    random = np.random.default_rng(0)
    reference, candidate = random.random(4000) < 0.9, random.random(4000) < 0.9
    single = (
        Pairs(int(a and b), int(a and not b), int(b and not a), int(not a and not b)) for a, b in zip(reference, candidate, strict=True)
    )
    assert decide_early(single, 4000, 1.0) == decide(reference, candidate, 1.0)


def test_spending_functions() -> None:
    for spend in (obrien_fleming, pocock):
        assert spend(ALPHA, 0) == 0
        assert spend(ALPHA, 1) == pytest.approx(ALPHA)
        shares = [spend(ALPHA, share) for share in np.linspace(0.01, 1, 50)]
        assert shares == sorted(shares)
    # 2 - 2 Phi(z / sqrt(t)) with z = 1.95996 and t = 1/4 is 2 - 2 Phi(3.91993), from a table of the normal distribution.
    assert obrien_fleming(ALPHA, 0.25) == pytest.approx(8.86e-5, rel=1e-2)
    assert pocock(ALPHA, 0.5) == pytest.approx(0.05 * math.log(1 + (math.e - 1) / 2))


@pytest.mark.parametrize("looks", [(), (0.5,), (1.0, 0.5), (0.0, 1.0), (0.5, 0.5, 1.0), (0.5, 1.0, 2.0)])
def test_bad_looks_are_refused(looks: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="looks are rising shares"):
        decide(np.ones(9, bool), np.ones(9, bool), 0.5, looks=looks)


@pytest.mark.parametrize("drop", [-0.1, 101, math.nan, math.inf])
def test_a_bad_limit_is_refused(drop: float) -> None:
    with pytest.raises(ConfigError, match="largest drop"):
        decide(np.ones(9, bool), np.ones(9, bool), drop)


@pytest.mark.parametrize("alpha", [0, 0.5, -1, math.nan])
def test_a_bad_alpha_is_refused(alpha: float) -> None:
    with pytest.raises(ConfigError, match="alpha"):
        decide(np.ones(9, bool), np.ones(9, bool), 0.5, alpha)


def test_no_images_and_other_numbers_of_images_are_refused() -> None:
    with pytest.raises(DataError, match="at least one image"):
        decide(np.ones(0, bool), np.ones(0, bool), 0.5)
    for parts in ([], [Pairs(5, 0, 0, 0)], [Pairs(11, 0, 0, 0)]):
        with pytest.raises(DataError, match="another number of images"):
            decide_early(parts, 10, 0.5)
