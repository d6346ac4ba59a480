"""Observe the range of activations over real images, one image at a time.

Memory does not grow with the number of images: each tensor keeps its exact minimum and maximum and one histogram of
absolute values. The histogram's upper end is always a power of two and doubles by adding bins in pairs, so the result
does not depend on the order of the images.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper

from ...runtime.errors import DataError, ModelError
from ...runtime.session import open_session

Feeds = Mapping[str, npt.NDArray[np.generic]]
Method = Literal["percentile", "minmax"]
METHODS: tuple[Method, ...] = get_args(Method)

_BINS = 8192
# A tensor's histogram takes every k-th element so that one image adds at most about this many; k is odd, to not walk along one column.
_SAMPLES_PER_IMAGE = 32768


class TensorStatistics:
    """What one tensor did over all images so far.

    Attributes:
        name: The tensor's name.
        low: Smallest value.
        high: Largest value.
        exponent: The histogram covers absolute values in [0, 2**exponent).
        counts: Values in each of its equal bins.
    """

    def __init__(self, name: str) -> None:
        """Start with no values."""
        self.name = name
        self.low = math.inf
        self.high = -math.inf
        self.exponent = -100  # smaller values count as zero
        self.counts = np.zeros(_BINS, np.int64)

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Add the values that one image gave.

        Raises:
            ModelError: A value is infinite or NaN.
        """
        low, high = float(values.min()), float(values.max())
        if not math.isfinite(low + high):
            raise ModelError(
                "the model computes NaN or infinity on calibration images",
                f"tensor {self.name!r}",
                "check the model and the scale of its input",
            )
        self.low, self.high = min(self.low, low), max(self.high, high)
        if largest := max(-low, high):
            self._widen(math.frexp(largest)[1])
        stride = values.size // _SAMPLES_PER_IMAGE | 1
        # The factor is a power of two: the product is exact, and a value stays in its bin whatever the range was at first.
        bins = np.abs(values.ravel()[::stride]) * math.ldexp(_BINS, -self.exponent)
        self.counts += np.bincount(bins.astype(np.int32), minlength=_BINS)

    def _widen(self, exponent: int) -> None:
        while self.exponent < exponent:
            folded = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts[: _BINS // 2] = folded
            self.counts[_BINS // 2 :] = 0
            self.exponent += 1

    def range(self, method: Method, percentile: float) -> tuple[float, float]:
        """Return the (low, high) that 8 bits should cover.

        Args:
            method: `minmax` covers everything, `percentile` cuts the largest absolute values.
            percentile: Share of the values that is kept, percent.
        """
        if method == "minmax":
            return self.low, self.high
        cumulative = np.cumsum(self.counts)
        last = int(np.searchsorted(cumulative, cumulative[-1] * (percentile / 100)))
        top = math.ldexp((last + 1) / _BINS, self.exponent)
        return max(self.low, -top), min(self.high, top)


def observe(
    model: onnx.ModelProto, tensors: Sequence[str], calibration: Iterable[Feeds], samples: int
) -> tuple[dict[str, TensorStatistics], int]:
    """Run the float model on calibration images and return the statistics of `tensors` and the number of images used.

    Args:
        model: Prepared float model.
        tensors: Names of float tensors in it.
        calibration: Batches of ready input arrays by input name; read up to `samples` images.
        samples: Largest number of images.

    Raises:
        DataError: No image, or fewer than a model with a fixed batch takes at once, or names, shapes, types or values that do not fit the model's inputs.
        ModelError: A tensor becomes infinite or NaN on these images.
    """
    session = open_session(_with_outputs(model, tensors).SerializeToString())
    statistics = {name: TensorStatistics(name) for name in tensors}
    seen = 0
    size = session.fixed_batch or 1
    for feeds in _runs(_checked(model, calibration), size, samples):
        seen += len(next(iter(feeds.values())))
        arrays = {**session.run(feeds), **feeds}
        for name, one in statistics.items():
            one.add(arrays[name].astype(np.float32, copy=False))
    if not seen:
        raise DataError(
            f"calibration needs at least {size} image{'s' if size > 1 else ''}, which is what the model takes at once",
            f"fewer were given, or samples is {samples}",
            "give a larger calibration split, or raise samples",
        )
    return statistics, seen


def _with_outputs(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    present = {one.name for one in (*tapped.graph.output, *tapped.graph.input)}
    tapped.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors if name not in present)
    return tapped


def _runs(calibration: Iterable[Feeds], size: int, samples: int) -> Iterator[Feeds]:
    """Cut batches into what the model takes at once; images are carried from one batch to the next, the last few may be left over."""
    waiting: Feeds = {}
    left = samples
    for batch in calibration:
        feeds = _joined(waiting, batch)
        count = len(next(iter(feeds.values())))
        whole = count // size * size
        for start in range(0, min(whole, left // size * size), size):
            yield {name: array[start : start + size] for name, array in feeds.items()}
            left -= size
        if left < size:
            return
        waiting = {name: array[whole:] for name, array in feeds.items()} if whole < count else {}


def _joined(waiting: Feeds, batch: Feeds) -> Feeds:
    """Put `batch` behind the images that wait; these are dropped where the model takes several sizes and the batch has another."""
    if not waiting or any(waiting[name].shape[1:] != array.shape[1:] for name, array in batch.items()):
        return batch
    return {name: np.concatenate([waiting[name], array]) for name, array in batch.items()}


def _checked(model: onnx.ModelProto, calibration: Iterable[Feeds]) -> Iterator[Feeds]:
    for feeds in calibration:
        _check_feeds(model, feeds)
        yield feeds


def _check_feeds(model: onnx.ModelProto, feeds: Feeds) -> None:
    wanted = {one.name: one.type.tensor_type for one in model.graph.input}
    if set(feeds) != set(wanted):
        raise DataError("calibration arrays have other names than the model's inputs", _names(feeds), f"the model takes {_names(wanted)}")
    if len({array.shape[:1] for array in feeds.values()}) != 1:
        raise DataError("calibration arrays differ in their number of images", _shapes(feeds), "give the same number for every input")
    for name, array in feeds.items():
        _check_array(name, array, wanted[name])


def _check_array(name: str, array: npt.NDArray[np.generic], wanted: onnx.TypeProto.Tensor) -> None:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(wanted.elem_type)
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
