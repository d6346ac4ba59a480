"""Minimum cut: the fastest assignment, against all assignments."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerec.compress.quantization.mincut import Choice, Conversion, cheapest, cost_us
from edgerec.runtime.errors import ConfigError

_TIMES = st.integers(0, 20).map(float)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Choice], list[Conversion]]:
    """Return parts in a row, some pinned, with tensors from each to later ones, to the caller, and from the model's input."""
    count = draw(st.integers(1, 6))
    choices: list[Choice] = []
    for number in range(count):
        pinned = draw(st.sampled_from(("", "", "", "float", "int8")))
        float_us, int8_us = draw(_TIMES), draw(_TIMES)
        choices.append(
            Choice(
                str(number), math.inf if pinned == "int8" else float_us, math.inf if pinned == "float" else int8_us, draw(st.integers(0, 3))
            )
        )
    conversions: list[Conversion] = []
    for number in range(-1, count):
        later = [str(one) for one in range(number + 1, count)] + [None]
        readers = draw(st.lists(st.sampled_from(later), max_size=3, unique=True))
        if readers:
            conversions.append(Conversion(None if number < 0 else str(number), tuple(readers), draw(_TIMES), draw(_TIMES)))
    return choices, conversions


@given(graphs(), st.sampled_from((0.0, 1.0, 2.5)))
def test_no_assignment_is_faster(graph: tuple[list[Choice], list[Conversion]], us_per_error: float) -> None:
    choices, conversions = graph
    names = [one.name for one in choices]
    subsets = [frozenset(some) for size in range(len(names) + 1) for some in itertools.combinations(names, size)]
    best = min(cost_us(choices, conversions, one, us_per_error=us_per_error) for one in subsets)

    found = cheapest(choices, conversions, us_per_error=us_per_error)

    assert cost_us(choices, conversions, found, us_per_error=us_per_error) == pytest.approx(best)
    fewest = min(len(one) for one in subsets if cost_us(choices, conversions, one, us_per_error=us_per_error) <= best + 1e-6)
    assert len(found) == fewest


def test_cost_by_hand() -> None:
    # input -> a -> b -> output, and a -> c -> output; a and b int8: quantize the input, dequantize a for c and b for the caller
    choices = [Choice("a", 10, 1), Choice("b", 10, 2), Choice("c", 3, 100)]
    conversions = [
        Conversion(None, ("a",), 4, 4),
        Conversion("a", ("b", "c"), 5, 6),
        Conversion("b", (None,), 7, 8),
        Conversion("c", (None,), 7, 8),
    ]

    assert cost_us(choices, conversions, frozenset("ab")) == (1 + 2 + 3) + 4 + 6 + 8
    assert cost_us(choices, conversions, frozenset()) == 23
    assert cheapest(choices, conversions) == frozenset()  # 23 us, where {a} costs 24 and {a, b} 24


def test_many_readers_share_one_conversion() -> None:
    choices = [Choice("a", 20, 1), *(Choice(f"reader {number}", 1, math.inf) for number in range(8))]
    conversions = [Conversion("a", tuple(one.name for one in choices[1:]), 5, 5)]

    assert cheapest(choices, conversions) == {"a"}  # eight conversions would cost 40


def test_a_price_on_error_turns_a_part_float() -> None:
    choices = [Choice("a", 10, 4, error=2)]

    assert cheapest(choices) == {"a"}
    assert cheapest(choices, us_per_error=3) == frozenset()


def test_a_long_chain_is_no_recursion() -> None:
    choices = [Choice(str(number), 2, 1) for number in range(3000)]
    conversions = [Conversion(str(number), (str(number + 1),), 1, 1) for number in range(2999)]

    assert len(cheapest(choices, conversions)) == 3000


@pytest.mark.parametrize(
    ("choices", "conversions", "problem"),
    [
        ([Choice("a", 1, 1), Choice("a", 1, 1)], [], "name of its own"),
        ([Choice("a", 1, 1)], [Conversion("b", ("a",), 1, 1)], "unknown part"),
        ([Choice("a", -1, 1)], [], "at least 0"),
        ([Choice("a", math.nan, 1)], [], "at least 0"),
        ([Choice("a", math.inf, math.inf)], [], "neither float nor int8"),
    ],
)
def test_bad_input_is_refused(choices: list[Choice], conversions: list[Conversion], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        cheapest(choices, conversions)
