"""Tests of benchmarks/history.py and cli/history.py: runs of made-up figures, whose changes are known."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edgerec.benchmarks.accuracy import Accuracy, wilson
from edgerec.benchmarks.document import Document
from edgerec.benchmarks.history import append, check_history, read_history, series_of
from edgerec.benchmarks.latency import Latency, Speedup
from edgerec.benchmarks.measured import Watch
from edgerec.benchmarks.records import Machine, Record
from edgerec.cli.history import show_history
from edgerec.runtime.errors import DataError, EdgerecError, OutputError

HERE = Machine("here", ("avx2",), 2, "x86_64", "Linux", "3.11")
THERE = replace(HERE, cpu="there")


def record(file: str, p50_ms: float, first_ms: float, top1: float) -> Record:
    ratio = first_ms / p50_ms
    low, high = wilson(round(1000 * top1), 1000)
    return Record(
        file,
        320_400,
        file,
        "cpu",
        1,
        Latency(p50_ms, p50_ms, p50_ms, p50_ms, 100, p50_interval_ms=(0.999 * p50_ms, 1.001 * p50_ms)),
        HERE,
        {"edgerec": "0.1.0", "onnxruntime": "1.25.0"},
        accuracy=Accuracy(top1, 1.0, low, high, 1000, (), ()),
        speedup=Speedup(ratio, 0.999 * ratio, 1.001 * ratio),
    )


def run(day: int, p50_ms: float = 0.5, *, first_ms: float = 1.0, top1: float = 0.9, machine: Machine = HERE) -> Document:
    records = record("first.onnx", first_ms, first_ms, 0.95), record("a.onnx", p50_ms, first_ms, top1)
    return Document(tuple(replace(one, machine=machine) for one in records), created=f"2026-11-{day:02}T08:30:00Z")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return five runs in the wrong order of names: a slow day, a slower file, another machine, a disturbed run that was interrupted."""
    runs = {
        "z.json": run(1),
        "y.json": run(2, 0.6, first_ms=1.2),
        "x.json": run(3, 0.6),
        "w.json": run(4, 0.2, machine=THERE),
        "v.json": run(5, 0.6, top1=0.8),
    }
    last = runs["v.json"]
    disturbed = tuple(replace(one, watch=Watch(("other processes",)), versions={"onnxruntime": "1.26.0"}) for one in last.records)
    runs["v.json"] = replace(last, records=disturbed, partial=True)
    for name, document in runs.items():
        (tmp_path / name).write_text(document.to_json(), encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not mine", encoding="utf-8")
    (tmp_path / "sub.json").mkdir()
    return tmp_path


def test_runs_are_in_the_order_of_their_dates_and_each_is_against_the_one_before(folder: Path) -> None:
    history = read_history(folder)
    assert [one.name for one in history.runs] == ["z.json", "y.json", "x.json", "w.json", "v.json"]
    first, second = series_of(history)
    assert [one.place.file for one in (first, second)] == ["first.onnx", "a.onnx"]
    changes = [point.p50 and round(point.p50.value, 6) for point in second.points]
    # A slow day is no slow file; then 20 % slower; another machine has nothing before it; another runtime, so as measured.
    assert changes == [None, 0.0, 0.2, None, 0.0]
    assert [round(point.p50.value, 2) if point.p50 else None for point in first.points] == [None, 0.2, -0.17, None, 0.0]
    assert [point.elsewhere for point in second.points] == [False, False, False, True, False]
    assert second.points[4].remarks == ("edgerec 0.1.0 before", "onnxruntime 1.25.0 before", "disturbed", "interrupted")
    top1 = second.points[4].top1
    assert top1 is not None
    assert top1.value == pytest.approx(-10)
    assert top1.high < 0


def test_a_run_is_added_under_its_date_and_found_again(tmp_path: Path) -> None:
    check_history(tmp_path / "new")
    path = append(run(7), tmp_path / "new")
    assert path.name.startswith("20261107T083000Z-")
    assert append(run(7), tmp_path / "new") == path, "the same run is there once"
    append(run(8), tmp_path / "new")
    check_history(tmp_path / "new")
    history = read_history(tmp_path / "new")
    assert [one.document for one in history.runs] == [run(7), run(8)]
    assert stat.S_IMODE(path.stat().st_mode) & 0o400
    undated = append(replace(run(7), created=""), tmp_path)
    assert undated.name.startswith("20")


@pytest.mark.parametrize("created", ["", "yesterday", "2026-13-01"])
def test_a_run_without_a_date_comes_first(created: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append(run(1), tmp_path)
    (tmp_path / "a.json").write_text(replace(run(2), created=created).to_json(), encoding="utf-8")
    history = read_history(tmp_path)
    assert [one.when is None for one in history.runs] == [True, False]
    show_history(history)
    assert "no date in a.json" in capsys.readouterr().out


def test_broken_files_are_named_and_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contents = {"half.json": b'{"half": ', "list.json": b"[]", "bytes.json": b"\xff\xfe", "new.json": b'{"document_version": 99}'}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    history = read_history(folder)
    assert len(history.runs) == 5
    show_history(history)
    shown = capsys.readouterr()
    for name in contents:
        assert [line for line in shown.err.splitlines() if line.startswith("left out: ") and name in line], name
        assert name not in shown.out
    assert str(folder) not in shown.err


def test_a_history_that_cannot_be_used(tmp_path: Path) -> None:
    file, empty, broken = tmp_path / "file", tmp_path / "empty", tmp_path / "broken"
    file.write_text("", encoding="utf-8")
    empty.mkdir()
    broken.mkdir()
    (broken / "a.json").write_text("{", encoding="utf-8")
    for path, told in ((file, "cannot be read"), (tmp_path / "missing", "cannot be read"), (empty, "no file"), (broken, "none of 1")):
        with pytest.raises(DataError, match=told):
            read_history(path)
    for path, kind in ((file, OutputError), (tmp_path / "no" / "parent", OutputError), (broken, DataError)):
        with pytest.raises(kind):
            check_history(path)
    check_history(empty)


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """Be somebody who may not look into a folder."""
    folder.chmod(0o700 if os.geteuid() == 0 else 0)
    if os.geteuid() == 0:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        try:
            yield
        finally:
            folder.chmod(0o700)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has other rights")
def test_a_folder_that_may_not_be_read(folder: Path) -> None:
    errors: list[EdgerecError] = []
    with without_rights(folder):
        for call in (read_history, check_history):
            try:
                call(folder)
            except EdgerecError as error:
                errors.append(error)
    assert [type(one) for one in errors] == [DataError, OutputError]
    assert all("Permission denied" in one.given for one in errors)


def test_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show_history(read_history(folder))
    lines = capsys.readouterr().out.splitlines()
    table = lines[lines.index("a.onnx on cpu, 1 thread") + 1 :]
    assert table[0].split() == ["UTC", "SHA-256", "p50,", "ms", "change", "top-1,", "%", "change", "kB"]
    assert table[1].split() == ["2026-11-01", "08:30", "a.onnx", "0.500", "±0.001", "90.00", "±2.02", "320"]
    assert table[2].split() == ["2026-11-02", "08:30", "a.onnx", "0.600", "±0.001", "(+0.0%)", "90.00", "±2.02", "(+0.00)", "320"]
    assert "+20.0%" in table[3]
    assert table[4].split()[2] == "a"
    assert "-10.00" in table[5]
    assert "  a  another machine: there, 2 cores" in table


@pytest.mark.parametrize("columns", ["80", "60", None])
def test_narrow_terminals_and_pipes(
    columns: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    else:
        monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    show_history(read_history(folder))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= int(columns or 80)
    assert len([line for line in out.splitlines() if line.startswith("2026-11-0")]) == 10, "a line a run, on the narrow terminal too"
    assert ("SHA-256" in out) == (columns != "60")
    assert "\x1b" not in out


def test_json_is_one_document_without_nan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    latency = replace(run(6).records[1].latency, p50_interval_ms=None)
    plain = replace(run(6), records=(replace(run(6).records[1], latency=latency, speedup=None),))
    append(plain, folder)
    show_history(read_history(folder), json=True)

    def refuse(text: str) -> object:
        raise AssertionError(text)

    shown = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert [one["file"] for one in shown["history"]] == ["a.onnx", "first.onnx"]
    runs = shown["history"][0]["runs"]
    assert [one["run"] for one in runs[:5]] == ["z.json", "y.json", "x.json", "w.json", "v.json"]
    assert runs[2]["p50_change"]["value"] == pytest.approx(0.2)
    assert runs[5]["p50_change"]["low"] is None
    assert runs[3]["another_machine"] is True


def test_quiet_says_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.json").write_text("{", encoding="utf-8")
    show_history(read_history(folder), quiet=True)
    assert capsys.readouterr() == ("", "")


def test_a_file_run_in_two_ways_has_two_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = run(1).records[1]
    ways = (one, replace(one, threads=2), replace(one, target="board"), replace(one, batch=8), replace(one, profile="camera"))
    append(Document(ways, created="2026-11-01T00:00:00Z"), tmp_path)
    show_history(read_history(tmp_path))
    out = capsys.readouterr().out
    titles = ["cpu, 1 thread, batch 1", "cpu, 2 threads, batch 1", "board, cpu, 1 thread, batch 1", "cpu, 1 thread, batch 8"]
    titles.append("cpu, 1 thread, batch 1, camera")
    assert [line for line in out.splitlines() if line.startswith("a.onnx on")] == [f"a.onnx on {title}" for title in titles]
