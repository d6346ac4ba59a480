"""Data sets known by name: where they are looked for, where they come from, what they look like."""

import contextlib
import os
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..runtime.cache import DOWNLOADS, cache_folder
from ..runtime.errors import DataError
from ..runtime.spec import InputSpec
from .arrays import Part, from_arrays
from .download import Progress, download
from .formats import CIFAR_ARCHIVE, CIFAR_FILES, CIFAR_FOLDER, find_idx, read_cifar, read_idx_set
from .npz import find_parts, read_npz
from .splits import DataSet

SEARCH_VARIABLE = "EDGEREC_DATA"
DEFAULT_SEARCH_PATH = "/usr/share/datasets"  # Debian's packages dataset-*

DIGITS = tuple("0123456789")
MNIST_INPUT = InputSpec(28, 28, color="grey", mean=(0.1307,), std=(0.3081,))


@dataclass(frozen=True, slots=True)
class Download:
    """One file of a data set.

    Attributes:
        url: Where it is.
        sha256: What it must be.
        path: Where it goes, relative to the cache's folder for data.
    """

    url: str
    sha256: str
    path: str


@dataclass(frozen=True, slots=True)
class Named:
    """A data set known by name.

    Attributes:
        labels: Class names by index.
        input: Size, colour, and the published mean and standard deviation.
        downloads: What to fetch when it is nowhere on the disk; empty for an embedded set.
    """

    labels: tuple[str, ...]
    input: InputSpec
    downloads: tuple[Download, ...] = ()


# The host of Fashion-MNIST has no TLS; the pinned hashes make up for that. They stand in TensorFlow Datasets and in torchvision's prototypes.
_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_FASHION_SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}

NAMED: dict[str, Named] = {
    "mnist-8k": Named(DIGITS, MNIST_INPUT),
    "mnist": Named(
        DIGITS,
        MNIST_INPUT,
        (
            Download(
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
                "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
                "mnist.npz",
            ),
        ),
    ),
    "fashion-mnist": Named(
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        InputSpec(28, 28, color="grey", mean=(0.2860,), std=(0.3530,)),
        tuple(Download(f"{_FASHION_URL}/{file}", digest, f"fashion-mnist/{file}") for file, digest in _FASHION_SHA256.items()),
    ),
    "cifar10": Named(
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        InputSpec(32, 32, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
        (
            Download(
                f"https://www.cs.toronto.edu/~kriz/{CIFAR_ARCHIVE}",
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                CIFAR_ARCHIVE,
            ),
        ),
    ),
}


def open_named(name: str, given: Path | None = None, *, seed: int = 0, progress: Progress | None = None) -> DataSet:
    """Open a data set of `NAMED`: the given path, else the cache, the search path, a download.

    Args:
        name: A key of `NAMED`.
        given: A file or folder that holds it, in any of its formats.
        seed: Same seed, same splits.
        progress: Told about a download.

    Raises:
        DataError: It is not at the given path, cannot be downloaded, or is damaged.
        OutputError: It must be downloaded and the disk is full.
    """
    known = NAMED[name]
    place = _given(name, given) if given else next(_places(name), None)
    parts = _read(name, place) if place else _fetch(name, known, progress)
    for part, (images, _) in parts.items():
        _check_shape(images.shape, known.input, f"{place or name}, {part}")
    return from_arrays(name, parts, labels=known.labels, spec=known.input, seed=seed)


def search_path() -> list[Path]:
    """Return the folders of `EDGEREC_DATA`, else the default."""
    chosen = os.environ.get(SEARCH_VARIABLE) or DEFAULT_SEARCH_PATH
    return [Path(folder).expanduser() for folder in chosen.split(os.pathsep) if folder]


def data_cache() -> Path:
    """Return the cache's folder for data sets."""
    return cache_folder() / DOWNLOADS


def _given(name: str, given: Path) -> Path:
    if given.is_file():
        return given
    if not given.exists():
        raise DataError(f"the place of {name} does not exist", given, "check the path after the equals sign")
    found = next((place for folder in (given, given / name) for place in _inside(folder, name, own=True)), None)
    if found is None:
        raise DataError(f"the folder does not hold {name}", given, f"it may hold {_layouts(name)}")
    return found


def _places(name: str) -> Iterator[Path]:
    """Yield where the data set lies: embedded, in the cache, or on the search path."""
    yield from (path for path in [Path(__file__).with_name(f"{name}.npz")] if path.is_file())
    for base in (data_cache(), *search_path()):
        for folder in (base, base / name):
            with contextlib.suppress(OSError):  # a folder that may not be read holds nothing for us
                yield from _inside(folder, name, own=folder.name == name)


def _inside(folder: Path, name: str, *, own: bool) -> Iterator[Path]:
    """Yield what a folder has of a data set; IDX files count only in its `own` folder, because MNIST and Fashion-MNIST share their names."""
    if (file := folder / f"{name}.npz").is_file():
        yield file
    if name != "cifar10" and own and len(find_idx(folder)) == 2:
        yield folder
    if name == "cifar10":
        if (archive := folder / CIFAR_ARCHIVE).is_file():
            yield archive
        yield from (place for place in (folder / CIFAR_FOLDER, folder) if (place / CIFAR_FILES["test"][0]).is_file())


def _layouts(name: str) -> str:
    if name == "cifar10":
        return f"{name}.npz, {CIFAR_ARCHIVE} or the folder {CIFAR_FOLDER}"
    return f"{name}.npz or the four files such as train-images-idx3-ubyte.gz"


def _fetch(name: str, known: Named, progress: Progress | None) -> dict[str, Part]:
    with _download_folder() as folder:
        try:
            for one in known.downloads:
                path = folder / one.path
                path.parent.mkdir(exist_ok=True)
                download(one.url, one.sha256, path, progress=progress)
        except DataError as error:
            raise DataError(
                f"{name} is not on this machine, and {error.problem}",
                error.given,
                f"{error.fix}; or give {name}=PATH, or put {_layouts(name)} into a folder of {SEARCH_VARIABLE}",
            ) from error
        return _read(name, _given(name, folder))


@contextlib.contextmanager
def _download_folder() -> Generator[Path]:
    """Yield the cache, or a folder that lasts only as long as it is needed: a cache that cannot be written costs time, nothing else."""
    try:
        data_cache().mkdir(parents=True, exist_ok=True)
        writable = os.access(data_cache(), os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if writable:
        yield data_cache()
    else:
        with tempfile.TemporaryDirectory(prefix="edgerec-") as folder:
            yield Path(folder)


def _read(name: str, place: Path) -> dict[str, Part]:
    if place.suffix == ".npz":
        if parts := find_parts(read_npz(place), place):
            return parts
        raise DataError(f"the .npz does not hold {name}", place, "it needs x_train, y_train, x_test and y_test")
    if name == "cifar10":
        return read_cifar(place)
    if place.is_dir():
        return read_idx_set(place)
    raise DataError(f"the file does not hold {name}", place, f"it may be {_layouts(name)}")


def _check_shape(shape: tuple[int, ...], spec: InputSpec, where: str) -> None:
    wanted = ((spec.height, spec.width, spec.channels), (spec.height, spec.width))[: 1 + (spec.channels == 1)]
    if shape[1:] not in wanted:
        raise DataError(
            "the images have another shape than the data set's", f"{where}: {shape}", f"expected (N, {', '.join(map(str, wanted[0]))})"
        )
