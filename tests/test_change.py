"""Tests of benchmarks/change.py: pairs of records, and changes whose intervals are computed by hand or by another function."""

import math
from dataclasses import replace

import numpy as np
import pytest

from edgerec.benchmarks.accuracy import Accuracy, wilson
from edgerec.benchmarks.change import Pair, combine, flags_of, pack_flags, pair_up, time_change, top1_change
from edgerec.benchmarks.document import Document
from edgerec.benchmarks.latency import Latency, Speedup
from edgerec.benchmarks.measured import Watch
from edgerec.benchmarks.paired import Pairs, tango
from edgerec.benchmarks.records import Machine, Record

HERE = Machine("cpu", ("avx2",), 2, "x86_64", "Linux", "3.11")
ORT = {"onnxruntime": "1.25.0"}


def record(file: str, p50_ms: float, speedup: Speedup | None = None, sha: str = "") -> Record:
    latency = Latency(p50_ms, 2 * p50_ms, p50_ms, p50_ms, 100, p50_interval_ms=(p50_ms, p50_ms), p90_interval_ms=(2 * p50_ms, 2 * p50_ms))
    return Record(file, 1000, sha or file, "cpu", 1, latency, HERE, ORT, speedup=speedup)


def day(slower: float, candidate_ms: float, sha: str = "b") -> Document:
    """Return a run of an unchanged first file of 1 ms and a second one, on a day on which all is slower by a factor."""
    same, ratio = Speedup(1.0, 1.0, 1.0), 1 / candidate_ms
    return Document(
        (record("a.onnx", slower, same), record("b.onnx", slower * candidate_ms, Speedup(ratio, 0.99 * ratio, 1.02 * ratio), sha))
    )


def p50(one: Record) -> tuple[float, float, float] | None:
    return (one.latency.p50_ms, one.latency.p50_ms, one.latency.p50_ms)


def p90(one: Record) -> tuple[float, float, float] | None:
    return (one.latency.p90_ms, one.latency.p90_ms, one.latency.p90_ms)


def test_a_slow_day_is_no_slow_file() -> None:
    first, second = pair_up(day(1.2, 0.5), day(1.0, 0.5))
    assert first.is_first
    assert not second.is_first
    for read, median in ((p50, True), (p90, False)):
        change = time_change(second, read, relative=True, median=median)
        assert change is not None
        assert change.value == pytest.approx(0.0, abs=1e-12)
        assert change.basis == "against the first file"
        own = time_change(first, read, relative=True, median=median)
        assert own is not None
        assert own.value == pytest.approx(0.2)
        assert own.basis == "as measured"


def test_the_ratio_s_interval_joins_those_of_both_speedups() -> None:
    _first, second = pair_up(day(1.0, 0.55), day(1.3, 0.5))
    change = time_change(second, p50, relative=True, median=True)
    assert change is not None
    # Slower by a tenth; each speed-up is 1 % to 2 % sure, so both together by the root of the sum of the squares of the logarithms.
    half_low, half_high = math.hypot(math.log(1.02), math.log(0.99)), math.hypot(math.log(0.99), math.log(1.02))
    assert change.value == pytest.approx(0.1)
    assert change.low == pytest.approx(1.1 * math.exp(-half_low) - 1)
    assert change.high == pytest.approx(1.1 * math.exp(half_high) - 1)


def test_milliseconds_are_compared_as_measured() -> None:
    _first, second = pair_up(day(1.2, 0.5), day(1.0, 0.5))
    change = time_change(second, p50, relative=False, median=True)
    assert change is not None
    assert (change.value, change.basis) == (pytest.approx(0.1), "as measured")


@pytest.mark.parametrize(
    "other",
    [
        {"sha256": "another file"},
        {"threads": 2},
        {"profile": "throughput"},
        {"versions": {"onnxruntime": "1.24.1"}},
        {"versions": {"onnxruntime-gpu": "1.25.0"}},
        {"speedup": None},
    ],
)
def test_another_first_file_is_no_measure(other: dict[str, object]) -> None:
    older = day(1.0, 0.5)
    changed = Document((replace(older.records[0], **other), *older.records[1:]))
    pair = next(one for one in pair_up(day(1.2, 0.5), changed) if one.now.file == "b.onnx")
    assert pair.first is None
    change = time_change(pair, p50, relative=True, median=True)
    assert change is not None
    assert (change.value, change.basis) == (pytest.approx(0.2), "as measured")


def test_pairs_are_of_one_way_to_run_and_equal_names_keep_their_order() -> None:
    one, two = record("m.onnx", 1.0, sha="1"), record("m.onnx", 2.0, sha="2")
    pairs = pair_up(Document((one, two)), Document((replace(one, threads=4), one, two)))
    assert [(pair.now.sha256, pair.old.sha256, pair.old.threads) for pair in pairs] == [("1", "1", 1), ("2", "2", 1)]
    for other in ({"provider": "cuda"}, {"batch": 8}, {"target": "board"}, {"profile": "camera"}, {"file": "n.onnx"}):
        assert pair_up(Document((one,)), Document((replace(one, **other),))) == ()


def test_what_a_reader_must_know() -> None:
    now = replace(record("a.onnx", 1.0), watch=Watch(("other processes",)))
    old = replace(record("a.onnx", 1.0), machine=replace(HERE, cores=4), versions={"onnxruntime": "1.24.1", "torch": "2.8", "numpy": "1"})
    assert Pair(now, old).remarks == ("another machine", "onnxruntime 1.24.1 before", "disturbed")
    assert Pair(now, replace(old, machine=replace(HERE, python="3.12"), versions=ORT, watch=None)).remarks == ("disturbed",)


def scored(right: np.ndarray, *, kept: bool = True, data: str = "f") -> Record:
    hits, images = int(right.sum()), len(right)
    low, high = wilson(hits, images)
    accuracy = Accuracy(hits / images, 1.0, low, high, images, (), ())
    return replace(record("a.onnx", 1.0), accuracy=accuracy, right=pack_flags(right) if kept else "", data_fingerprint=data)


def test_top1_is_paired_on_the_same_images() -> None:
    before = np.arange(1003) % 10 > 0  # 9 of 10
    after = before.copy()
    after[1:13] = False  # 11 lost: one of them was wrong before
    after[20] = True  # 1 won
    change = top1_change(Pair(scored(after), scored(before)))
    low, high = tango(Pairs(int(before.sum()) - 11, 11, 1, 1003 - int(before.sum()) - 1))
    assert change is not None
    assert (change.value, change.low, change.high) == pytest.approx((-1000 / 1003, -high, -low))
    assert change.basis == "on the same images"
    same = top1_change(Pair(scored(before), scored(before)))
    assert same is not None
    assert same.value == 0


def test_without_the_images_top1_has_newcombe_s_interval() -> None:
    before, after = np.arange(1000) < 910, np.arange(1000) < 900
    change = top1_change(Pair(scored(after, kept=False), scored(before)))
    (low0, high0), (low1, high1) = wilson(910, 1000), wilson(900, 1000)
    assert change is not None
    assert change.value == pytest.approx(-1.0)
    assert change.low == pytest.approx(-1.0 - 100 * math.hypot(0.9 - low1, high0 - 0.91))
    assert change.high == pytest.approx(-1.0 + 100 * math.hypot(high1 - 0.9, 0.91 - low0))
    assert change.basis == "as measured"


def test_other_images_are_not_compared() -> None:
    right = np.ones(100, bool)
    assert top1_change(Pair(scored(right), scored(right, data="g"))) is None
    assert top1_change(Pair(replace(scored(right), split="validation"), scored(right))) is None


def test_flags_come_back_and_damaged_ones_are_not_believed() -> None:
    right = np.random.default_rng(0).random(1001) < 0.9
    one = scored(right)
    found = flags_of(one)
    assert found is not None
    assert (found == right).all()
    assert len(one.right) < 1001 / 4
    for damaged in ("", "x", "abcd", one.right[:-8], pack_flags(~right), pack_flags(right[:500]), pack_flags(np.zeros(10**6, bool))):
        assert flags_of(replace(one, right=damaged)) is None, damaged[:20]


def test_estimates_add_square_by_square() -> None:
    assert combine([(1, (10.0, 7.0, 14.0)), (-1, (4.0, 0.0, 7.0))]) == pytest.approx((6.0, 6 - math.hypot(3, 3), 6 + math.hypot(4, 4)))
    assert math.isnan(combine([(1, (1.0, math.nan, math.nan)), (-1, (1.0, 1.0, 1.0))])[1])
