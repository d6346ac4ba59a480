"""What `--data` takes."""

import difflib
import os
from pathlib import Path

from ..runtime.errors import DataError
from ..runtime.factory import names_function
from .download import Progress
from .factory import open_factory
from .folders import open_folder
from .named import NAMED, open_named
from .npz import open_npz
from .splits import DataSet

GRAMMAR = "give a known name, NAME=PATH, a folder of images, a file.npz or package.module:function"


def open_data(text: str, *, seed: int = 0, skip_bad: bool = False, progress: Progress | None = None) -> DataSet:
    """Open a data set and carve its splits.

    Args:
        text: One of
            a name: `mnist-8k` (embedded), `mnist`, `fashion-mnist`, `cifar10`;
            `NAME=PATH`, to say where such a set lies;
            a folder with one sub-folder a class, or `train`, `val` and `test` above such folders, or a flat folder of unlabelled images;
            an `.npz` of images and labels, or of arrays named like a model's inputs;
            `package.module:function` that returns a `DataSet` or `(images, labels)`.
            A known name wins over a folder of that name; write `./mnist` for the folder.
        seed: Of the splits: same seed, same splits and orders, on every platform. It decides who is a test image, so a seed that varies
            between trainings does not belong here: then test images of one run would be training images of the next.
        skip_bad: Leave damaged images of a folder out and count them in `Split.skipped`.
        progress: Told about a download: bytes present, bytes in all.

    Raises:
        DataError: The text names nothing, or the data cannot be used.
        OutputError: A download cannot be written.
    """
    if names_function(text):
        return open_factory(text, seed)
    try:
        return _open(text, seed, skip_bad, progress)
    except OSError as error:
        raise DataError("the data cannot be read", f"{text} ({error.strerror or error})", "check the path and its permissions") from error


def _open(text: str, seed: int, skip_bad: bool, progress: Progress | None) -> DataSet:
    if text in NAMED:
        return open_named(text, seed=seed, progress=progress)
    path = Path(text).expanduser()
    if text and path.is_dir():
        return open_folder(path, seed=seed, skip_bad=skip_bad)
    if path.is_file():
        return _open_file(path, seed)
    name, equals, place = text.partition("=")
    if equals and name in NAMED and place:
        return open_named(name, Path(place).expanduser(), seed=seed)
    raise _nothing(text, path, name)


def _open_file(path: Path, seed: int) -> DataSet:
    if path.suffix.lower() == ".npz":
        return open_npz(path, seed)
    names = ", ".join(f"{name}={path.name}" for name in NAMED)
    raise DataError("a single file of this kind is not a data set", path, f"{GRAMMAR}; a file of a known set goes as {names}")


def _nothing(text: str, path: Path, name: str) -> DataError:
    close = difflib.get_close_matches(name.lower(), NAMED, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    choices = f"{meant}known names are {', '.join(NAMED)}; otherwise {GRAMMAR}"
    if "=" in text and name not in NAMED:
        return DataError("unknown data set", repr(name), choices)
    if path.suffix == ".npz" or "/" in text or os.sep in text:
        return DataError("the data does not exist", text, f"check the path; {GRAMMAR}")
    return DataError("unknown data set", repr(text), choices)
