"""The bootstrap: coverage by simulation, the mean's own standard error as the answer, every bad input."""

import math

import numpy as np
import pytest

from edgerec.benchmarks.resampling import LEAST_IMAGES, decide_resampled, decide_scores
from edgerec.runtime.errors import ConfigError, DataError

Z_95_ONE_SIDED = 1.6449


def test_bounds_of_a_mean_are_its_standard_error_away() -> None:
    random = np.random.default_rng(0)
    reference, losses = random.normal(10, 1, 2000), random.normal(0.1, 0.5, 2000)
    verdict = decide_scores(reference, reference - losses, max_drop=0.2)
    # The two imaginary images lost and won the whole range.
    widest = max(reference.max(), (reference - losses).max()) - min(reference.min(), (reference - losses).min())
    error = math.sqrt(2000 * losses.var() + 2 * widest**2) / 2000
    assert verdict.decision == "inside"
    assert verdict.images == 2000
    assert verdict.drop_points == pytest.approx(losses.mean())
    assert verdict.high == pytest.approx(losses.mean() + Z_95_ONE_SIDED * error, abs=0.15 * error)
    assert verdict.low == pytest.approx(losses.mean() - Z_95_ONE_SIDED * error, abs=0.15 * error)
    assert decide_scores(reference, reference - losses, max_drop=0.05).decision == "outside"
    assert decide_scores(reference, reference - losses, max_drop=0.2) == verdict, "the seed is fixed"


def test_at_the_limit_neither_wrong_decision_is_more_frequent_than_alpha() -> None:
    random = np.random.default_rng(0)
    verdicts = []
    for _ in range(300):
        reference = random.random(400)
        # Skewed as real losses are: most images lose nothing, a few lose half.
        candidate = reference - 0.5 * (random.random(400) < 0.04)
        verdicts.append(decide_scores(reference, candidate, max_drop=0.02, resamples=400).decision)
    for decision in ("inside", "outside"):
        assert verdicts.count(decision) / 300 <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 300)


def test_equal_scores_on_few_images_prove_little() -> None:
    scores = np.random.default_rng(0).random(150)
    verdict = decide_scores(scores, scores, max_drop=0.005)
    assert verdict.decision == "undecided"
    assert verdict.drop_points == 0
    needed = verdict.images_needed
    assert needed is not None
    assert 200 < needed < 2000
    more = np.resize(scores, 2 * needed)
    assert decide_scores(more, more, max_drop=0.005).decision == "inside"


def test_a_score_of_a_set() -> None:
    random = np.random.default_rng(0)
    reference, candidate = random.normal(5, 1, 500), random.normal(3, 1, 500)
    verdict = decide_resampled(lambda rows: (float(np.median(reference[rows])), float(np.median(candidate[rows]))), 500, max_drop=1)
    assert verdict.decision == "outside"
    assert verdict.low < verdict.drop_points < verdict.high
    assert verdict.drop_points == pytest.approx(2, abs=0.3)


def test_few_images_decide_nothing() -> None:
    verdict = decide_resampled(lambda _rows: (1.0, 1.0), LEAST_IMAGES - 1, max_drop=0.1)
    assert (verdict.decision, verdict.images_needed) == ("undecided", LEAST_IMAGES)
    assert decide_resampled(lambda _rows: (1.0, 1.0), LEAST_IMAGES, max_drop=0.1).decision == "inside"


def test_bad_input_is_refused() -> None:
    five = np.ones(5)
    with pytest.raises(DataError, match="same images"):
        decide_scores(five, np.ones(6), 0.1)
    with pytest.raises(DataError, match="at least one image"):
        decide_resampled(lambda _rows: (1.0, 1.0), 0, 0.1)
    with pytest.raises(DataError, match="at least one image"):
        decide_scores(five[:0], five[:0], 0.1)
    with pytest.raises(ConfigError, match="finite"):
        decide_scores(five * math.nan, five, 0.1)
    for drop in (-1, math.nan, math.inf):
        with pytest.raises(ConfigError, match="largest drop"):
            decide_scores(five, five, drop)
    for alpha in (0, 0.5, 0.001):
        with pytest.raises(ConfigError, match="alpha"):
            decide_scores(five, five, 0.1, alpha)
