"""File formats of the classic data sets: IDX (MNIST, Fashion-MNIST) and CIFAR-10's binary records."""

import gzip
import math
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np

from ..runtime.errors import DataError
from ..runtime.preprocess import Pixels
from .arrays import Part

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR_FOLDER = "cifar-10-batches-bin"
CIFAR_FILES = {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)}
CIFAR_RECORD_BYTES = 1 + 3 * 32 * 32


def find_idx(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return the four IDX files of a folder by part, plain or gzipped; parts with a missing file are left out."""
    found = {part: tuple(_plain_or_gzipped(folder, name) for name in names) for part, names in IDX_FILES.items()}
    return {part: paths for part, paths in found.items() if all(path.is_file() for path in paths)}


def read_idx_set(folder: Path) -> dict[str, Part]:
    """Read the four IDX files of a folder.

    Raises:
        DataError: A file is missing or damaged.
    """
    found = find_idx(folder)
    if len(found) < len(IDX_FILES):
        names = [name for names in IDX_FILES.values() for name in names]
        raise DataError("IDX files are missing", folder, f"it needs {', '.join(names)}, each plain or as .gz")
    return {part: (read_idx(images), read_idx(labels)) for part, (images, labels) in found.items()}


def read_idx(path: Path) -> Pixels:
    """Read one IDX file of bytes, gzipped or not (format: yann.lecun.com/exdb/mnist).

    Returns:
        uint8, in the shape that the file states.

    Raises:
        DataError: The file is damaged or holds another type.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zeros, kind, dimensions = struct.unpack(">HBB", data[:4])
        shape = struct.unpack(f">{dimensions}I", data[4 : 4 + 4 * dimensions])
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError("the IDX file is damaged", f"{path} ({error})", "download it again") from error
    values = data[4 + 4 * dimensions :]
    if (zeros, kind) != (0, 8) or len(values) != math.prod(shape):
        raise DataError(
            "the file is not a whole IDX file of bytes", f"{path}: {len(values)} bytes for the shape {shape}", "download it again"
        )
    return np.frombuffer(values, np.uint8).reshape(shape)


def read_cifar(path: Path) -> dict[str, Part]:
    """Read CIFAR-10's binary version: the archive, or the folder it unpacks to.

    Raises:
        DataError: A file is missing or damaged.
    """
    read = _read_folder if path.is_dir() else _read_archive
    try:
        return {part: _records(read(path, names), path) for part, names in CIFAR_FILES.items()}
    except (OSError, EOFError, zlib.error, KeyError, tarfile.TarError) as error:
        names = ", ".join(name for names in CIFAR_FILES.values() for name in names)
        raise DataError("CIFAR-10's binary files are missing or damaged", f"{path} ({error})", f"it needs {names}") from error


def _read_folder(folder: Path, names: tuple[str, ...]) -> bytes:
    return b"".join((folder / name).read_bytes() for name in names)


def _read_archive(path: Path, names: tuple[str, ...]) -> bytes:
    """Read members in memory; nothing is unpacked to the disk."""
    with tarfile.open(path) as archive:
        members = {Path(member.name).name: member for member in archive if member.isfile()}
        opened = [archive.extractfile(members[name]) for name in names]
        return b"".join(file.read() for file in opened if file)


def _records(data: bytes, path: Path) -> Part:
    if not data or len(data) % CIFAR_RECORD_BYTES:
        raise DataError(
            "CIFAR-10's binary files are cut", f"{path}: {len(data)} bytes", f"whole records have {CIFAR_RECORD_BYTES}; download it again"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, CIFAR_RECORD_BYTES)
    planes = records[:, 1:].reshape(-1, 3, 32, 32)  # (N, C, H, W)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0]


def _plain_or_gzipped(folder: Path, name: str) -> Path:
    gzipped = folder / f"{name}.gz"
    return gzipped if gzipped.is_file() else folder / name
