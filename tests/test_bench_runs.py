"""The command against older runs: a gate that passes, fails or refuses before measuring, and a folder of runs that grows."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import typer

from edgerec.benchmarks import bench, rounds
from edgerec.benchmarks.document import Document
from edgerec.benchmarks.gate_rules import parse_rule
from edgerec.benchmarks.rounds import Schedule
from edgerec.cli import main
from edgerec.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
RULES = ["--fail-if", "top1<-20", "--fail-if", "size>+1kB"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    once = Schedule(starts=1, rounds=1, block_ms=1, warmup_limit_s=0.01)
    monkeypatch.setattr(rounds, "Schedule", lambda **_asked: once)


@pytest.fixture
def arguments(exported: Path) -> list[str]:
    return ["bench", str(exported / "a.onnx"), "--data", str(exported / "data"), "--threads", "1"]


@pytest.fixture
def old(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return what the command printed of an earlier run."""
    assert main([*arguments, "--history", str(tmp_path / "first"), "-q"]) == 0
    capsys.readouterr()
    (path,) = (tmp_path / "first").iterdir()
    return path


@pytest.fixture
def worse(exported: Path, tmp_path: Path) -> Path:
    """Return a file of the same name whose two classes are told the other way round: from 100 % to 0 %."""
    model = onnx.load(exported / "a.onnx")
    head = next(one for one in model.graph.node if model.graph.output[0].name in one.output)
    for one in model.graph.initializer:
        if one.name in head.input:
            one.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(one), one.name))
    (tmp_path / "worse").mkdir()
    onnx.save(model, tmp_path / "worse" / "a.onnx")
    return tmp_path / "worse" / "a.onnx"


@pytest.fixture
def unmeasured(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every attempt to measure end in a traceback, once the older run is there."""
    assert old.exists()
    monkeypatch.setattr(bench, "bench_files", None)


def test_the_same_file_passes(arguments: list[str], old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--baseline", str(old), *RULES]) == 0
    out = capsys.readouterr().out
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("a.onnx") and "cpu/1" in line] == ["passes", "passes"]
    assert main([*arguments, "--baseline", str(old), *RULES, "--json"]) == 0
    out, err = capsys.readouterr()
    assert Document.from_json(out).records
    assert "passes" in err


def test_a_worse_file_ends_with_3_after_everything_is_written(
    arguments: list[str], old: Path, worse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments[1] = str(worse)
    runs, table = tmp_path / "runs", tmp_path / "t.csv"
    assert main([*arguments, "--baseline", str(old), *RULES, "--history", str(runs), "--csv", str(table)]) == 3
    out, err = capsys.readouterr()
    assert "FAILS" in out
    assert "error: the run is worse than its baseline" in err
    assert "top1<-20 FAILS: -100.00 points" in err
    assert len(list(runs.iterdir())) == 1
    assert table.exists()


def test_a_row_that_fails_is_still_1_where_the_rules_pass(arguments: list[str], old: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    arguments.insert(2, str(tmp_path / "broken.onnx"))
    assert main([*arguments, "--baseline", str(old), *RULES, "-q"]) == 1


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--baseline", "OLD", "--fail-if", "p50+5%"], "this is no rule"),
        (["--baseline", "OLD", "--fail-if", "warmth>+5%"], "no such metric"),
        (["--baseline", "missing.json", *RULES], "cannot be read"),
        (["--baseline", "OLD"], "decides nothing"),
        (RULES, "needs an older run"),
        (["--history", "no/such/folder"], "cannot be used"),
        (["--history", "BROKEN"], "there is no history"),
    ],
)
def test_what_cannot_be_judged_or_kept_is_refused_before_measuring(
    arguments: list[str], old: Path, tmp_path: Path, error_of: Callable[..., str], given: list[str], told: str
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.json").write_text("{")
    places = {"OLD": str(old), "BROKEN": str(tmp_path / "broken")}
    assert told in error_of(*arguments, *(places.get(one, one) for one in given))


def test_another_machine_needs_force(
    arguments: list[str], old: Path, error_of: Callable[..., str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old.write_text(re.sub(r'"cpu": "[^"]*"', '"cpu": "Cortex-A72"', old.read_text()))
    with monkeypatch.context() as patch:
        patch.setattr(bench, "bench_files", None)
        assert "Cortex-A72" in error_of(*arguments, "--baseline", str(old), *RULES)
    assert main([*arguments, "--baseline", str(old), *RULES, "--force"]) == 0
    out = capsys.readouterr().out
    assert out.count("passes *") == 2
    assert "against another machine: Cortex-A72" in out


def test_a_history_grows_and_is_shown_without_measuring(
    arguments: list[str], old: Path, worse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments[1] = str(worse)
    assert main([*arguments, "--history", str(old.parent)]) == 0
    out, err = capsys.readouterr()
    assert "added to the history: " in err
    assert "-100.00" in out
    monkeypatch.setattr(bench, "bench_files", None)
    page = tmp_path / "h.html"
    assert main(["bench", "--history", str(old.parent), "--html", str(page), "--json"]) == 0
    (series,) = json.loads(capsys.readouterr().out)["history"]
    assert [one["top1"] for one in series["runs"]] == [1.0, 0.0]
    assert '<figure id="history-a-top1"' in page.read_text()


@pytest.mark.usefixtures("unmeasured")
def test_without_files_there_must_be_a_history_and_nothing_to_measure(old: Path, error_of: Callable[..., str]) -> None:
    assert "nothing to measure" in error_of("bench")
    assert "cannot be read" in error_of("bench", "--history", str(old))
    for option in (["--data", "fashion-mnist"], ["--baseline", str(old)], RULES[:2], ["--force"], ["--csv", "t.csv"]):
        assert option[0] in error_of("bench", "--history", str(old.parent), *option)


def test_the_example_for_github_actions_is_understood() -> None:
    text = (ROOT / "docs" / "github-actions.yml").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = [
        shlex.split(line.split(">")[0] if "--fail-if" not in line else line.split(" --json")[0])
        for line in text.splitlines()
        if line.strip().startswith("edgerec bench")
    ]
    assert len(commands) == 2
    verb = typer.main.get_command(app).commands["bench"]  # type: ignore[attr-defined]
    first, second = (verb.make_context("bench", one[2:]).params for one in commands)
    assert first["files"][0] == second["files"][0], "the common first file"
    assert (first["data"], first["threads"]) == (second["data"], second["threads"])
    assert [parse_rule(one).metric for one in second["fail_if"]] == ["p50", "top1", "size"]
    assert f"> {second['baseline']}" in text
    assert "3) echo" in text
