"""Image folders: layouts, streaming, damage."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgerec.data.folders import open_folder
from edgerec.runtime.errors import DataError
from edgerec.runtime.spec import InputSpec

SPEC = InputSpec(8, 8)
COLORS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def paint(path: Path, color: tuple[int, int, int] | int = 0, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(color, int) else "RGB", size, color).save(path)


def paint_classes(root: Path, each: int, suffix: str = "png") -> Path:
    for name, color in COLORS.items():
        for number in range(each):
            paint(root / name / f"{number}.{suffix}", color)
    return root


def truncate(path: Path) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])


def test_one_folder_a_class(tmp_path: Path) -> None:
    data = open_folder(paint_classes(tmp_path / "paints", 20))
    assert (data.name, data.labels) == ("folder", ("blue", "green", "red"))
    assert [len(data.split(name)) for name in ("train", "calibration", "validation", "test")] == [
        35,
        9,
        4,
        12,
    ]  # 48 that are no test images: 10 % and 20 % of them
    for batch in data.test.batches(5, [SPEC]):
        for pixels, label, one in zip(batch.feeds["input"], batch.labels, batch.ids, strict=True):
            assert pixels[3, 3].tolist() == list(COLORS[data.labels[label]])
            assert one.startswith(f"{data.labels[label]}/")


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "bmp", "JPG"])
def test_file_types(tmp_path: Path, suffix: str) -> None:
    data = open_folder(paint_classes(tmp_path, 4, suffix))
    assert sum(len(batch.ids) for batch in data.train.batches(4, [SPEC])) == len(data.train)


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_own_splits(tmp_path: Path, validation: str) -> None:
    for part, each in (("train", 10), (validation, 2), ("test", 3)):
        paint_classes(tmp_path / part, each)
    data = open_folder(tmp_path)
    assert [len(data.split(name)) for name in ("train", "calibration", "validation", "test")] == [24, 6, 6, 9]
    assert all(one.startswith("test/") for one in data.test.ids)
    assert all(one.startswith(f"{validation}/") for one in data.validation.ids)


def test_a_split_may_be_missing(tmp_path: Path) -> None:
    paint_classes(tmp_path / "train", 20)
    assert len(open_folder(tmp_path).test) == 12
    paint_classes(tmp_path / "test", 1)
    assert len(open_folder(tmp_path).test) == 3


def test_flat_folders_have_no_labels(tmp_path: Path) -> None:
    for number in range(10):
        paint(tmp_path / "flat" / f"{number}.png")
    data = open_folder(tmp_path / "flat")
    assert data.labels == ()
    assert next(data.train.batches(2, [SPEC])).labels is None
    (tmp_path / "flat").rename(tmp_path / "train")
    paint(tmp_path / "test" / "one.png")
    data = open_folder(tmp_path)
    assert data.test.ids == ("test/one.png",)
    assert data.test.labels is None


def test_nested_folders_hidden_files_and_other_files(tmp_path: Path) -> None:
    paint_classes(tmp_path, 4)
    paint(tmp_path / "red" / "deeper" / "x.png", COLORS["red"])
    paint(tmp_path / "red" / ".hidden.png")
    paint(tmp_path / ".git" / "x.png")
    paint(tmp_path / "__MACOSX" / "x.png")
    (tmp_path / "red" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "readme.txt").write_text("x")
    data = open_folder(tmp_path)
    every = [one for name in ("train", "calibration", "validation", "test") for one in data.split(name).ids]
    assert len(every) == 13
    assert "red/deeper/x.png" in every


def test_classes_may_be_named_like_splits(tmp_path: Path) -> None:
    for name in ("test", "other"):
        for number in range(3):
            paint(tmp_path / name / f"{number}.png")
    assert open_folder(tmp_path).labels == ("other", "test")


def test_the_natural_input(tmp_path: Path) -> None:
    small = open_folder(paint_classes(tmp_path / "small", 2)).input
    assert (small.height, small.width, small.color) == (8, 8, "rgb")
    for number in range(4):
        paint(tmp_path / "grey" / f"{number}.png", 7, (20, 30))
        paint(tmp_path / "large" / f"{number}.png", (1, 2, 3), (65, 30))
        paint(tmp_path / "mixed" / f"{number}.png", (1, 2, 3), (20 + number, 30))
    grey = open_folder(tmp_path / "grey").input
    assert (grey.height, grey.width, grey.color) == (30, 20, "grey")
    for name in ("large", "mixed"):
        assert open_folder(tmp_path / name).input == InputSpec(224, 224)


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    paint_classes(tmp_path, 4, "jpg")
    truncate(tmp_path / "green" / "2.jpg")
    data = open_folder(tmp_path)
    (holder,) = (split for name in ("train", "calibration", "validation", "test") if "green/2.jpg" in (split := data.split(name)).ids)
    with pytest.raises(DataError, match=r"green.2\.jpg.*--skip-bad"):
        list(holder.batches(4, [SPEC]))


def test_skip_bad_goes_on_and_counts(tmp_path: Path) -> None:
    for name in COLORS:
        for number in range(30):
            paint(tmp_path / "train" / name / f"{number}.jpg", COLORS[name])
    paint_classes(tmp_path / "test", 5, "jpg")
    truncate(tmp_path / "test" / "green" / "2.jpg")
    (tmp_path / "test" / "red" / "0.jpg").write_bytes(b"")
    data = open_folder(tmp_path, skip_bad=True)
    batches = list(data.test.batches(4, [SPEC]))
    assert [len(batch.ids) for batch in batches] == [4, 4, 4, 1]
    assert [len(batch.labels) for batch in batches] == [4, 4, 4, 1]
    assert sorted(data.test.skipped) == ["test/green/2.jpg", "test/red/0.jpg"]
    assert data.train.skipped == ()
    list(data.test.batches(4, [SPEC]))
    assert len(data.test.skipped) == 2


def test_a_check_names_a_damaged_image_without_batches(tmp_path: Path) -> None:
    paint_classes(tmp_path / "train", 20, "jpg")
    paint_classes(tmp_path / "test", 5, "jpg")
    data = open_folder(tmp_path)
    told: list[int] = []
    data.test.check(told.append)
    assert told == [1] * 15
    truncate(tmp_path / "test" / "green" / "2.jpg")
    data.train.check()
    with pytest.raises(DataError, match=r"green.2\.jpg.*--skip-bad"):
        data.test.check()
    skipping = open_folder(tmp_path, skip_bad=True)
    skipping.test.check()
    assert skipping.test.skipped == ("test/green/2.jpg",)


def test_a_check_of_a_shard_reads_its_own_files(tmp_path: Path) -> None:
    told: list[int] = []
    open_folder(paint_classes(tmp_path, 20)).train.shard(1, 5).check(told.append)
    assert sum(told) == 7  # of 35


def test_nothing_readable_is_an_error_even_then(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.jpg").write_bytes(b"no image")
    data = open_folder(tmp_path, skip_bad=True)
    with pytest.raises(DataError, match="no image of the split can be read: "):
        list(data.train.batches(4, [SPEC]))
    with pytest.raises(DataError, match="no image of the split can be read: "):
        data.train.check()


def test_the_fingerprint_follows_contents_and_names(tmp_path: Path) -> None:
    before = open_folder(paint_classes(tmp_path / "one", 3)).fingerprint
    assert open_folder(paint_classes(tmp_path / "two", 3)).fingerprint == before
    assert open_folder(tmp_path / "two", seed=9).fingerprint != before  # other test images
    paint(tmp_path / "two" / "red" / "1.png", (254, 0, 0))
    assert open_folder(tmp_path / "two").fingerprint != before
    (tmp_path / "one" / "red" / "1.png").rename(tmp_path / "one" / "red" / "9.png")
    assert open_folder(tmp_path / "one").fingerprint != before


def test_a_file_that_vanished(tmp_path: Path) -> None:
    data = open_folder(paint_classes(tmp_path, 4))
    (tmp_path / data.train.ids[0]).unlink()
    with pytest.raises(DataError, match="cannot be read"):
        _ = data.fingerprint
    with pytest.raises(DataError, match="does not exist"):
        list(data.train.batches(4, [SPEC]))


def broken(root: Path, kind: str) -> None:
    """Lay out one folder that must be refused."""
    if kind == "empty class":
        paint_classes(root, 3)
        (root / "violet").mkdir()
        (root / "violet" / "a.tif").write_bytes(b"x")
    elif kind == "stray":
        paint(paint_classes(root, 3) / "preview.png")
    elif kind == "one class":
        paint(root / "only" / "a.png")
    elif kind == "no train":
        paint_classes(root / "test", 3)
        paint_classes(root / "val", 3)
    elif kind == "odd":
        paint_classes(root / "train", 3)
        paint_classes(root / "holdout", 3)
    elif kind == "two validations":
        for part in ("train", "val", "validation"):
            paint_classes(root / part, 3)
    elif kind == "strange class":
        paint_classes(root / "train", 3)
        paint(root / "test" / "violet" / "a.png")
    elif kind == "flat test":
        paint_classes(root / "train", 3)
        paint(root / "test" / "a.png")
    elif kind == "flat train":
        paint(root / "train" / "a.png")
        paint_classes(root / "test", 3)
    elif kind == "empty test":
        paint_classes(root / "train", 3)
        (root / "test").mkdir()
    elif kind == "few":
        paint(root / "a.png")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", r"holds no image.*one sub-folder a class.*\.webp"),
        ("empty class", r"class folder holds no image: .*violet; add images"),
        ("empty test", r"holds no image: .*test"),
        ("stray", r"images beside class folders.*preview\.png"),
        ("one class", r"only one class folder.*only.*one level off"),
        ("no train", r"no folder `train`.*test, val.*by itself"),
        ("odd", r"no split.*holdout"),
        ("two validations", r"two folders for validation"),
        ("strange class", r"labels outside the classes.*test: violet.*blue, green, red"),
        ("flat test", r"another split has none.*test"),
        ("flat train", r"train has no class folders.*test"),
        ("few", r"too few images for 4 splits.*1 images"),
    ],
)
def test_layouts_that_are_refused(tmp_path: Path, kind: str, message: str) -> None:
    broken(tmp_path, kind)
    with pytest.raises(DataError, match=message):
        open_folder(tmp_path)
