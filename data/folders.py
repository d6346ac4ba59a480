"""Image folders: found once, read from disk whenever a batch is asked for."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..runtime.errors import DataError
from ..runtime.files import sha256
from ..runtime.preprocess import Pixels, decode
from ..runtime.spec import InputSpec
from .order import Rows
from .splits import DataSet, divide

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
LAYOUTS = "one sub-folder a class, or train, val and test above such folders, or images alone"

SMALL_PIXELS = 64  # up to this size a set of equally large images keeps its size
SAMPLE_IMAGES = 32
GREY_MODES = ("1", "L", "I;16", "I;16B", "I")
# The mean of ImageNet's three constants: there is no published pair for grey photographs.
GREY_MEAN, GREY_STD = (0.449,), (0.226,)


@dataclass(frozen=True, slots=True, eq=False)
class Files:
    """Images on disk, decoded when read.

    Attributes:
        root: The folder that was opened.
        paths: One file a row, relative to `root`, with forward slashes.
        labels: Class of each file, shape (N,), or None.
        skip_bad: Leave damaged images out instead of raising.
        skipped: Rows left out so far.
        in_memory: Files have to be decoded, and may be damaged.
    """

    in_memory: ClassVar[bool] = False
    root: Path
    paths: tuple[str, ...]
    labels: Rows | None
    skip_bad: bool = False
    skipped: set[int] = field(default_factory=set[int])

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, row: int) -> str:
        """The row's file, relative to the opened folder."""
        return self.paths[row]

    def image(self, row: int) -> Pixels | None:
        """Decode one file: uint8, shape (H, W, C); None when it is damaged and left out.

        Raises:
            DataError: The file is damaged or gone.
        """
        try:
            return decode(self.root / self.paths[row])
        except DataError as error:
            if not self.skip_bad:
                raise DataError(error.problem, error.given, "replace the file, or leave out what is damaged with --skip-bad") from error
            self.skipped.add(row)
            return None

    def feeds(self, rows: Rows, inputs: Sequence[InputSpec]) -> None:
        """Nothing: files are read one by one."""
        del rows, inputs


@dataclass(frozen=True, slots=True)
class _Found:
    """What one folder holds: files relative to the root, and the class folder of each, or None for flat folders."""

    paths: tuple[str, ...]
    classes: tuple[str, ...] | None


def open_folder(root: Path, *, seed: int = 0, skip_bad: bool = False) -> DataSet:
    """Open a folder of images. Hidden files, and files that are no images by their suffix, are ignored.

    Args:
        root: One sub-folder a class; or `train` and, where there are such, `val` (or `valid`, `validation`) and `test` above class folders;
            or images alone, without labels, also below `train`, `val` and `test`. Classes are numbered in the order of their sorted names.
        seed: Same seed, same splits.
        skip_bad: Leave damaged images out.

    Raises:
        DataError: No image, a class without an image, one class only, another layout, or too few images.
    """
    found = {part: _scan(folder, root) for part, folder in _parts(root).items()}
    classes = _classes(found, root)
    number = {name: at for at, name in enumerate(classes)}
    sources = {part: Files(root, one.paths, _numbered(one.classes, number), skip_bad) for part, one in found.items()}
    splits = divide(sources["train"], sources.get("validation"), sources.get("test"), seed)
    inputs = (natural_input(sources["train"]),)
    return DataSet("folder", classes, **splits, inputs=inputs, digest=lambda: _digest(classes, sources))


def natural_input(source: Files) -> InputSpec:
    """Describe a folder's images: their size if a sample shares one of at most 64 pixels, else 224 pixels as ImageNet models take them."""
    rows = np.linspace(0, len(source) - 1, min(SAMPLE_IMAGES, len(source))).astype(int).tolist()
    looks = {look for row in rows if (look := _look(source.root / source.paths[row]))}
    sizes = {size for size, _ in looks}
    if len(sizes) != 1 or max(max(size) for size in sizes) > SMALL_PIXELS:
        return InputSpec(224, 224)
    width, height = sizes.pop()
    if all(grey for _, grey in looks):
        return InputSpec(height, width, color="grey", mean=GREY_MEAN, std=GREY_STD)
    return InputSpec(height, width)


def _look(path: Path) -> tuple[tuple[int, int], bool] | None:
    """Return the size and whether the image is grey, from the file's head alone; None when it is damaged."""
    from PIL import Image  # sets in memory never need it

    try:
        with Image.open(path) as image:
            return image.size, image.mode in GREY_MODES
    except Exception:
        return None  # reported when the image is read; Pillow raises almost anything here


def _parts(root: Path) -> dict[str, Path]:
    """Return the folders of the parts: train, validation and test when they are laid out so, else the whole as train."""
    folders = {folder.name.lower(): folder for folder in _folders(root)}
    known = {name: folder for name, folder in folders.items() if name in PARTS}
    if not known or ("train" not in known and len(known) < len(folders)):
        return {"train": root}  # a class may be called `test`
    if "train" not in known:
        raise DataError(
            "there is no folder `train`", f"{root}: {', '.join(sorted(folders))}", f"add it, or open {root / min(known)} by itself"
        )
    if odd := sorted(folders.keys() - known.keys()):
        raise DataError(
            "folders beside `train` that are no split", f"{root}: {', '.join(odd)}", "name them val and test, or move them away"
        )
    parts = {PARTS[name]: folder for name, folder in known.items()}
    if len(parts) < len(known):
        raise DataError("two folders for validation", f"{root}: {', '.join(sorted(known))}", "keep one of val, valid, validation")
    return parts


def _scan(folder: Path, root: Path) -> _Found:
    classes = _folders(folder)
    flat = sorted(path.relative_to(root).as_posix() for path in folder.iterdir() if _is_image(path.name) and path.is_file())
    if classes and flat:
        raise DataError(
            "images beside class folders",
            f"{folder}: {len(flat)} images, first {Path(flat[0]).name}",
            f"move them; a folder holds {LAYOUTS}",
        )
    if flat:
        return _Found(tuple(flat), None)
    if not classes:
        raise DataError("the folder holds no image", folder, f"it may hold {LAYOUTS}; images end in {', '.join(SUFFIXES)}")
    paths: list[str] = []
    owners: list[str] = []
    for one in classes:
        files = _images_below(one, root)
        if not files:
            raise DataError("a class folder holds no image", one, f"add images ({', '.join(SUFFIXES)}) or remove the folder")
        paths += files
        owners += [one.name] * len(files)
    return _Found(tuple(paths), tuple(owners))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))


def _images_below(folder: Path, root: Path) -> list[str]:
    walked = ((Path(place), names) for place, _, names in os.walk(folder))
    return sorted((place / name).relative_to(root).as_posix() for place, names in walked for name in names if _is_image(name))


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _classes(found: Mapping[str, _Found], root: Path) -> tuple[str, ...]:
    """Return the class names, sorted; empty when there are none.

    Raises:
        DataError: Some parts are labelled and others not, one class only, or a part has a class that train lacks.
    """
    names = {part: None if one.classes is None else set(one.classes) for part, one in found.items()}
    train = names["train"]
    if train is None:
        if labelled := [part for part, own in names.items() if own is not None]:
            raise DataError(
                "train has no class folders and other splits have", f"{root}: {', '.join(labelled)}", "give all of them, or none"
            )
        return ()
    for part, own in names.items():
        if own is None:
            raise DataError("train has class folders and another split has none", f"{root}: {part}", "give all of them, or none")
        if strange := sorted(own - train):
            raise DataError("labels outside the classes", f"{root}, {part}: {', '.join(strange)}", f"train has {', '.join(sorted(train))}")
    if len(train) < 2:
        raise DataError(
            "there is only one class folder",
            f"{root}: {', '.join(train)}",
            f"check that the path is not one level off; a folder holds {LAYOUTS}",
        )
    return tuple(sorted(train))


def _numbered(owners: tuple[str, ...] | None, number: Mapping[str, int]) -> Rows | None:
    return None if owners is None else np.array([number[owner] for owner in owners], np.int64)


def _digest(classes: Sequence[str], sources: Mapping[str, Files]) -> str:
    """Hash names, labels and contents; file by file, so that memory does not grow."""
    found = hashlib.sha256(json.dumps(classes).encode())
    for part, source in sorted(sources.items()):
        for row, path in enumerate(source.paths):
            try:
                content = sha256(source.root / path)
            except OSError as error:
                raise DataError("the image cannot be read", f"{source.root / path} ({error.strerror})", "check the file") from error
            label = None if source.labels is None else int(source.labels[row])
            found.update(json.dumps([part, path, label, content]).encode())
    return found.hexdigest()
