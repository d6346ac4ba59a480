"""Ranges: brute force over every pair of bounds on small histograms, numpy's quantiles, and the grid's real error on real numbers."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerec.compress.quantization.ranges import METHODS, Method, choose_range
from edgerec.compress.quantization.scheme import Grid
from edgerec.compress.quantization.statistics import Accumulator, TensorStatistics
from edgerec.compress.quantization.taps import extract
from edgerec.runtime.errors import ConfigError

Array = np.ndarray
HALF = 8  # bins a side of the small histograms
LEVELS = 5


def statistics_of(values: Array) -> TensorStatistics:
    total = Accumulator()
    assert total.add_runs(*([part] for part in extract(values.astype(np.float32), None)))
    return total.result()


@st.composite
def histograms(draw: st.DrawFn) -> TensorStatistics:
    """Bins of width 1 with ends that are taken: `counts[HALF + k]` elements in bin k."""
    sides = draw(st.sampled_from(["both", "up", "down"]))
    counts = np.array([0, *draw(st.lists(st.integers(0, 30), min_size=2 * HALF - 1, max_size=2 * HALF - 1))])
    counts[[1, -1]] = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    if sides == "up":
        counts[:HALF] = 0
    elif sides == "down":
        counts[HALF + 1 :] = 0
    ends = [0.0 if sides == "up" else -HALF + 0.001, 0.0 if sides == "down" else HALF - 0.001]
    return TensorStatistics(np.array(ends[:1], np.float32), np.array(ends[1:], np.float32), counts)


def brute_force(
    statistics: TensorStatistics, cost: Callable[[dict[int, int], int, int, bool], float], symmetric: bool
) -> dict[tuple[float, float], float]:
    """Return what every range costs, whose bounds include `down` and `up` bins beside bin 0."""
    counts = {k: int(statistics.counts[HALF + k]) for k in range(-HALF + 1, HALF)}
    if symmetric:
        counts = {k: count + counts[-k] for k, count in counts.items()}
    has_down, has_up = any(counts[k] for k in range(-HALF + 1, 0)), any(counts[k] for k in range(1, HALF))
    costs: dict[tuple[float, float], float] = {}
    for down, up in product(range(HALF if has_down else 1), range(HALF if has_up else 1)):
        if symmetric and down != up:
            continue
        low = -(down + 1) if has_down else 0
        high = up + 1 if has_up else 0
        # Several windows may end beyond what was seen; these ranges are one.
        bounds = max(statistics.low, low), min(statistics.high, high)
        costs[bounds] = min(costs.get(bounds, math.inf), cost(counts, low, high, symmetric))
    return costs


def expected_error(counts: dict[int, int], low: int, high: int, symmetric: bool) -> float:
    step = (high - low) / (LEVELS - 2 if symmetric else LEVELS - 1)
    error = 0.0
    for k, count in counts.items():
        if k > 0:
            error += count * (step**2 / 12 if k < high else (k + 0.5 - high) ** 2)
        elif k < 0:
            error += count * (step**2 / 12 if k > low else (k - 0.5 - low) ** 2)
    return error


def divergence(counts: dict[int, int], low: int, high: int, symmetric: bool) -> float:
    """KL(P || Q) straight from the definition, bin by bin."""
    levels = LEVELS - 1 if symmetric else LEVELS
    window = list(range(low + 1 if low else 0, high if high else 1))
    if len(window) < levels:
        return math.inf
    inside = {k: counts[k] if k else 0 for k in window}
    p = dict(inside)
    p[window[0]] += sum(count for k, count in counts.items() if k < window[0] and k)
    p[window[-1]] += sum(count for k, count in counts.items() if k > window[-1] and k)
    if not sum(inside.values()):
        return math.inf
    q = dict.fromkeys(window, 0.0)
    for cell in range(levels):
        bins = window[cell * len(window) // levels : (cell + 1) * len(window) // levels]
        filled = [k for k in bins if p[k]]
        for k in filled:
            q[k] = max(sum(inside[b] for b in bins), 1) / len(filled)
    total_p, total_q = sum(p.values()), sum(q.values())
    return sum(p[k] / total_p * math.log(p[k] / total_p / (q[k] / total_q)) for k in window if p[k])


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("method", "cost"), [("mse", expected_error), ("entropy", divergence)])
@given(histograms())
def test_no_range_costs_less(method: Method, cost: Callable[..., float], symmetric: bool, statistics: TensorStatistics) -> None:
    found = choose_range(statistics, method, symmetric=symmetric, levels=LEVELS)
    costs = brute_force(statistics, cost, symmetric)
    if any(math.isfinite(one) for one in costs.values()) and any(statistics.counts[k] for k in range(1, 2 * HALF) if k != HALF):
        assert costs[found] == pytest.approx(min(costs.values()), abs=1e-9)


def grid_error(values: Array, low: float, high: float, symmetric: bool = False) -> float:
    grid = Grid.covering(low, high, symmetric=symmetric, signed=symmetric)
    return float(((grid.dequantize(grid.quantize(values)) - values) ** 2).mean())


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("kind", ["laplace", "relu", "skewed"])
def test_mse_is_near_the_best_that_real_quantization_can_do(kind: str, symmetric: bool) -> None:
    values = np.random.default_rng(0).laplace(size=4000).astype(np.float32)
    values = {"laplace": values, "relu": np.maximum(values, 0), "skewed": np.where(values < 0, values / 5, values)}[kind]
    low, high = choose_range(statistics_of(values), "mse", symmetric=symmetric)
    shares = np.linspace(0.2, 1, 30)
    every = product(shares * values.min(), shares * values.max()) if values.min() < 0 else ((0.0, share * values.max()) for share in shares)
    best = min(grid_error(values, *pair, symmetric) for pair in every)
    assert grid_error(values, low, high, symmetric) < 1.03 * best


def test_entropy_clips_a_lonely_outlier_and_keeps_a_full_range() -> None:
    rng = np.random.default_rng(0)
    full = rng.uniform(-3, 5, 8000)
    assert choose_range(statistics_of(full), "entropy") == pytest.approx((-3, 5), rel=0.02)
    low, high = choose_range(statistics_of(np.append(full, 40)), "entropy")
    assert (low, high) == pytest.approx((-3, 5), rel=0.1)


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_percentile_against_numpy(percentile: float) -> None:
    values = np.random.default_rng(0).laplace(0.3, size=8000).astype(np.float32)
    statistics = statistics_of(values)
    low, high = choose_range(statistics, "percentile", percentile=percentile)
    assert high == pytest.approx(np.quantile(values, percentile / 100, method="inverted_cdf"), abs=statistics.bin_width)
    assert -low == pytest.approx(np.quantile(-values, percentile / 100, method="inverted_cdf"), abs=statistics.bin_width)
    low, high = choose_range(statistics, "percentile", percentile=percentile, symmetric=True)
    exact = np.quantile(np.abs(values), percentile / 100, method="inverted_cdf")
    assert -low == high == pytest.approx(exact, abs=statistics.bin_width)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40), st.sampled_from(METHODS), st.booleans())
def test_no_method_goes_beyond_what_was_seen(values: list[float], method: Method, symmetric: bool) -> None:
    array = np.array(values, np.float32)
    low, high = choose_range(statistics_of(array), method, symmetric=symmetric)
    assert array.min() <= low <= high <= array.max()


@pytest.mark.parametrize("method", METHODS)
def test_negative_numbers_mirror_positive_ones(method: Method) -> None:
    values = np.random.default_rng(0).gamma(2, size=5000)
    low, high = choose_range(statistics_of(values), method)
    # The cells of `entropy` are counted from the low end.
    assert choose_range(statistics_of(-values), method) == pytest.approx((-high, -low), rel=0.01 if method == "entropy" else 0)


@pytest.mark.parametrize("method", METHODS)
def test_a_dead_tensor_and_a_constant_have_the_range_they_have(method: Method) -> None:
    assert choose_range(statistics_of(np.zeros(9)), method) == (0, 0)
    assert choose_range(statistics_of(np.full(9, 1e-38)), method) == (np.float32(1e-38), np.float32(1e-38))
    low, high = choose_range(statistics_of(np.full(9, 5)), method)
    assert high == 5
    assert low >= 0


def test_percentile_100_is_exact() -> None:
    statistics = statistics_of(np.array([0, 1, 2, 3.3]))
    assert choose_range(statistics, "percentile", percentile=100) == choose_range(statistics, "minmax") == (0, np.float32(3.3))


@pytest.mark.parametrize(
    "arguments", [{"method": "best"}, {"method": "percentile", "percentile": 0.99}, {"method": "mse", "percentile": 101}]
)
def test_unknown_methods_and_percentiles_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_range(statistics_of(np.ones(3)), **arguments)
    assert caught.value.given
    assert caught.value.fix
