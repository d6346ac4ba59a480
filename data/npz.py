"""The user's own `.npz` files."""

import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from ..runtime.errors import DataError
from .arrays import Part, from_arrays, from_named_arrays
from .splits import DataSet

Arrays = Mapping[str, npt.NDArray[np.generic]]

# Names of images and labels, as Keras, MedMNIST and people write them; the first pair found counts.
PAIRS = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels"), ("x", "y")),
    "validation": (("x_val", "y_val"), ("x_validation", "y_validation"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
LABEL_NAMES = ("label_names", "class_names")
NAMED_LABELS = ("labels", "y")
HOW = "name the arrays images and labels, or x_train, y_train, x_test and y_test, or like the model's inputs"


def open_npz(path: Path, seed: int = 0) -> DataSet:
    """Open an `.npz` of images and labels, or of arrays named like a model's inputs.

    Args:
        path: A file with the arrays of `PAIRS`; or any other arrays of one length, with classes as `labels` or `y`.
        seed: Same seed, same splits.

    Raises:
        DataError: The file is missing, damaged, or holds other arrays.
    """
    arrays = read_npz(path)
    names = tuple(str(one) for key in LABEL_NAMES if key in arrays for one in arrays[key].reshape(-1))
    parts = find_parts(arrays, path)
    if parts:
        return from_arrays("npz", parts, labels=names, seed=seed)
    own = next((arrays[key] for key in NAMED_LABELS if key in arrays), None)
    feeds = {key: array for key, array in arrays.items() if key not in (*NAMED_LABELS, *LABEL_NAMES)}
    if not feeds or any(array.ndim == 0 for array in feeds.values()):
        raise DataError("the .npz holds neither images nor a model's inputs", f"{path}: {', '.join(arrays) or 'no arrays'}", HOW)
    return from_named_arrays("npz", feeds, own, names, seed)


def read_npz(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Return all arrays of a file; pickled objects are never loaded.

    Raises:
        DataError: The file is missing, damaged or holds pickled objects.
    """
    try:
        with path.open("rb") as file:  # numpy leaves a file that it opened itself open when the zip is damaged
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise DataError("the file is a single array, not an .npz", path, "store it with numpy.savez_compressed")
            arrays = {key: loaded[key] for key in loaded.files}
            if damaged := [
                key for key, array in arrays.items() if isinstance(cast("object", array), bytes)
            ]:  # what numpy gives without the magic number
                raise DataError("the .npz is damaged", f"{path}: {damaged[0]!r} is no array", "make or download it again")
            return arrays
    except FileNotFoundError as error:
        raise DataError("the .npz does not exist", path, "check the path") from error
    except ValueError as error:  # what numpy says to an object array, and to a file that is neither .npy nor .npz
        raise DataError(
            "the .npz cannot be read without running code from it, or is damaged", path, "store plain arrays, no objects"
        ) from error
    # The header of an array is Python's own notation: a damaged one does not parse, or not even into tokens.
    except (
        OSError,
        EOFError,
        KeyError,
        TypeError,
        OverflowError,
        SyntaxError,
        tokenize.TokenError,
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,  # what zipfile says to an encrypted member; NotImplementedError, to an unknown compression, is one
        MemoryError,
    ) as error:
        raise DataError("the .npz is damaged", f"{path} ({error})", "make or download it again") from error


def find_parts(arrays: Arrays, path: Path) -> dict[str, Part]:
    """Return the images and labels by part; empty when the file holds no images by any known name.

    Raises:
        DataError: Test or validation images without training images, or images beside arrays that may be their labels.
    """
    parts = {part: found for part, pairs in PAIRS.items() if (found := _find_pair(arrays, pairs, path))}
    if parts and "train" not in parts:
        raise DataError("the .npz has no training images", f"{path}: {', '.join(arrays)}", HOW)
    return parts


def _find_pair(arrays: Arrays, pairs: tuple[tuple[str, str], ...], path: Path) -> Part | None:
    for images, labels in pairs:
        if images not in arrays:
            continue
        likely = [key for key, array in arrays.items() if key != images and array.shape == arrays[images].shape[:1]]
        if labels not in arrays and likely:
            # Going on without labels would hide a spelling mistake until training refuses.
            raise DataError(
                f"the .npz has {images!r} without {labels!r}", f"{path}: {', '.join(arrays)}", f"rename {likely[0]!r} or leave it out"
            )
        return arrays[images], arrays.get(labels)
    return None
