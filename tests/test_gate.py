"""Tests of benchmarks/gate.py: changes whose intervals are computed by hand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from edgerec.benchmarks.accuracy import Accuracy
from edgerec.benchmarks.document import Document, read_document
from edgerec.benchmarks.gate import check, judge, line, unmatched
from edgerec.benchmarks.gate_rules import Rule, parse_rule
from edgerec.benchmarks.latency import Latency, Speedup
from edgerec.benchmarks.records import Machine, Record
from edgerec.runtime.errors import ConfigError, DataError, GateError

HERE = Machine("cpu", ("avx2",), 2, "x86_64", "Linux", "3.11")


def run(p50_ms: float, half_ms: float | None = 0.0, size: int = 1000) -> Document:
    interval = None if half_ms is None else (p50_ms - half_ms, p50_ms + half_ms)
    latency = Latency(p50_ms, p50_ms, p50_ms, p50_ms, 100, p50_interval_ms=interval)
    return Document((Record("a.onnx", size, "0" * 64, "cpu", 1, latency, HERE, {}),))


def outcome(text: str, new: Document, old: Document) -> str:
    (verdict,) = judge(new, old, [parse_rule(text)])
    return verdict.outcome


def test_the_grammar() -> None:
    assert parse_rule("p50>+5%") == Rule("p50>+5%", "p50", ">", 0.05, relative=True)
    assert parse_rule("top1 < -0.3") == Rule("top1 < -0.3", "top1", "<", -0.3, relative=False)
    assert parse_rule("size>+2kB").limit == 2000


@pytest.mark.parametrize("text", ["", "p50", "p50>", "p50=5%", "p50>+5", "p50>5kB", "top1<-1%", "speed>1%", "p50>+5% or more"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_rule(text)


def test_only_a_whole_interval_beyond_the_limit_fails() -> None:
    # MOVER in milliseconds: 10 +- 3 against 4 +- 4 is 6 +- 5, from 1 to 11.
    new, old = run(10.0, 3.0), run(4.0, 4.0)
    (verdict,) = judge(new, old, [parse_rule("p50>+0.5ms")])
    assert (verdict.change.value, verdict.change.low, verdict.change.high) == pytest.approx((6.0, 1.0, 11.0))
    assert outcome("p50>+0.5ms", new, old) == "fails"
    assert outcome("p50>+6ms", new, old) == "not decidable"
    assert outcome("p50>+12ms", new, old) == "passes"
    assert outcome("p50<-1ms", new, old) == "passes"


def test_a_relative_change_without_uncertainty_is_the_quotient() -> None:
    (verdict,) = judge(run(10.6), run(10.0), [parse_rule("p50>+5%")])
    assert (verdict.change.value, verdict.change.low, verdict.change.high) == pytest.approx((0.06, 0.06, 0.06))
    assert line(verdict) == "p50>+5% FAILS: +6.00% (+6.00 to +6.00)"


def test_a_record_without_interval_decides_nothing_and_strict_refuses_it() -> None:
    verdicts = judge(run(99.0, None), run(1.0), [parse_rule("p50>+5%")])
    assert verdicts[0].outcome == "not decidable"
    assert math.isnan(verdicts[0].change.low)
    check(verdicts)
    with pytest.raises(GateError) as refused:
        check(verdicts, strict=True)
    assert refused.value.exit_code == 3


def test_lost_accuracy_is_counted_in_points() -> None:
    def scored(top1: float) -> Document:
        accuracy = Accuracy(top1, 1.0, top1 - 0.001, top1 + 0.001, 1000, (), ())
        return Document((replace(run(1.0).records[0], accuracy=accuracy),))

    assert outcome("top1<-0.3", scored(0.90), scored(0.91)) == "fails"
    assert outcome("top1<-0.3", scored(0.909), scored(0.91)) == "passes"


def test_a_baseline_of_another_machine_needs_force_and_is_marked() -> None:
    old = Document((replace(run(1.0).records[0], machine=replace(HERE, cpu="other")),))
    with pytest.raises(DataError, match="another machine"):
        judge(run(1.0), old, [parse_rule("p50>+5%")])
    (verdict,) = judge(run(1.0), old, [parse_rule("p50>+5%")], force=True)
    assert verdict.remarks == ("another machine",)
    assert line(verdict).endswith("another machine")


def with_first(slower: float, candidate_ms: float) -> Document:
    (first,) = run(slower).records
    (second,) = run(slower * candidate_ms).records
    ratio = 1 / candidate_ms
    return Document(
        (
            replace(first, file="first.onnx", speedup=Speedup(1.0, 1.0, 1.0)),
            replace(second, speedup=Speedup(ratio, ratio * 0.99, ratio * 1.01)),
        )
    )


def test_a_common_first_file_takes_the_day_out() -> None:
    first, second = judge(with_first(1.2, 0.5), with_first(1.0, 0.5), [parse_rule("p50>+5%")])
    assert line(first) == "p50>+5% REFERENCE: +20.00% (+20.00 to +20.00)"
    assert (second.outcome, second.change.basis) == ("passes", "against the first file")
    first, second = judge(with_first(0.8, 0.6), with_first(1.0, 0.5), [parse_rule("p50>+5%")])
    assert (first.outcome, second.outcome) == ("reference", "fails")
    with pytest.raises(GateError, match=r"a\.onnx: .*against the first file"):
        check([first, second])


def test_what_is_no_time_is_judged_in_the_first_file_too() -> None:
    first, second = judge(with_first(1.2, 0.5), with_first(1.0, 0.5), [parse_rule("size>+0%")])
    assert (first.outcome, second.outcome) == ("passes", "passes")
    first, second = judge(with_first(1.2, 0.5), with_first(1.0, 0.5), [parse_rule("p50>+0.15ms")])
    assert (first.outcome, second.outcome) == ("fails", "passes")


def test_a_first_file_alone_is_judged_as_measured() -> None:
    one, other = (Document(with_first(slower, 0.5).records[:1]) for slower in (1.2, 1.0))
    assert outcome("p50>+5%", one, other) == "fails"


def test_records_without_a_counterpart_are_told() -> None:
    new = with_first(1.0, 0.5)
    assert [one.file for one in unmatched(new, Document(new.records[:1]))] == ["a.onnx"]
    assert unmatched(new, new) == ()


def test_a_baseline_scored_on_other_images_is_refused() -> None:
    accuracy = Accuracy(0.9, 1.0, 0.88, 0.92, 1000, (), ())
    new = Document((replace(run(1.0).records[0], accuracy=accuracy, data_fingerprint="a"),))
    old = Document((replace(new.records[0], data_fingerprint="b"),))
    with pytest.raises(DataError, match="other images"):
        judge(new, old, [parse_rule("top1<-0.3")])
    assert outcome("p50>+5%", new, old) == "passes"


def test_a_rule_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(ConfigError, match="matches nothing"):
        judge(run(1.0), run(1.0), [parse_rule("top1<-0.3")])
    other = Document((replace(run(1.0).records[0], threads=7),))
    with pytest.raises(ConfigError, match="none of these files"):
        judge(run(1.0), other, [parse_rule("p50>+5%")])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"document_version": 99}'])
def test_an_unreadable_baseline_is_a_data_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_document(path)
    with pytest.raises(DataError):
        read_document(tmp_path / "missing.json")


def test_a_baseline_comes_back_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(run(2.0, 0.5).to_json(), encoding="utf-8")
    assert read_document(tmp_path / "old.json") == run(2.0, 0.5)
