"""Tests of cli/gating.py: what is refused before measuring, what is printed where, and the exit code."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgerec.benchmarks.document import Document
from edgerec.benchmarks.latency import Latency, Speedup
from edgerec.benchmarks.records import Record, machine
from edgerec.cli.gating import Gate
from edgerec.runtime.errors import ConfigError, DataError, EdgerecError, GateError

FILES = [Path("models/a.onnx")]


def run(p50_ms: float, *, first_ms: float = 1.0) -> Document:
    """Return a run of two files on this machine; the first is always the same one."""
    records: list[Record] = []
    for file, ms in (("first.onnx", first_ms), ("a.onnx", p50_ms)):
        latency = Latency(ms, ms, ms, ms, 100, p50_interval_ms=(0.99 * ms, 1.01 * ms))
        ratio = first_ms / ms
        speedup = Speedup(1.0, 1.0, 1.0) if file == "first.onnx" else Speedup(ratio, 0.99 * ratio, 1.01 * ratio)
        records.append(Record(file, 1000, file, "cpu", 1, latency, machine(), {"onnxruntime": "1.25"}, speedup=speedup))
    return Document(tuple(records), created="2026-11-26T02:45:00Z")


def elsewhere(document: Document) -> Document:
    return replace(document, records=tuple(replace(one, machine=replace(one.machine, cpu="another")) for one in document.records))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.json"
    path.write_text(run(0.5).to_json(), encoding="utf-8")
    return path


def test_a_worse_run_ends_with_3_and_says_by_how_much(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gate = Gate(old, ("p50>+5%", "size>+1kB"))
    gate.check(FILES)
    with pytest.raises(GateError) as failed:
        gate.judge(run(0.6))
    assert failed.value.exit_code == 3
    assert "a.onnx: p50>+5% FAILS: +20.00%" in failed.value.given
    shown = capsys.readouterr()
    assert "against the baseline of 2026-11-26T02:45:00Z" in shown.out
    assert [line.split()[-1] for line in shown.out.splitlines() if "p50>+5%" in line] == ["judged", "FAILS"]
    assert "first.onnx: the first file of both runs" in shown.err


def test_a_slow_day_passes(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Gate(old, ("p50>+5%",)).judge(run(0.6, first_ms=1.2))
    assert "ratios to the first file" in capsys.readouterr().err


def test_stdout_belongs_to_json_and_quiet_says_nothing(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Gate(old, ("p50>+5%",)).judge(run(0.5), json=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "passes" in shown.err
    with pytest.raises(GateError):
        Gate(old, ("p50>+5%",)).judge(run(0.9), quiet=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("columns", [60, 80])
def test_narrow_terminals(columns: int, old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    Gate(old, ("p50>+5%",)).judge(run(0.5))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    assert "passes" in out
    assert "\x1b" not in out, "no colours: they tell nothing here, on a terminal or in a pipe"


def test_without_a_baseline_there_is_nothing_to_judge(capsys: pytest.CaptureFixture[str]) -> None:
    Gate().check(FILES)
    Gate().judge(run(1.0))
    assert capsys.readouterr() == ("", "")


def test_what_cannot_be_judged_is_refused_before_measuring(old: Path, tmp_path: Path) -> None:
    broken, other = tmp_path / "broken.json", tmp_path / "other.json"
    broken.write_text('{"half": ', encoding="utf-8")
    other.write_text(elsewhere(run(0.5)).to_json(), encoding="utf-8")
    rules = ("p50>+5%",)
    refused: list[tuple[Gate, type[EdgerecError], str]] = [
        (Gate(None, rules), ConfigError, "needs an older run"),
        (Gate(None, (), force=True), ConfigError, "needs an older run"),
        (Gate(old), ConfigError, "decides nothing"),
        (Gate(old, ("p50+5%",)), ConfigError, "no rule"),
        (Gate(old, ("p50>+5%", "speed>+5%")), ConfigError, "no such metric"),
        (Gate(tmp_path / "missing.json", rules), DataError, "cannot be read"),
        (Gate(tmp_path, rules), DataError, "cannot be read"),
        (Gate(broken, rules), DataError, r"broken\.json"),
        (Gate(other, rules), DataError, "another machine"),
    ]
    for gate, kind, told in refused:
        with pytest.raises(kind, match=told):
            gate.check(FILES)
    with pytest.raises(ConfigError, match="none of these files"):
        Gate(old, rules).check([Path("b.onnx")])


def test_another_machine_is_compared_with_force_and_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.json"
    other.write_text(elsewhere(run(0.5)).to_json(), encoding="utf-8")
    gate = Gate(other, ("p50>+5%",), force=True)
    gate.check(FILES)
    gate.judge(run(0.5))
    shown = capsys.readouterr()
    assert [line.split()[-2:] for line in shown.out.splitlines() if "p50>+5%" in line] == [["judged", "*"], ["passes", "*"]]
    assert "*  against another machine: another, " in shown.out
    gate.judge(run(0.5), quiet=True)
    assert capsys.readouterr() == ("", "")
    Gate(other, ("p50>+900%",), force=True).judge(run(0.5), json=True)
    assert "another machine" in capsys.readouterr().err


def test_a_file_that_the_baseline_lacks_is_named(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = run(0.5)
    Gate(old, ("p50>+5%",)).judge(Document((*whole.records, replace(whole.records[1], file="new.onnx"))))
    assert "new.onnx: not in the baseline" in capsys.readouterr().err
