"""Calibration arrays: checked against the model's inputs, and cut into runs."""

from collections.abc import Generator, Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper

from ...runtime.errors import DataError, ModelError

Feeds = Mapping[str, npt.NDArray[np.generic]]


def runs_of(model: onnx.ModelProto, calibration: Iterable[Feeds], samples: int) -> Generator[Feeds]:
    """Check batches and cut them into what the model takes at once: one image, or the number it was exported for.

    Images are carried from one batch to the next; the last few may be left over.

    Args:
        model: Prepared float model.
        calibration: Batches of ready input arrays by input name.
        samples: Largest number of images.

    Raises:
        DataError: Names, shapes, types or values that do not fit the model's inputs.
    """
    size = images_at_once(model)
    waiting: Feeds = {}
    left = samples
    for batch in calibration:
        check_feeds(model, batch)
        feeds = _joined(waiting, batch)
        count = images_in(feeds)
        whole = count // size * size
        for start in range(0, min(whole, left // size * size), size):
            yield images_of(feeds, start, start + size)
            left -= size
        if left < size:
            return
        waiting = images_of(feeds, whole, count) if whole < count else {}


def images_at_once(model: onnx.ModelProto) -> int:
    """Return how many images a run has: as many as the model was exported for, one where any number goes."""
    dims = (one.type.tensor_type.shape.dim for one in model.graph.input)
    return next((one[0].dim_value or 1 for one in dims if one), 1)


def images_in(feeds: Feeds) -> int:
    """Return how many images a batch holds; an input that is one number, such as a threshold, does not count them."""
    return next((len(array) for array in feeds.values() if array.ndim), 1)


def images_of(feeds: Feeds, start: int, end: int) -> Feeds:
    """Return some images of a batch; an input that is one number goes with all of them."""
    return {name: array[start:end] if array.ndim else array for name, array in feeds.items()}


def _joined(waiting: Feeds, batch: Feeds) -> Feeds:
    """Put `batch` behind the images that wait; these are dropped where the batch has another size, or another number for a scalar input."""
    if not waiting or any(waiting[name].shape[1:] != array.shape[1:] for name, array in batch.items()):
        return batch
    if any(not array.ndim and array != waiting[name] for name, array in batch.items()):  # another number: no run can have both
        return batch
    return {name: np.concatenate([waiting[name], array]) if array.ndim else array for name, array in batch.items()}


def check_feeds(model: onnx.ModelProto, feeds: Feeds) -> None:
    """Let no arrays pass that the model cannot be calibrated on.

    Args:
        model: Any float model; old ones list their weights among the inputs.
        feeds: A batch of ready input arrays by input name.

    Raises:
        DataError: Names, numbers, shapes, types or values do not fit.
        ModelError: The model does not tell the shape of an input.
    """
    weights = {one.name for one in model.graph.initializer}
    if sequence := next((one.name for one in model.graph.input if one.type.HasField("sequence_type")), None):
        raise ModelError(
            "calibration images cannot be fed to an input that is a sequence of tensors",
            f"the input {sequence!r}",
            "export the model with one tensor for each input, for instance stacked along the first axis",
        )
    wanted = {one.name: one.type.tensor_type for one in model.graph.input if one.name not in weights}
    if set(feeds) != set(wanted):
        raise DataError("calibration arrays have other names than the model's inputs", _names(feeds), f"the model takes {_names(wanted)}")
    if len({len(array) for array in feeds.values() if array.ndim}) > 1:
        raise DataError("calibration arrays differ in their number of images", _shapes(feeds), "give the same number for every input")
    for name, array in feeds.items():
        _check_array(name, array, wanted[name])


def _check_array(name: str, array: npt.NDArray[np.generic], wanted: onnx.TypeProto.Tensor) -> None:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(wanted.elem_type)
    if not wanted.HasField("shape"):
        raise ModelError(f"the model does not tell the shape of its input {name!r}", "none is declared", "export it with shapes")
    dims = [one.dim_value for one in wanted.shape.dim]
    fits = len(dims) == array.ndim and all(want in (0, got) for want, got in zip(dims[1:], array.shape[1:], strict=True))
    if array.dtype != dtype or not fits:
        text = "x".join(str(one) if one else "any" for one in dims)
        raise DataError(
            f"calibration images do not fit the input {name!r}", f"{array.dtype} {array.shape}", f"it takes {dtype} of shape {text}"
        )
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        index = int(np.argwhere(~np.isfinite(array))[0][0])
        raise DataError(
            f"calibration images for {name!r} contain NaN or infinity",
            f"image {index} of its batch",
            "check the data and its preprocessing",
        )


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _shapes(feeds: Feeds) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
