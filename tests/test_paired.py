"""Paired comparison: every interval against published tables, the exact test against fractions, coverage against simulation."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerec.benchmarks.accuracy import Z_95
from edgerec.benchmarks.paired import Pairs, count_pairs, mcnemar, newcombe, tango, tango_score
from edgerec.runtime.errors import ConfigError, DataError

# Newcombe 1998 (doi in `paired`), table III, method 10: both, lost, won, neither -> bounds as printed.
NEWCOMBE = {
    (36, 12, 2, 0): (0.0569, 0.3404),
    (20, 12, 2, 16): (0.0562, 0.3292),
    (18, 12, 2, 18): (0.0562, 0.3290),
    (36, 14, 0, 0): (0.1528, 0.4167),
    (35, 14, 0, 1): (0.1461, 0.4175),
    (18, 14, 0, 18): (0.1441, 0.3963),
    (2, 97, 1, 0): (0.8721, 0.9854),
    (1, 97, 1, 1): (0.8736, 0.9850),
    (0, 29, 1, 0): (0.6666, 0.9882),
    (2, 98, 0, 0): (0.9178, 0.9945),
    (1, 98, 0, 1): (0.9171, 0.9916),
    (0, 30, 0, 0): (0.8395, 1.0),
    (54, 0, 0, 0): (-0.0664, 0.0664),
    (53, 0, 0, 1): (-0.0729, 0.0729),
    (30, 0, 0, 24): (-0.0358, 0.0358),
    (29, 0, 0, 25): (-0.0354, 0.0354),
    (28, 0, 0, 26): (-0.0352, 0.0352),
    (27, 0, 0, 27): (-0.0351, 0.0351),
}
# Tango's interval as the R packages `ratesci` and `contingencytables` (Fagerland, Lydersen and Laake 2017, chapter 8) hold it in their tests,
# for Bentur et al. 2009 and Cavo et al. 2012.
TANGO = {(1, 1, 7, 12): (-0.517, -0.026), (59, 6, 16, 80): (-0.124, -0.0054)}

COUNTS = st.integers(0, 200)
PAIRS = st.builds(Pairs, COUNTS, COUNTS, COUNTS, COUNTS).filter(lambda pairs: pairs.images > 0)


@pytest.mark.parametrize(("cells", "published"), NEWCOMBE.items())
def test_newcombes_interval_is_the_published_one(cells: tuple[int, int, int, int], published: tuple[float, float]) -> None:
    assert newcombe(Pairs(*cells)) == pytest.approx([100 * one for one in published], abs=0.01)


@pytest.mark.parametrize(("cells", "published"), TANGO.items())
def test_tangos_interval_is_the_published_one(cells: tuple[int, int, int, int], published: tuple[float, float]) -> None:
    assert tango(Pairs(*cells)) == pytest.approx([100 * one for one in published], abs=0.051)


def test_tangos_interval_without_a_discordant_image_by_hand() -> None:
    # The score is n d / sqrt(n d (1 - d)): it is z at d = z^2 / (n + z^2).
    assert tango(Pairs(100, 0, 0, 0)) == pytest.approx([-100 * Z_95**2 / (100 + Z_95**2), 100 * Z_95**2 / (100 + Z_95**2)])


def test_tangos_score_at_no_difference_is_mcnemars_statistic() -> None:
    assert tango_score(Pairs(50, 16, 9, 25), 0.0) == pytest.approx((16 - 9) / (16 + 9) ** 0.5)
    assert tango_score(Pairs(50, 16, 9, 25), 0.0, correction=1) == pytest.approx((16 - 9 - 1) / (16 + 9) ** 0.5)


@given(PAIRS)
def test_swapping_the_models_turns_both_intervals_round(pairs: Pairs) -> None:
    swapped = Pairs(pairs.both, pairs.won, pairs.lost, pairs.neither)
    for interval in (newcombe, tango):
        low, high = interval(pairs)
        assert -100.0001 <= low <= pairs.drop_points + 1e-6
        assert pairs.drop_points - 1e-6 <= high <= 100.0001
        assert interval(swapped) == pytest.approx([-high, -low], abs=1e-6)


@given(PAIRS, st.floats(0.1, 4))
def test_the_bounds_are_where_the_score_is_z(pairs: Pairs, z: float) -> None:
    low, high = tango(pairs, z)
    wide_low, wide_high = tango(pairs, z, correction=0.5)
    assert wide_low <= low + 1e-9
    assert wide_high >= high - 1e-9
    if low > -99.9 and high < 99.9:
        assert tango_score(pairs, low / 100) == pytest.approx(z, rel=1e-5)
        assert tango_score(pairs, high / 100) == pytest.approx(-z, rel=1e-5)


@pytest.mark.parametrize("p_lost", [0.01, 0.03])
@pytest.mark.parametrize("p_won", [0.01, 0.02])
def test_95_percent_intervals_cover_the_truth(p_lost: float, p_won: float) -> None:
    draws = np.random.default_rng(0).multinomial(1000, [p_lost, p_won, 0.9, 0.1 - p_lost - p_won], size=1500).tolist()
    truth = 100 * (p_lost - p_won)
    for interval in (newcombe, tango):
        bounds = [interval(Pairs(both, lost, won, neither)) for lost, won, both, neither in draws]
        covered = sum(low <= truth <= high for low, high in bounds) / len(bounds)
        assert 0.93 <= covered <= 0.975


def test_mcnemar_is_the_published_p_value_and_the_exact_binomial() -> None:
    assert mcnemar(Pairs(59, 6, 16, 80)) == pytest.approx(0.052479, abs=5e-7)  # Cavo et al. 2012, `contingencytables`
    assert mcnemar(Pairs(1, 1, 7, 12)) == 2 * Fraction(1 + 8, 2**8)
    assert mcnemar(Pairs(5, 0, 0, 5)) == 1.0
    many = 2 * Fraction(sum(comb(3000, k) for k in range(1451)), 2**3000)
    assert mcnemar(Pairs(0, 1450, 1550, 0)) == pytest.approx(float(many))


def test_counting_by_hand() -> None:
    reference = np.array([True, True, True, False, False, True])
    candidate = np.array([True, False, False, True, False, True])
    pairs = count_pairs(reference, candidate)
    assert pairs == Pairs(both=2, lost=2, won=1, neither=1)
    assert pairs.drop_points == pytest.approx(100 / 6)
    assert count_pairs(reference[:2], candidate[:2]) + count_pairs(reference[2:], candidate[2:]) == pairs


@pytest.mark.parametrize(
    ("reference", "candidate"),
    [(np.ones(3, bool), np.ones(4, bool)), (np.ones(3), np.ones(3)), (np.ones((2, 2), bool), np.ones((2, 2), bool))],
)
def test_other_arrays_are_refused(reference: np.ndarray, candidate: np.ndarray) -> None:
    with pytest.raises(DataError, match="same images"):
        count_pairs(reference, candidate)


def test_no_images_and_negative_counts_are_refused() -> None:
    for interval in (newcombe, tango):
        with pytest.raises(ConfigError, match="interval needs"):
            interval(Pairs(0, 0, 0, 0))
    with pytest.raises(ConfigError, match="negative"):
        Pairs(1, -1, 0, 0)
