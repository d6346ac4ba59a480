"""The user's `.npz` files: opened as a data set, and one batch read from each split."""

import io
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...data.npz import open_npz


def _npz(*, compressed: bool = False, **arrays: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)  # pyright: ignore[reportArgumentType]  # no array is called allow_pickle
    return buffer.getvalue()


def _npy(array: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _around(member: str, data: bytes) -> bytes:
    """Return a sound zip in which one array is damaged."""
    members = {"images": samples()["member images"], "labels": samples()["member labels"]} | {member: data}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


@cache
def samples() -> dict[str, bytes]:
    """Return small intact files by name."""
    images = np.random.default_rng(0).integers(0, 256, (24, 4, 4, 3), np.uint8)
    labels = np.arange(24) % 3
    names = np.array(["a", "b", "c"])
    return {
        "pair": _npz(images=images, labels=labels),
        "compressed": _npz(compressed=True, x_train=images, y_train=labels, x_test=images[:6], y_test=labels[:6]),
        # A damaged zip is found out by its checksums; a damaged array in a sound zip is not.
        "member images": _npy(images),
        "member labels": _npy(labels),
        "named": _npz(left=images[:, :, :, 0].astype(np.float32), right=images[:, 0, 0, 0], labels=labels, label_names=names),
    }


def attempt(name: str, data: bytes, folder: Path) -> None:
    """Open one damaged file.

    Raises:
        EdgerecError: It is refused.
    """
    path = folder / "data.npz"
    path.write_bytes(_around(name.removeprefix("member "), data) if name.startswith("member") else data)
    found = open_npz(path)
    for split in ("train", "test"):
        next(found.split(split).batches(4, found.inputs), None)
    _ = found.fingerprint
