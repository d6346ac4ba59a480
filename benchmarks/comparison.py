"""Several models on the same images and the same machine: one record each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..data.splits import Split
from ..runtime.errors import ConfigError, ModelError
from ..runtime.files import sha256
from ..runtime.preprocess import prepare_feeds
from ..runtime.session import Session, open_session
from ..runtime.spec import ModelSpec
from .accuracy import Feeds
from .corruptions import Corruptions
from .duty_cycle import DutyCycle, measure_duty_cycle
from .latency import Comparison, Timing, images_per_second, measure_interleaved
from .records import Record, machine, versions

Describe = Callable[[ModelSpec | None], ModelSpec | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to measure, however it runs.

    Attributes:
        path: Its file.
        spec: What it expects.
        predict: From prepared arrays by input name to logits, shape (N, classes).
        timed: The barest form of the same call: what latency measures.
        provider: Execution provider, or `torch`.
        threads: Threads of one call.
        placement: Provider to number of nodes that it runs.
        profile: Session profile; empty for `torch`.
        fallback_allowed: Whether nodes were allowed to run on the CPU instead of the provider.
    """

    path: Path
    spec: ModelSpec
    predict: Callable[[Feeds], npt.NDArray[np.generic]]
    timed: Callable[[Feeds], object]
    provider: str
    threads: int
    placement: Mapping[str, int] = field(default_factory=dict[str, int])
    profile: str = ""
    fallback_allowed: bool = False


def open_candidate(
    path: Path, *, provider: str, threads: int | None, options: Mapping[str, str] | None = None, describe: Describe = lambda known: known
) -> Candidate:
    """Load an ONNX file for measuring.

    Args:
        path: The file.
        provider: Execution provider.
        threads: Threads; None takes every core this process may use.
        options: Options of the provider.
        describe: From what the file says about itself, or None, to what it expects.

    Raises:
        ModelError: The file cannot be loaded, or nothing says what it expects.
        ProviderError: The provider is unknown or not installed.
        GateError: The provider does not run the nodes.
    """
    return as_candidate(path, open_session(path, provider=provider, threads=threads, options=options), describe)


def as_candidate(path: Path, session: Session, describe: Describe = lambda known: known) -> Candidate:
    """Make a loaded ONNX file ready for measuring.

    Args:
        path: The file.
        session: The file, loaded.
        describe: From what the file says about itself, or None, to what it expects.

    Raises:
        ModelError: Nothing says what the file expects.
    """
    known = describe(session.spec)
    if known is None:
        raise ModelError(
            "the model does not say what it expects",
            path,
            "give --input-size, and --mean, --std or --scale where they are not ImageNet's",
        )
    return Candidate(
        path,
        session.fit(known),
        session.predict,
        session.predict,
        session.provider,
        session.threads,
        session.placement.nodes,
        session.profile,
        session.placement.fallback_allowed,
    )


def compare(
    candidates: Sequence[Candidate],
    images: Split,
    *,
    batch: int = 32,
    timing: Timing | None = None,
    frames_per_s: float | None = None,
    split: str = "test",
    data_fingerprint: str = "",
    corruptions: Corruptions | None = None,
    done: Callable[[int], None] = lambda _images: None,
) -> list[Record]:
    """Measure accuracy on all images, then latency with one image and throughput with a batch, interleaved over the candidates.

    Args:
        candidates: The models; speed-ups are against the first.
        images: What they are scored on; without labels the records have no accuracy.
        batch: Images in a call of the throughput run.
        timing: How long to measure.
        frames_per_s: Measure what a frame costs at this pace, too; None leaves it out.
        split: Name of the images' split, kept in the records.
        data_fingerprint: Kept in the records.
        corruptions: Score disturbed images, too; None leaves them out.
        done: Told after each evaluated batch how many answers it brought; `scoring.count_answers` says how many there will be.

    Raises:
        ConfigError: No candidate, or the batch is empty.
        DataError: The images do not fit the models.
    """
    if not candidates or batch < 1:
        raise ConfigError("bench needs at least one model and one image a batch", f"{len(candidates)} models, batch {batch}", "give a file")
    from .scoring import score_files  # which takes candidates

    scored = score_files(candidates, images, corruptions=corruptions, done=done)
    for one in scored:
        if one.error is not None:
            raise one.error
    single = _interleaved(candidates, images, 1, timing)
    many = _interleaved(candidates, images, batch, timing)
    paced = _paced(candidates, images, frames_per_s) if frames_per_s else {}
    where, installed = machine(), versions()
    return [
        Record(
            file=one.path.name,
            size_bytes=_size_bytes(one.path),
            sha256=sha256(one.path),
            provider=one.provider,
            threads=one.threads,
            latency=single.latency[name],
            machine=where,
            versions=installed,
            batch=batch,
            throughput_images_per_s=images_per_second(many.latency[name], batch),
            accuracy=found.accuracy,
            speedup=single.speedup[name],
            placement=one.placement,
            data_fingerprint=data_fingerprint,
            split=split,
            profile=one.profile,
            fallback_allowed=one.fallback_allowed,
            duty_cycle=paced.get(name),
            agreement=found.agreement,
            corrupted=found.corrupted,
            right=found.right,
        )
        for one, found, name in zip(candidates, scored, single.latency, strict=True)
    ]


def _paced(candidates: Sequence[Candidate], images: Split, frames_per_s: float) -> dict[str, DutyCycle]:
    return measure_duty_cycle(_calls(candidates, images, 1), frames_per_s=frames_per_s)


def _calls(candidates: Sequence[Candidate], images: Split, batch: int) -> dict[str, Callable[[], object]]:
    return {f"{number}: {one.path.name}": partial(one.timed, _first(images, batch, one.spec)) for number, one in enumerate(candidates)}


def _interleaved(candidates: Sequence[Candidate], images: Split, batch: int, timing: Timing | None) -> Comparison:
    """Time all candidates on the same first images."""
    return measure_interleaved(_calls(candidates, images, batch), timing)


def _first(images: Split, count: int, spec: ModelSpec) -> Feeds:
    """Return the first `count` images as one prepared batch; a smaller split is repeated."""
    part = next(images.batches(count, spec.inputs))  # skips damaged images where the data set was opened so
    feeds = prepare_feeds(part.feeds, spec)
    return {name: np.resize(array, (count, *array.shape[1:])) for name, array in feeds.items()}


def _size_bytes(path: Path) -> int:
    """Return a model's size, external data included."""
    if path.suffix != ".onnx" or find_spec("onnx") is None:  # a device measures without onnx
        return path.stat().st_size
    from ..graph.file import files_of

    return sum(one.stat().st_size for one in files_of(path))
