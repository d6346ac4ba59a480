"""Observe what tensors do on real images: one streaming pass, one image a run.

Larger batches would not be faster (their activations leave the caches), and a run of one image makes the elements of the histogram
depend on that image alone. Threads work on different images, which keeps them busier than sharing one; the sum does not depend on who
saw which. A model that was exported for a fixed number of images gets that many.
"""

import hashlib
import json
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import reduce
from itertools import islice
from threading import Lock

import onnx

from ...graph.execution import first_bad_tensor, has_nan, open_model
from ...runtime.cores import usable_cores
from ...runtime.errors import DataError, ModelError
from ...runtime.session import Session
from ...runtime.spec import InputSpec
from .feeds import Feeds, images_at_once, images_in, runs_of
from .histogram import Floats
from .statistics import Accumulator, Key, Statistics, TensorStatistics
from .taps import Tap, tapped

_MOST_WORKERS = 2  # each holds the activations of its image and what leaves the graph
# What these give is held until it is added up; more at once hardly saves time.
_RUNS_AT_ONCE = 8
# Images may overshoot the range of pixels a little (resampling) and need not fill it, but over a calibration set not by that much.
_OVERSHOOT = 0.1
_LEAST_SHARE = 0.25


def observe(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    calibration: Iterable[Feeds],
    samples: int,
    *,
    key: Key | None = None,
    threads: int | None = None,
) -> Statistics:
    """Run the float model on calibration images and return what `tensors` do.

    The result is the same, bit for bit, for any order, batching or sharding of the images. Minima and maxima are exact; of x * sigmoid(x), the
    lowest value is the function's own where x reaches past it. The histograms take every k-th element of an image, see `taps.stride_for`.

    Args:
        model: Prepared float model; it is not changed.
        tensors: Names of float tensors in it.
        calibration: Batches of ready input arrays by input name; read up to `samples` images.
        samples: Largest number of images.
        key: What the statistics belong to; by default the model and nothing about the data.
        threads: Threads of ONNX Runtime; by default the cores this process may use.

    Raises:
        DataError: No image, or fewer than a model with a fixed batch takes at once, or names, shapes, types or values that do not fit the model's inputs.
        ModelError: An observed tensor becomes infinite or NaN on these images, or an output NaN; the first such node is named.
    """
    count = threads or usable_cores()
    workers = min(count, _MOST_WORKERS)
    opener = _Opener(model, tensors, count // workers)
    queue = _Queue(runs_of(model, calibration, samples))
    with ThreadPoolExecutor(workers) as pool, closing(queue):
        parts = list(pool.map(_work, [opener] * workers, [queue] * workers))
    size = images_at_once(model)
    seen = size * sum(part.runs for part in parts)
    if not seen:
        raise DataError(
            f"calibration needs at least {size} image{'s' if size > 1 else ''}, which is what the model takes at once",
            f"fewer were given, or samples is {samples}",
            "give a larger calibration split, or raise samples",
        )
    found = {name: _together([part.totals[name].result() for part in parts if part.runs]) for name in tensors}
    return Statistics(found, seen, key or key_of(model))


def key_of(model: onnx.ModelProto, inputs: Sequence[InputSpec] = (), data: str = "", *, shard: int = 0, shards: int = 1) -> Key:
    """Return what statistics of a model on some images belong to.

    Args:
        model: The prepared float model.
        inputs: What turns images into its inputs.
        data: Names the images: the data set's fingerprint, the split and how many.
        shard: Which part of them this is.
        shards: Into how many parts they are divided, for several processes or machines.
    """
    preprocessing = json.dumps([asdict(one) for one in inputs], sort_keys=True)
    return Key(_hash_of(model), hashlib.sha256(preprocessing.encode()).hexdigest(), data, shards, (shard,))


def _hash_of(model: onnx.ModelProto) -> str:
    """Return the SHA-256 of all that a model computes with, piece by piece: as a whole, 2 GiB cannot be serialized."""
    graph, digest = model.graph, hashlib.sha256()
    for part in (*model.opset_import, *model.functions, *graph.input, *graph.output, *graph.node, *graph.initializer):
        content = part.SerializeToString(deterministic=True)
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def scale_warning(statistics: Mapping[str, TensorStatistics], inputs: Sequence[InputSpec]) -> str | None:
    """Return a sentence about images that look wrongly scaled, or None.

    A spec says how pixels of 0 to 255 become the model's input; so the values that were seen tell what the pixels must have been.

    Args:
        statistics: Of the model's inputs, by name; other tensors are ignored.
        inputs: What the model expects.
    """
    for one in inputs:
        seen = statistics.get(one.name)
        low, high = _limits(one)
        if seen is not None and (complaint := _complaint(seen, low, high)):
            return (
                f"calibration images look {complaint}: the input {one.name!r} got values from {seen.low:.4g} to {seen.high:.4g}, "
                f"where its preprocessing makes {low:.4g} to {high:.4g} of pixels of 0 to 255"
            )
    return None


def _complaint(seen: TensorStatistics, low: float, high: float) -> str | None:
    if seen.high - seen.low < _LEAST_SHARE * (high - low):
        return "divided by 255 once too often, or not normalised"
    margin = _OVERSHOOT * (high - low)
    return "not scaled" if seen.low < low - margin or seen.high > high + margin else None


def _limits(spec: InputSpec) -> tuple[float, float]:
    """Return the smallest and largest value that the preprocessing makes of a pixel, over all channels."""
    values = [(pixel * spec.scale - mean) / std for pixel in (0, 255) for mean, std in zip(spec.mean, spec.std, strict=True)]
    return min(values), max(values)


class _Queue:
    """Hands out runs to several threads."""

    def __init__(self, runs: Generator[Feeds]) -> None:
        self._runs = runs
        self._lock = Lock()

    def take(self) -> list[Feeds]:
        with self._lock:
            return list(islice(self._runs, _RUNS_AT_ONCE))

    def close(self) -> None:
        with self._lock:
            self._runs.close()


class _Opener:
    """Opens the tapped model, once for every size of the images; several threads may run the session."""

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str], threads: int) -> None:
        self.model, self._tensors, self._threads = model, tensors, threads
        self._lock = Lock()
        self._shapes: dict[str, tuple[int, ...]] | None = None
        self._opened: tuple[Session, list[Tap]]

    def open(self, feeds: Feeds) -> tuple[Session, list[Tap]]:
        shapes = {name: array.shape for name, array in feeds.items()}
        with self._lock:
            if shapes != self._shapes:
                model, taps = tapped(self.model, self._tensors, feeds)
                self._opened, self._shapes = (open_model(model, threads=self._threads), taps), shapes
            return self._opened


@dataclass
class _Part:
    """What one thread has seen."""

    totals: dict[str, Accumulator] = field(default_factory=dict[str, Accumulator])
    runs: int = 0


def _work(opener: _Opener, queue: _Queue) -> _Part:
    part = _Part()
    with closing(queue):  # where one thread fails, the others stop as well
        while runs := queue.take():
            _add_(part, opener, runs)
    return part


def _add_(part: _Part, opener: _Opener, runs: Sequence[Feeds]) -> None:
    """Run the model and add what comes out.

    Raises:
        ModelError: An observed value is not finite, or an output is NaN.
    """
    found: dict[Tap, list[tuple[Floats, Floats, Floats]]] = {}
    bad: list[str] = []
    for feeds in runs:
        session, taps = opener.open(feeds)
        arrays = {**session.run(feeds), **feeds}
        bad += [one.name for one in opener.model.graph.output if has_nan(arrays[one.name])]
        for tap in taps:
            found.setdefault(tap, []).append(tap.read(arrays, images_in(feeds)))
    for tap, parts in found.items():
        if not part.totals.setdefault(tap.name, Accumulator(tap.axis)).add_runs(*zip(*parts, strict=True)):
            bad.append(tap.name)
    if bad:
        raise _not_finite(opener.model, runs, bad)
    part.runs += len(runs)


def _together(parts: Sequence[TensorStatistics]) -> TensorStatistics:
    return reduce(TensorStatistics.merged, parts)


def _not_finite(model: onnx.ModelProto, runs: Sequence[Feeds], bad: Collection[str]) -> ModelError:
    # Infinity does not count for the first of these: attention masks are made of it.
    first = next((found for feeds in runs if (found := first_bad_tensor(model, feeds))), None)
    makers = ((node.name or node.op_type, name) for node in model.graph.node for name in node.output if name in bad)
    node, tensor = first or next(makers)
    return ModelError(
        "the model computes NaN or infinity on calibration images",
        f"node {node!r}, tensor {tensor!r}",
        "check the model and the scale of its input",
    )
