"""The user's own .npz files: taken by several names, refused with a way out."""

from pathlib import Path

import numpy as np
import pytest

from edgerec.data.npz import open_npz
from edgerec.runtime.errors import DataError
from edgerec.runtime.spec import InputSpec

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 6, 6), dtype=np.uint8)
LABELS = np.arange(40) % 2


def saved(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "mine.npz", **arrays)
    return folder / "mine.npz"


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("x", "y"), ("x_train", "y_train"), ("train_images", "train_labels")])
def test_names_of_images_and_labels(tmp_path: Path, images: str, labels: str) -> None:
    data = open_npz(saved(tmp_path, **{images: IMAGES, labels: LABELS}))
    assert (data.name, data.labels) == ("npz", ("0", "1"))
    assert len(data.test) == 8
    batch = next(data.test.batches(8, data.inputs))
    assert (batch.feeds["input"][..., 0] == IMAGES[[int(one.partition("/")[2]) for one in batch.ids]]).all()


def test_own_splits_and_names(tmp_path: Path) -> None:
    names = np.array(["cat", "dog"])
    path = saved(
        tmp_path,
        x_train=IMAGES,
        y_train=LABELS,
        x_val=IMAGES[:4],
        y_val=LABELS[:4],
        x_test=IMAGES[:6],
        y_test=LABELS[:6],
        label_names=names,
    )
    data = open_npz(path)
    assert data.labels == ("cat", "dog")
    assert (len(data.validation), len(data.test)) == (4, 6)
    assert data.test.ids[0].startswith("test/")


def test_images_without_labels(tmp_path: Path) -> None:
    assert open_npz(saved(tmp_path, images=IMAGES)).test.labels is None


def test_arrays_named_like_a_models_inputs(tmp_path: Path) -> None:
    left, right = np.ones((20, 3), np.float32), np.arange(20, dtype=np.float32)
    data = open_npz(saved(tmp_path, left=left, right=right, labels=np.arange(20) % 5))
    batch = next(data.train.batches(4, []))
    assert sorted(batch.feeds) == ["left", "right"]
    assert (batch.feeds["right"].astype(int) % 5 == batch.labels).all()
    assert data.inputs == ()
    assert len(data.fingerprint) == 64


def test_a_uint8_array_named_like_the_input(tmp_path: Path) -> None:
    spec = InputSpec(6, 6, name="pixels", color="grey", mean=(0.0,), std=(1.0,))
    data = open_npz(saved(tmp_path, pixels=IMAGES[..., None], y=LABELS))
    assert next(data.test.batches(2, [spec])).feeds["pixels"].shape == (2, 6, 6, 1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"neither images nor.*no arrays.*images and labels"),
        ({"labels": LABELS}, r"neither images nor.*labels"),
        ({"x_test": IMAGES, "y_test": LABELS}, r"no training images.*x_test"),
        ({"images": IMAGES, "targets": LABELS}, r"'images' without 'labels'.*rename 'targets'"),
        ({"left": IMAGES, "right": LABELS[:3]}, r"need one length.*40.*3"),
        ({"alpha": np.array(3.0)}, r"neither images nor"),
        ({"images": IMAGES, "labels": LABELS[:5]}, r"one label an image"),
        ({"images": IMAGES, "labels": LABELS + 0.5}, r"must be integers"),
        ({"images": IMAGES, "labels": np.eye(2)[LABELS]}, r"argmax"),
        ({"images": IMAGES / 255, "labels": LABELS}, r"must be uint8"),
        ({"images": IMAGES, "labels": LABELS, "label_names": np.array(["one"])}, r"labels outside the classes"),
        ({"images": IMAGES[:3], "labels": LABELS[:3]}, r"too few images"),
    ],
)
def test_what_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_npz(saved(tmp_path, **arrays))


class Trap:
    """Unpickling this would create the file `sprung`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.path,))


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = saved(tmp_path, images=np.array([Trap(tmp_path / "sprung")], object))
    with pytest.raises(DataError, match="without running code"):
        open_npz(path)
    assert not (tmp_path / "sprung").exists()


def test_damaged_files(tmp_path: Path) -> None:
    whole = saved(tmp_path, images=IMAGES, labels=LABELS).read_bytes()
    path = tmp_path / "damaged.npz"
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for content in (b"", b"nonsense", whole[: len(whole) // 2], whole[:-30], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            open_npz(path)
    # The encryption bit of the first member, in its local header and in the directory: PKWARE's APPNOTE.TXT, 4.3.7 and 4.3.12.
    encrypted = bytearray(whole)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[whole.index(mark) + offset] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(DataError, match=r"damaged.*encrypted"):
        open_npz(path)
    np.save(tmp_path / "one.npy", IMAGES)
    path.write_bytes((tmp_path / "one.npy").read_bytes())
    with pytest.raises(DataError, match="single array"):
        open_npz(path)
    with pytest.raises(DataError, match="does not exist"):
        open_npz(tmp_path / "none.npz")
