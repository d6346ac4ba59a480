"""The folder benchmark reads what it makes, within its bar."""

from pathlib import Path

from edgerec.benchmarks.read_folder import make_folder, read_folder


def test_it_reads_every_image_once(tmp_path: Path) -> None:
    make_folder(tmp_path, 40)
    assert len(list(tmp_path.glob("class*/*.jpg"))) == 40
    reading = read_folder(tmp_path, batch_size=16)
    assert reading.images == 40
    assert reading.images_per_s > 0
    assert reading.cores_busy > 0
