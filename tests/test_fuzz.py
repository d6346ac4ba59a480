"""The nightly fuzz, in small: intact files pass, damages repeat, findings are found, and no damaged file gets through here."""

import json
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgerec.benchmarks.fuzz.__main__ import main
from edgerec.benchmarks.fuzz.driver import run_kind
from edgerec.benchmarks.fuzz.mutation import mutate, mutate_json
from edgerec.benchmarks.fuzz.targets import TARGETS, Target, make_case
from edgerec.benchmarks.fuzz.worker import read_case
from edgerec.runtime.errors import DataError

KINDS = [kind for kind, target in TARGETS.items() if find_spec(target.needs)]


@pytest.mark.parametrize("kind", KINDS)
def test_intact_files_are_valid(kind: str, tmp_path: Path) -> None:
    for name, data in TARGETS[kind].samples().items():
        TARGETS[kind].attempt(name, data, tmp_path)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged files
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_or_valid(kind: str, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    found = [read_case(TARGETS[kind], number, tmp_path / "inside") for number in range(80)]
    assert [one for one in found if one["found"] == "fault"] == []
    assert sum(one["found"] == "refused" for one in found) > 20, "most damages must be noticed, else this proves nothing"


def test_a_number_makes_the_same_damage_again() -> None:
    assert mutate(b"0123456789" * 20, 7) == mutate(b"0123456789" * 20, 7) != mutate(b"0123456789" * 20, 8)
    assert make_case(TARGETS["spec"], 3) == make_case(TARGETS["spec"], 3)


def test_damaged_json_is_json_with_other_values() -> None:
    data = json.dumps({"size": [1, 2], "name": {"inner": "x"}}).encode()
    damaged = [mutate_json(data, seed) for seed in range(100)]
    assert damaged == [mutate_json(data, seed) for seed in range(100)]
    assert all(isinstance(json.loads(one), dict) for one in damaged)
    assert len(set(damaged)) > 50
    assert sum(one == data for one in damaged) < 20, "a value may be replaced by itself, but not often"


def test_the_counts_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "fuzz.json"
    monkeypatch.setattr(sys, "argv", ["fuzz", "--kind", "spec", "--cases", "40", "--output", str(output)])
    assert main() == 0
    (count,) = json.loads(output.read_text())["kinds"]
    assert count["kind"] == "spec"
    assert count["cases"] == count["valid"] + count["refused"] == 40
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith(f"all: 40 cases, {count['valid']} valid, {count['refused']} refused, 0 findings")
    )


def target_that(attempt) -> Target:
    return Target(lambda: {"only": b"0123456789"}, attempt, "edgerec")


def test_what_a_reader_does_is_told(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()

    def refuse(name: str, data: bytes, folder: Path) -> None:
        raise DataError("no")

    def fault(name: str, data: bytes, folder: Path) -> None:
        raise IndexError("deep inside")

    def stray(name: str, data: bytes, folder: Path) -> None:
        (folder.parent / "elsewhere").write_text("")

    outcomes = [read_case(target_that(one), 0, tmp_path / "inside") for one in (lambda name, data, folder: None, refuse, fault, stray)]
    assert [one["found"] for one in outcomes] == ["valid", "refused", "fault", "fault"]
    assert "IndexError: deep inside (test_fuzz.py" in outcomes[2]["error"]
    assert "elsewhere" in outcomes[3]["error"]


# Stand-ins for the reading process: they speak its lines, and die or stop at one case.
CRASH = "import os, sys; print('{\"case\": 5}', flush=True); os.abort()"
HANG = "import time; print('{\"case\": 5}', flush=True); time.sleep(60)"
FINE = 'print(\'{"case": 5}\'); print(\'{"case": 5, "found": "valid"}\')'


@pytest.mark.parametrize(("code", "found"), [(CRASH, "crash"), (HANG, "hang"), (FINE, "valid")])
def test_a_crash_or_a_hang_is_a_finding(code: str, found: str) -> None:
    start = time.monotonic()
    outcomes = run_kind("image", 5, 1, case_s=1.0, command=lambda first, count: [sys.executable, "-P", "-c", code])
    assert [(one.case, one.found) for one in outcomes] == [(5, found)]
    assert time.monotonic() - start < 20


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limits")
def test_a_run_in_its_own_process() -> None:
    assert [one.found in ("valid", "refused") for one in run_kind("spec", 0, 30)] == [True] * 30
