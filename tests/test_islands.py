"""Tests of benchmarks/islands.py on graphs written by hand."""

import pytest

from edgerec.benchmarks.executed import Executed, Kind
from edgerec.benchmarks.islands import islands_of, neighbours, stranded


def node(name: str, op_type: str, kind: Kind, reads: str, makes: str, dtype: str = "float", us: float = 1.0) -> Executed:
    inputs, outputs = tuple(reads.split()), tuple(makes.split())
    return Executed(name, name, op_type, kind, "CPUExecutionProvider", us, us / 10, 0, (name,), inputs, outputs, dtype)


QUANTIZE = node("q", "QuantizeLinear", "conversion", "x", "x8", "uint8")
FIRST = node("first", "QLinearConv", "int8", "x8", "a8", "uint8")
BACK = node("dq_1", "DequantizeLinear", "conversion", "a8", "a", us=0.5)
SWISH = node("swish", "HardSwish", "float", "a", "b", us=2.0)
AGAIN = node("q_1", "QuantizeLinear", "conversion", "b", "b8", "uint8", us=0.25)
SECOND = node("second", "QLinearConv", "int8", "b8", "c8", "uint8")
OUT = node("dq", "DequantizeLinear", "conversion", "c8", "y")
DETOUR = [QUANTIZE, FIRST, BACK, SWISH, AGAIN, SECOND, OUT]


def test_an_island_lies_between_integer_nodes_and_costs_its_shores_too() -> None:
    (island,) = islands_of(DETOUR)
    assert island.nodes == ("dq_1", "swish", "q_1")
    assert (island.core, island.before, island.behind) == (("swish",), ("first",), ("second",))
    assert island.us == 2.75
    assert island.share == pytest.approx(0.275)


def test_the_way_in_and_the_way_out_are_no_island_and_strand_nothing() -> None:
    straight = [QUANTIZE, FIRST, node("second", "QLinearConv", "int8", "a8", "c8", "uint8"), OUT]
    assert islands_of(straight) == ()
    assert stranded(straight) == ()
    head = [*straight, node("softmax", "Softmax", "float", "y", "p")]
    assert islands_of(head) == ()
    assert stranded(head) == ()


def test_conversions_of_an_island_are_stranded() -> None:
    assert stranded(DETOUR) == (BACK, AGAIN)


def test_conversions_around_an_operator_that_runs_in_float_are_stranded() -> None:
    nodes = [
        QUANTIZE,
        node("dq_0", "DequantizeLinear", "conversion", "x8", "x_again"),
        node("weight", "DequantizeLinear", "conversion", "w8", "w"),
        node("conv", "Conv", "float", "x_again w", "c"),
        node("q_1", "QuantizeLinear", "conversion", "c", "c8", "uint16"),
        OUT,
    ]
    assert [one.name for one in stranded(nodes)] == ["q", "dq_0", "weight", "q_1", "dq"]


def test_moving_integers_is_no_island() -> None:
    moved = node("slice", "Slice", "movement", "a8", "b8", "uint8")
    assert islands_of([QUANTIZE, FIRST, moved, SECOND, OUT]) == ()
    floats = [QUANTIZE, FIRST, BACK, node("pad", "Pad", "movement", "a", "b"), AGAIN, SECOND, OUT]
    assert [one.core for one in islands_of(floats)] == [("pad",)]


def test_branches_that_meet_are_one_island_and_separate_ones_are_two() -> None:
    twice = [
        *DETOUR[:-1],
        node("dq_2", "DequantizeLinear", "conversion", "c8", "c"),
        node("gelu", "Gelu", "float", "c", "d"),
        node("q_2", "QuantizeLinear", "conversion", "d", "d8", "uint8"),
        node("third", "QLinearConv", "int8", "d8", "e8", "uint8"),
    ]
    assert [one.core for one in islands_of(twice)] == [("swish",), ("gelu",)]
    meeting = [
        FIRST,
        BACK,
        node("dq_b", "DequantizeLinear", "conversion", "a8", "a_too"),
        node("tanh", "Tanh", "float", "a_too", "t"),
        node("swish", "HardSwish", "float", "a", "s"),
        node("sum", "Add", "float", "s t", "b"),
        AGAIN,
        SECOND,
    ]
    assert [one.core for one in islands_of(meeting)] == [("tanh", "swish", "sum")]


def test_neighbours_are_found_behind_conversions() -> None:
    assert [one.name for one in neighbours(SWISH, DETOUR)] == ["first", "second"]


def test_an_unknown_graph_has_no_islands() -> None:
    nodes = [node(one.name, one.op_type, one.kind, "", "", one.dtype) for one in DETOUR]
    assert islands_of(nodes) == ()
