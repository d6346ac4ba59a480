"""Where do two files part? The error of every tensor that both have, in the order of the graph, and the first bad one.

Tensors are matched by name. In a quantized file the tensor behind a QuantizeLinear/DequantizeLinear pair stands for the one of that name, or for
the one in front of the pair: its integers are read, so that the kernels stay fused and what is compared is what really runs.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from ..graph.execution import open_model
from ..runtime.errors import ConfigError, DataError, ModelError
from ..runtime.session import Session
from .noise import Array, Noise, measure_noise
from .views import View, ancestors, has_integers, list_views

Feeds = Mapping[str, Array]

LEAST_DB = 10.0
FALL_DB = 20.0  # an int8 layer costs 0 to 10 dB
# What a sound tensor may have lost before anything went wrong: rounding to 8 bits leaves 30 to 48 dB, float32 arithmetic 120 to 150.
_CLEAN_INT8_DB = 40.0
_CLEAN_FLOAT_DB = 120.0
_MEMORY_BYTES = 128 * 2**20  # of the tensors of one run of both files


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """How far one tensor of the candidate is from the reference's.

    Attributes:
        name: Its name in the reference.
        operator: The operator that writes it there; `input` for an input of the model.
        dtype: Its type in the candidate, such as `uint8` or `float32`.
        sqnr_db: Signal-to-noise ratio; infinite where nothing differs.
        max_abs: Largest difference.
        largest: Largest magnitude in the reference.
        bad: Less than the least ratio, NaN, or far less than every tensor that it is computed from.
    """

    name: str
    operator: str
    dtype: str
    sqnr_db: float
    max_abs: float
    largest: float
    bad: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """Two files, tensor by tensor.

    Attributes:
        tensors: In the order of the reference's graph.
        first_bad: Name of the first bad one; None where all are well.
        images: How many images were compared.
        unmatched: Names of the reference's tensors that the candidate does not have, fused or rewritten ones, say.
    """

    tensors: tuple[TensorDifference, ...]
    first_bad: str | None
    images: int
    unmatched: tuple[str, ...]


def compare_tensors(
    reference: ModelProto, candidate: ModelProto, batches: Iterable[Feeds], *, least_db: float = LEAST_DB, threads: int | None = None
) -> Difference:
    """Run both files on the same images and measure every tensor that both have.

    A tensor is bad if it contains NaN, if its ratio is below `least_db`, or if it is more than 20 dB below the worst of the tensors that it is
    computed from (those count with at most 40 dB where the candidate has integers, else 120 dB: a first 8-bit tensor is not bad because
    its input was exact). What is not in both files is looked through.

    Args:
        reference: The file to be right, float as a rule.
        candidate: Its quantized form, or another export of it; inputs are matched by name, or by position.
        batches: Prepared arrays by the reference's input names; the first dimension counts images. Read once, and cut into portions
            so that the tensors of one run stay within 128 MiB.
        least_db: Smallest ratio that is not bad.
        threads: Threads of the sessions; by default the cores this process may use.

    Raises:
        ConfigError: `least_db` is not a number.
        DataError: There is no image, or one does not fit a model.
        ModelError: The files have no tensor in common, or one of them cannot be run.
    """
    if not math.isfinite(least_db):
        raise ConfigError("the least ratio must be a number", least_db, "10 dB is usual")
    first, second = list_views(reference), list_views(candidate)
    pairs = {name: (first[name], other) for name, other in _matched(reference, candidate, first, second).items()}
    taps = [sorted({pair[side].source for pair in pairs.values()}) for side in (0, 1)]
    sessions = [open_model(model, taps=names, threads=threads) for model, names in zip((reference, candidate), taps, strict=True)]
    noises, dtypes, images = _measure(pairs, _runs(sessions, batches))
    operators = {name: node.op_type for node in reference.graph.node for name in node.output}
    if not images:
        raise DataError("a comparison needs at least one image", "none", "choose a split that has some")
    if not noises.keys() & operators.keys():
        raise ModelError(
            "the two files have no tensor in common", "no name of the one is in the other", "compare two forms of the same model"
        )
    clean_db = _CLEAN_INT8_DB if has_integers(reference) or has_integers(candidate) else _CLEAN_FLOAT_DB
    bad = _find_bad(reference, noises, least_db, clean_db)
    tensors = tuple(
        TensorDifference(name, operators.get(name, "input"), dtypes[name], one.sqnr_db, one.max_abs, one.largest, name in bad)
        for name, one in noises.items()
    )
    return Difference(
        tensors, next((one.name for one in tensors if one.bad), None), images, tuple(name for name in first if name not in pairs)
    )


def _matched(reference: ModelProto, candidate: ModelProto, first: Mapping[str, View], second: Mapping[str, View]) -> dict[str, View]:
    """Return the candidate's view of each of the reference's tensors; outputs that changed their names are matched by position."""
    outputs = {
        one.name: second[other.name]
        for one, other in zip(reference.graph.output, candidate.graph.output, strict=False)
        if one.name in first and one.name not in second and other.name in second and other.name not in first
    }
    return {name: second.get(name) or outputs[name] for name in first if name in second or name in outputs}


def _find_bad(reference: ModelProto, noises: Mapping[str, Noise], least_db: float, clean_db: float) -> set[str]:
    """Return the names of the tensors that are bad, or fell."""
    ratios = {name: one.sqnr_db for name, one in noises.items()}
    bad: set[str] = set()
    for name, sources in ancestors(reference, ratios).items():
        before = min([clean_db, *(ratios[source] for source in sources if not math.isnan(ratios[source]))])
        if not ratios[name] >= max(least_db, before - FALL_DB):  # every comparison with NaN is false
            bad.add(name)
    return bad


def _measure(
    pairs: Mapping[str, tuple[View, View]], runs: Iterable[tuple[int, list[dict[str, Array]]]]
) -> tuple[dict[str, Noise], dict[str, str], int]:
    """Return the noise of each tensor, its type in the candidate, and the number of images."""
    noises: dict[str, Noise] = {}
    dtypes: dict[str, str] = {}
    images = 0
    for count, (one, other) in runs:
        images += count
        for name, (mine, theirs) in pairs.items():
            if _is_real(mine, one) and _is_real(theirs, other):
                noises[name] = noises.get(name, Noise()) + _noise(name, mine.read(one), theirs.read(other), count)
                dtypes[name] = str(other[theirs.source].dtype)
    return noises, dtypes, images


def _is_real(view: View, arrays: Mapping[str, Array]) -> bool:
    """Whether a tensor holds real numbers: no shapes, indices or lists of tensors."""
    return view.source in arrays and (view.scale is not None or np.issubdtype(arrays[view.source].dtype, np.floating))


def _noise(name: str, reference: Array, candidate: Array, count: int) -> Noise:
    if reference.shape != candidate.shape:
        raise ModelError(
            "a tensor has another shape in the other file",
            f"{name}: {reference.shape} and {candidate.shape}",
            "compare two forms of the same model",
        )
    return measure_noise(reference[:count], candidate[:count]) if reference.ndim else measure_noise(reference, candidate)


def _runs(sessions: list[Session], batches: Iterable[Feeds]) -> Iterator[tuple[int, list[dict[str, Array]]]]:
    """Run both files on portions that fit the memory; yield how many images a portion has, and all arrays of each file."""
    fixed = {session.fixed_batch for session in sessions} - {None}
    if len(fixed) > 1:
        raise ModelError("the two files take different numbers of images at once", sorted(map(str, fixed)), "export them with the same")
    size = next(iter(fixed), None)
    portion = size or 1  # the first image tells how much one needs
    for feeds in batches:
        numbers = {name: array for name, array in feeds.items() if not array.ndim}  # the same for every image
        images = {name: array for name, array in feeds.items() if array.ndim}
        total, start = min((len(array) for array in images.values()), default=1), 0
        while start < total:
            part = {name: array[start : start + portion] for name, array in images.items()}
            count = min((len(array) for array in part.values()), default=1)
            if size:
                part = {name: np.resize(array, (size, *array.shape[1:])) for name, array in part.items()}
            arrays = [_run(session, numbers | part) for session in sessions]
            yield count, arrays
            start += count
            if not size:
                portion = max(1, _MEMORY_BYTES * count // max(1, sum(one.nbytes for run in arrays for one in run.values())))


def _run(session: Session, feeds: Feeds) -> dict[str, Array]:
    names = [one.name for one in session.inputs]
    if set(names) != set(feeds) and len(names) == len(feeds):
        feeds = dict(zip(names, feeds.values(), strict=True))
    return _arrays({**feeds, **session.run(feeds)})


def _arrays(values: Mapping[str, object]) -> dict[str, Array]:
    """Leave out sequences of tensors, which are lists."""
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
