"""The picture of accuracy against latency."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from edgerec.benchmarks.accuracy import Accuracy
from edgerec.benchmarks.latency import Latency
from edgerec.benchmarks.plot import plot_tradeoff
from edgerec.benchmarks.records import Machine, Record
from edgerec.runtime.errors import DataError


def record(file: str, top1: float, p50_ms: float) -> Record:
    accuracy = Accuracy(top1, 1.0, top1 - 0.01, min(1.0, top1 + 0.01), 100, (top1,), ((100,),))
    machine = Machine("cpu", (), 1, "x86_64", "Linux", "3.11")
    return Record(file, 1, "", "cpu", 1, Latency(p50_ms, p50_ms, p50_ms, p50_ms, 9), machine, {}, accuracy=accuracy)


def test_points_are_drawn_and_far_ones_named(tmp_path: Path) -> None:
    near = [record("a.onnx", 0.98, 2.0), record("b.onnx", 0.97, 0.5)]
    plot_tradeoff(near, tmp_path / "near.png", "two")
    plot_tradeoff([*near, record("c.onnx", 0.4, 0.5)], tmp_path / "far.png", "two")
    pictures = [Image.open(tmp_path / name) for name in ("near.png", "far.png")]
    assert all(len(picture.convert("RGB").getcolors(1 << 20) or []) > 3 for picture in pictures), "more than axes"
    assert pictures[1].height > pictures[0].height, "the far one's line stands under the title"


def test_records_without_accuracy_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labelled"):
        plot_tradeoff([replace(record("a.onnx", 0.9, 1.0), accuracy=None)], tmp_path / "p.png", "none")
    assert list(tmp_path.iterdir()) == []
