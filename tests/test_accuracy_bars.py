"""The bars of scoring: a short run prints and writes the same figures."""

import json
from pathlib import Path

import pytest

from edgerec.benchmarks.accuracy_bars import main
from edgerec.benchmarks.latency import Timing


def test_a_short_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "bars.json"
    missed = main(["--output", str(output)], Timing(rounds=2, block_seconds=0, warmup_seconds=0), images=200)
    record = json.loads(output.read_text())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(record["bars"]) >= 2
    assert max(map(len, lines)) <= 100
    for line, bar in zip(lines, record["bars"], strict=True):
        assert f"{bar['ratio']['ratio']:.3f}" in line
        assert bar["met"] == (bar["ratio"]["ratio"] >= 0.9)
    assert missed == int(not all(bar["met"] for bar in record["bars"]))
