"""Data sets in memory: uint8 images, or arrays named like a model's inputs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt

from ..runtime.errors import DataError
from ..runtime.preprocess import Pixels
from ..runtime.spec import InputSpec
from .order import Rows
from .splits import DataSet, divide

# Images and their labels, as the user hands them over.
Part = tuple[npt.NDArray[np.generic], npt.NDArray[np.generic] | None]


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images of one size in memory.

    Attributes:
        pixels: uint8, shape (N, H, W, C), C is 1 or 3.
        labels: Class of each image, shape (N,), or None.
        prefix: First part of the ids.
        skipped: Stays empty; nothing in memory is damaged.
        in_memory: There is nothing to decode.
    """

    in_memory: ClassVar[bool] = True
    pixels: Pixels
    labels: Rows | None
    prefix: str
    skipped: set[int] = field(default_factory=set[int])

    def __len__(self) -> int:
        return len(self.pixels)

    def name(self, row: int) -> str:
        """The row's id, such as `train/17`."""
        return f"{self.prefix}/{row}"

    def image(self, row: int) -> Pixels:
        """One image, shape (H, W, C)."""
        return self.pixels[row]

    def feeds(self, rows: Rows, inputs: Sequence[InputSpec]) -> dict[str, np.ndarray] | None:
        """The images as a block when they have the inputs' size, else None."""
        if not inputs or not all(self._fits(spec) for spec in inputs):
            return None
        pixels = self.pixels[rows]
        return {spec.name: _colored(pixels, spec) for spec in inputs}

    def _fits(self, spec: InputSpec) -> bool:
        _, height, width, channels = self.pixels.shape
        return (height, width) == (spec.height, spec.width) and channels <= spec.channels


@dataclass(frozen=True, slots=True, eq=False)
class NamedArrays:
    """Arrays named like a model's inputs, fed as they are; the first dimension counts the samples."""

    in_memory: ClassVar[bool] = True
    arrays: Mapping[str, np.ndarray]
    labels: Rows | None
    skipped: set[int] = field(default_factory=set[int])

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def name(self, row: int) -> str:
        """The row's number."""
        return str(row)

    def image(self, row: int) -> Pixels:
        """Not reached: `feeds` always has the answer.

        Raises:
            DataError: Always.
        """
        raise DataError("the data set holds prepared arrays, not images", f"row {row}", "read it in batches")

    def feeds(self, rows: Rows, inputs: Sequence[InputSpec]) -> dict[str, np.ndarray]:
        """The rows of every array.

        Raises:
            DataError: An input of the model has no array, or uint8 images of another shape.
        """
        for spec in inputs:
            _check_input(self.arrays, spec)
        return {name: array[rows] for name, array in self.arrays.items()}


def from_arrays(
    name: str, parts: Mapping[str, Part], *, labels: Sequence[str] = (), spec: InputSpec | None = None, seed: int = 0
) -> DataSet:
    """Make a data set of images in memory.

    Args:
        name: Short name for reports.
        parts: `train` and, where there are such, `validation` and `test`: images, uint8, shape (N, H, W), (N, H, W, 1) or (N, H, W, 3),
            and their classes, integers, shape (N,), or None.
        labels: Class names by index; empty numbers the classes.
        spec: How the images are naturally fed; None measures mean and standard deviation of the train and calibration splits.
        seed: Same seed, same splits.

    Raises:
        DataError: The images or labels have another form, labels are outside the classes, or there are too few images.
    """
    if "train" not in parts:
        raise DataError("there are no training images", f"parts: {', '.join(parts) or 'none'}", "give `train`")
    classes = class_names(parts["train"][1], labels, name)
    sources = {part: _source(part, images, own, classes) for part, (images, own) in parts.items()}
    if len({source.labels is None for source in sources.values()}) > 1:
        raise DataError("some parts have labels and others have none", f"{name}: {', '.join(sources)}", "label all of them or none")
    splits = divide(sources["train"], sources.get("validation"), sources.get("test"), seed)
    natural = spec or natural_input(sources["train"].pixels, np.concatenate([splits["train"].rows, splits["calibration"].rows]))
    return DataSet(name, classes, **splits, inputs=(natural,), digest=lambda: _digest(classes, sources))


def from_named_arrays(
    name: str, arrays: Mapping[str, np.ndarray], own: npt.NDArray[np.generic] | None, labels: Sequence[str], seed: int
) -> DataSet:
    """Make a data set of arrays that are named like a model's inputs.

    Args:
        name: Short name for reports.
        arrays: By input name; the first dimension counts the samples.
        own: Class of each sample, integers, or None.
        labels: Class names by index; empty numbers the classes.
        seed: Same seed, same splits.

    Raises:
        DataError: Lengths differ, or the labels have another form.
    """
    lengths = {key: array.shape[0] if array.ndim else 0 for key, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise DataError("arrays of one data set need one length", f"{name}: {lengths}", "the first dimension counts the samples")
    classes = class_names(own, labels, name)
    checked = None if own is None else check_labels(own, next(iter(lengths.values())), classes, name)
    source = NamedArrays(arrays, checked)
    return DataSet(name, classes, **divide(source, None, None, seed), inputs=(), digest=lambda: _digest_of(classes, arrays, checked))


def check_images(images: npt.NDArray[np.generic], where: str) -> Pixels:
    """Return the images as uint8, shape (N, H, W, C).

    Raises:
        DataError: Another dtype or shape; says how to convert.
    """
    given = f"{where}: {images.dtype}, shape {images.shape}"
    if images.dtype != np.uint8:
        fix = "multiply by 255, round and convert" if np.issubdtype(images.dtype, np.floating) else "convert them"
        raise DataError("images must be uint8, 0 to 255", given, f"{fix}, or name the array like the model's input to feed it as it is")
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        raise DataError("images must have their channels last", given, "convert with images.transpose(0, 2, 3, 1)")
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise DataError("images must have the shape (N, H, W), (N, H, W, 1) or (N, H, W, 3)", given, "reshape them, drop an alpha channel")
    return cast("Pixels", images)


def check_labels(labels: npt.NDArray[np.generic], count: int, classes: Sequence[str], where: str) -> Rows:
    """Return the labels as int64, shape (count,).

    Raises:
        DataError: Not integers, one-hot, another length, or outside the classes.
    """
    given = f"{where}: {labels.dtype}, shape {labels.shape}"
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise DataError("labels must be class numbers, not one row of scores an image", given, "convert with labels.argmax(axis=1)")
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError("labels must be integers", given, "convert with labels.astype('int64'), one class number an image")
    if labels.size != count or labels.ndim not in (1, 2):
        raise DataError("there must be one label an image", f"{given}, {count} images", "check the arrays")
    flat = labels.astype(np.int64).reshape(-1)
    outside = np.flatnonzero((flat < 0) | (flat >= len(classes)))
    if len(outside):
        first = outside[0]
        raise DataError(
            "labels outside the classes",
            f"{where}: label {flat[first]} at row {first}, {len(outside)} in all",
            f"the {len(classes)} classes are numbered 0 to {len(classes) - 1}",
        )
    return flat


def class_names(own: npt.NDArray[np.generic] | None, labels: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the class names, numbering the classes found in `own` when none are given.

    Raises:
        DataError: Unnamed classes that are not numbered from 0 without gaps.
    """
    if own is None or labels:
        return tuple(labels)
    found = np.unique(own) if np.issubdtype(own.dtype, np.integer) else np.arange(1)  # `check_labels` refuses what is no integer
    if len(found) and found[0] >= 0 and found[-1] != len(found) - 1:
        raise DataError(
            "classes must be numbered from 0 without gaps",
            f"{where}: {len(found)} classes from {found[0]} to {found[-1]}",
            "renumber them, or give all class names as `label_names`",
        )
    return tuple(str(number) for number in range(len(found)))


def natural_input(pixels: Pixels, rows: Rows) -> InputSpec:
    """Describe images in memory: their size, and the mean and standard deviation of the chosen rows, to four digits.

    Counts of grey levels are whole numbers, so the result is the same on every platform.

    Args:
        pixels: uint8, shape (N, H, W, C).
        rows: Which images to measure.
    """
    _, height, width, channels = pixels.shape
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(rows), 1024):  # bincount needs eight bytes a pixel
        block = pixels[rows[start : start + 1024]]
        counts += np.stack([np.bincount(block[..., c].ravel(), minlength=256) for c in range(channels)])
    levels = np.arange(256) / 255
    mean = counts @ levels / counts.sum(axis=1)
    std = np.sqrt(np.maximum(counts @ levels**2 / counts.sum(axis=1) - mean**2, 0)).round(4)
    return InputSpec(
        height,
        width,
        color="grey" if channels == 1 else "rgb",
        mean=tuple(mean.round(4).tolist()),
        std=tuple(np.where(std == 0, 1.0, std).tolist()),  # images of one colour have no spread to divide by
    )


def _source(part: str, images: npt.NDArray[np.generic], own: npt.NDArray[np.generic] | None, classes: Sequence[str]) -> Images:
    pixels = check_images(images, part)
    return Images(pixels, None if own is None else check_labels(own, len(pixels), classes, part), part)


def _colored(pixels: Pixels, spec: InputSpec) -> Pixels:
    if pixels.shape[3] != spec.channels:
        return np.repeat(pixels, spec.channels, axis=3)
    return np.ascontiguousarray(pixels[..., ::-1]) if spec.color == "bgr" else pixels


def _check_input(arrays: Mapping[str, np.ndarray], spec: InputSpec) -> None:
    array = arrays.get(spec.name)
    if array is None:
        raise DataError(
            f"the data has no array for the model's input {spec.name!r}",
            f"arrays: {', '.join(arrays)}",
            "rename the array to the input's name, or to `images` for uint8 images",
        )
    if array.dtype == np.uint8 and array.shape[1:] != (spec.height, spec.width, spec.channels):
        wanted = f"(N, {spec.height}, {spec.width}, {spec.channels})"
        raise DataError("an array named like an input is not resized", f"{spec.name}: {array.shape}", f"give {wanted}, or name it `images`")


def _digest(classes: Sequence[str], sources: Mapping[str, Images]) -> str:
    arrays = {f"{part} pixels": source.pixels for part, source in sources.items()}
    owns = [source.labels for source in sources.values() if source.labels is not None]
    return _digest_of(classes, arrays, np.concatenate(owns) if owns else None)


def _digest_of(classes: Sequence[str], arrays: Mapping[str, np.ndarray], own: Rows | None) -> str:
    """Hash contents, not files: the same images from an .npz and from IDX files have one fingerprint."""
    head = {"classes": list(classes), "arrays": {name: [str(array.dtype), *array.shape] for name, array in arrays.items()}}
    found = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name in sorted(arrays):
        found.update(np.ascontiguousarray(arrays[name]).data)
    if own is not None:
        found.update(own.astype("<i8").tobytes())
    return found.hexdigest()
