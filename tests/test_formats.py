"""IDX and CIFAR-10 records, written by hand."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from edgerec.data.formats import read_cifar, read_idx, read_idx_set
from edgerec.runtime.errors import DataError

# Magic 00 00 08 (unsigned bytes) 03 (dimensions), then 2 images of 2 rows and 3 columns, then the pixels row by row.
IDX_IMAGES = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
IDX_LABELS = bytes([0, 0, 8, 1, 0, 0, 0, 2, 9, 4])


def cifar_record(label: int, red: int, green: int, blue: int) -> bytes:
    return bytes([label]) + bytes([red]) * 1024 + bytes([green]) * 1024 + bytes([blue]) * 1024


CIFAR = {f"data_batch_{number}.bin": cifar_record(number, 10 * number, 1, 2) for number in range(1, 6)}
CIFAR["test_batch.bin"] = cifar_record(7, 3, 4, 5) + cifar_record(8, 6, 7, 8)


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("gzipped", [True, False])
def test_idx(tmp_path: Path, gzipped: bool) -> None:
    path = tmp_path / ("images.gz" if gzipped else "images")
    path.write_bytes(gzip.compress(IDX_IMAGES) if gzipped else IDX_IMAGES)
    assert read_idx(path).tolist() == [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        IDX_IMAGES[:3],
        IDX_IMAGES[:9],
        IDX_IMAGES[:-1],
        IDX_IMAGES + b"x",
        b"\x00\x00\x0d" + IDX_IMAGES[3:],
        gzip.compress(IDX_IMAGES),
        b"<html>",
    ],
)
def test_damaged_idx(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(DataError, match=r"IDX.*images"):
        read_idx(tmp_path / "images")


@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(IDX_IMAGES)[:-12], b""])
def test_damaged_gzip(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "images.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"IDX.*images\.gz"):
        read_idx(tmp_path / "images.gz")


def test_an_idx_set(tmp_path: Path) -> None:
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(IDX_IMAGES)
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(IDX_LABELS))
    images, labels = read_idx_set(tmp_path)["test"]
    assert images.shape == (2, 2, 3)
    assert labels.tolist() == [9, 4]
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match="IDX files are missing"):
        read_idx_set(tmp_path)


def test_cifar_as_archive_and_as_folder(tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    folder.mkdir()
    for name, content in CIFAR.items():
        (folder / name).write_bytes(content)
    for place in (folder, write_archive(tmp_path / "c.tar.gz", CIFAR)):
        parts = read_cifar(place)
        assert parts["train"][1].tolist() == [1, 2, 3, 4, 5]
        assert parts["train"][0][:, 31, 0].tolist() == [[10, 1, 2], [20, 1, 2], [30, 1, 2], [40, 1, 2], [50, 1, 2]]
        assert parts["test"][0].shape == (2, 32, 32, 3)
        assert parts["test"][0][1, 5, 6].tolist() == [6, 7, 8]


def test_cifar_rows_and_columns_keep_their_places(tmp_path: Path) -> None:
    plane = np.arange(1024, dtype=np.uint32).astype(np.uint8).tobytes()  # row-major: pixel (r, c) is 32 r + c modulo 256
    record = bytes([0]) + plane + plane + plane
    archive = write_archive(tmp_path / "c.tar.gz", dict.fromkeys(CIFAR, record))
    assert read_cifar(archive)["test"][0][0, 3, 4].tolist() == [100, 100, 100]


@pytest.mark.parametrize("missing", ["data_batch_3.bin", "test_batch.bin"])
def test_cifar_with_a_missing_file(tmp_path: Path, missing: str) -> None:
    archive = write_archive(tmp_path / "c.tar.gz", {name: content for name, content in CIFAR.items() if name != missing})
    with pytest.raises(DataError, match=r"missing or damaged.*it needs data_batch_1"):
        read_cifar(archive)


def test_cut_cifar(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="are cut"):
        read_cifar(write_archive(tmp_path / "c.tar.gz", {**CIFAR, "test_batch.bin": CIFAR["test_batch.bin"][:-1]}))
    whole = write_archive(tmp_path / "d.tar.gz", CIFAR).read_bytes()
    (tmp_path / "d.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="missing or damaged"):
        read_cifar(tmp_path / "d.tar.gz")
    (tmp_path / "e.tar.gz").write_bytes(b"<html>not here</html>")
    with pytest.raises(DataError, match="missing or damaged"):
        read_cifar(tmp_path / "e.tar.gz")
