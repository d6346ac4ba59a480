"""The start-up benchmark times fresh processes and writes what it prints."""

import json
from pathlib import Path

import pytest

from edgerec.benchmarks.start_up import main


def test_a_short_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "start_up.json"
    missed = main(["--output", str(output)], rounds=2)
    record = json.loads(output.read_text())
    assert record["rounds"] == 2
    printed = capsys.readouterr().out
    for name in record["bars"]:
        assert f"{record[name]['median']:.3f}" in printed
    assert missed == any(record[name]["median"] > bar for name, bar in record["bars"].items())
