"""The folder benchmark reads what it makes, within its bar."""

import json
from pathlib import Path

import pytest

from edgerec.benchmarks.read_folder import main, make_folder, read_folder
from edgerec.runtime.errors import OutputError


def test_it_reads_every_image_once(tmp_path: Path) -> None:
    make_folder(tmp_path, 40)
    assert len(list(tmp_path.glob("class*/*.jpg"))) == 40
    reading = read_folder(tmp_path, batch_size=16)
    assert reading.images == 40
    assert reading.images_per_s > 0
    assert reading.cores_busy > 0


def test_the_record_says_where_it_was_measured(tmp_path: Path) -> None:
    output = tmp_path / "reading.json"
    missed = main(["--images", "40", "--output", str(output)])
    record = json.loads(output.read_text())
    assert record["reading"]["images"] == 40
    assert record["bars"]["cores_busy"] == pytest.approx(0.8 * record["machine"]["cores"])
    assert "numpy" in record["versions"]
    inside = record["reading"]["cores_busy"] >= record["bars"]["cores_busy"] and record["reading"]["peak_mb"] < record["bars"]["peak_mb"]
    assert missed == (not inside)


def test_a_record_that_cannot_be_written_is_said_first(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        main(["--folder", str(tmp_path / "none"), "--output", str(tmp_path / "missing" / "x.json")])
