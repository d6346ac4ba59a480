"""The training benchmark times the command, and leaves nothing behind when it fails."""

import json
from pathlib import Path

import numpy as np

from edgerec.benchmarks.train_speed import Job, main


def test_one_short_job(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "noise.npz", images=rng.integers(0, 256, (200, 8, 8), np.uint8), labels=np.arange(200) % 2)
    output = tmp_path / "speed.json"
    assert main(["--output", str(output)], [Job("cnn", str(tmp_path / "noise.npz"), 2)]) == 0
    (row,) = json.loads(output.read_text())["rows"]
    assert len(row["images_per_s"]) == 2
    assert 0 < row["training_s"] < row["command_s"]
    assert 0 <= row["test_top1"] <= 1


def test_a_job_that_fails(tmp_path: Path) -> None:
    output = tmp_path / "speed.json"
    assert main(["--output", str(output)], [Job("cnn", str(tmp_path / "missing"), 1)]) == 1
    assert not output.exists()
