"""A whole benchmark: several files, each in processes of its own, their times, accuracy, memory and place under the machine's roof.

document = bench_files([open_row(Configuration(Path("a.onnx"))), open_row(Configuration(Path("b.onnx")))], images)
document.records[1].speedup   # against a.onnx, with its interval
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..data.splits import Split
from ..runtime.errors import ConfigError
from ..runtime.files import sha256
from ..runtime.preprocess import prepare_feeds
from ..runtime.session import Session, open_session
from .candidates import Candidate, Describe, as_candidate, size_bytes
from .configurations import Configuration
from .corruptions import Corruptions
from .document import Document, Failed
from .duty_cycle import DutyCycle, measure_duty_cycle
from .measuring import Extras, Measured, measure_files
from .records import Record, machine, versions
from .rounds import Schedule
from .scoring import Scored, count_answers, score_files
from .workers import Launch, launch

# Of what is being done: a stage's name, and how much of it is done and there is.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the benchmark.

    Attributes:
        configuration: How it is timed, in a process of its own.
        candidate: The same model in this process, to be scored. Rows that differ in threads or batch only may share one.
    """

    configuration: Configuration
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Images:
    """What files are scored on.

    Attributes:
        split: The images.
        name: Of the split.
        fingerprint: Of its data set.
    """

    split: Split
    name: str = "test"
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Beside:
    """What is measured beside time and accuracy.

    Attributes:
        extras: In the measuring processes; without an image of their own the stages take the first of the split.
        corruptions: Score disturbed images, too; None leaves them out.
        frames_per_s: What a frame costs at this pace; None leaves it out.
        has_roofline: Find each file's place under the machine's roof, on the CPU.
    """

    extras: Extras = field(default_factory=Extras)
    corruptions: Corruptions | None = None
    frames_per_s: float | None = None
    has_roofline: bool = False


@dataclass(slots=True)
class _Found:
    """What is known so far; everything that is missing when the user ends it stays out of the records."""

    measured: dict[int, Measured]
    failures: list[Failed]
    scored: dict[int, Scored]
    paced: dict[int, DutyCycle]
    records: list[Record]
    partial: bool = False


def open_row(
    configuration: Configuration, describe: Describe = lambda known: known, tell: Callable[[Session], None] = lambda _session: None
) -> Row:
    """Load an ONNX file for a benchmark.

    Args:
        configuration: The file and how it is run.
        describe: From what the file says about itself, or None, to what it expects.
        tell: Told the session: what `auto` chose, and what fell back.

    Raises:
        ModelError: The file cannot be loaded, or nothing says what it expects.
        ProviderError: The provider is unknown or not installed.
        GateError: The provider does not run the nodes.
    """
    session = open_session(
        configuration.file,
        provider=configuration.provider,
        profile=configuration.profile,
        threads=configuration.threads,
        options=configuration.options,
        allow_fallback=configuration.allow_fallback,
        min_on_provider=configuration.min_on_provider,
    )
    tell(session)
    return Row(configuration, as_candidate(configuration.file, session, describe))


def bench_files(
    rows: Sequence[Row],
    images: Images | None = None,
    schedule: Schedule | None = None,
    beside: Beside | None = None,
    *,
    progress: Progress = lambda _stage, _done, _all: None,
    command: Launch = launch,
) -> Document:
    """Measure, then score. Ctrl-C ends it, and what is done is returned, marked as partial.

    A row that fails is among the document's failures with its reason, and the others go on; one that is measured, but cannot be scored, is
    in both places.

    Args:
        rows: The first is the reference of the accuracies; the first of each batch that of the speed-ups.
        images: What they are scored on, and timed with; without it the inputs are random, and there is no accuracy.
        schedule: How long.
        beside: What else is measured.
        progress: Told how far it is.
        command: From a configuration and its cores to the process that measures it.

    Raises:
        ConfigError: There is no row.
        DataError: The split is empty or cannot be read.
    """
    if not rows:
        raise ConfigError("there is nothing to measure", "no file", "give at least one")
    beside, found = beside or Beside(), _Found({}, [], {}, {}, [])
    try:
        with TemporaryDirectory(prefix="edgerec-") as folder:
            prepared = _prepare(rows, images, Path(folder))
            picture = beside.extras.image or (_picture(rows, images, Path(folder)) if images else None)
            _measure_(found, prepared, schedule, replace(beside.extras, image=picture), partial(progress, "measure"), command)
        if not found.partial and images:
            _score_(found, rows, images, beside, partial(progress, "score"))
        if not found.partial and images and beside.frames_per_s:
            _pace_(found, rows, images, beside.frames_per_s)
    except KeyboardInterrupt:
        found.partial = True
    _record_(found, rows, images)
    if beside.has_roofline and not found.partial:
        _place_(found, rows, partial(progress, "roofline"))
    return Document(tuple(found.records), tuple(found.failures), partial=found.partial)


def _prepare(rows: Sequence[Row], images: Images | None, folder: Path) -> list[Configuration]:
    """Write each row's first images as prepared arrays; rows of one model share a file."""
    if images is None:
        return [one.configuration for one in rows]
    most = max(one.configuration.batch for one in rows)
    files: dict[int, Path] = {}
    for row in rows:
        key = id(row.candidate)
        if key not in files and row.candidate.spec.inputs:
            part = next(images.split.batches(min(most, len(images.split)), row.candidate.spec.inputs))
            files[key] = folder / f"{len(files)}.npz"
            np.savez(files[key], **prepare_feeds(part.feeds, row.candidate.spec))  # pyright: ignore[reportArgumentType]
    return [replace(one.configuration, inputs=files.get(id(one.candidate))) for one in rows]


def _picture(rows: Sequence[Row], images: Images, folder: Path) -> Path | None:
    """Write the first image as PNG, for the stages; None where there is no single image."""
    inputs = rows[0].candidate.spec.inputs
    if len(inputs) != 1:
        return None
    pixels = next(images.split.batches(1, inputs)).feeds[inputs[0].name][0]
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        return None
    from PIL import Image

    file = folder / "first.png"
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file)
    return file


def _measure_(
    found: _Found,
    configurations: Sequence[Configuration],
    schedule: Schedule | None,
    extras: Extras,
    done: Callable[[int, int], None],
    command: Launch,
) -> None:
    measurements = measure_files(configurations, schedule, extras, progress=done, command=command)
    found.measured = {configurations.index(one.configuration): one for one in measurements.measured}
    found.failures += measurements.failures
    found.partial = measurements.partial


def _score_(found: _Found, rows: Sequence[Row], images: Images, beside: Beside, tell: Callable[[int, int], None]) -> None:
    """Score every model once, however many rows it has."""
    alive = [row for at, row in enumerate(rows) if at in found.measured]
    candidates = list({id(row.candidate): row.candidate for row in alive}.values())
    if not candidates:
        return
    total, count = count_answers(candidates, images.split, beside.corruptions), 0

    def done(answers: int) -> None:
        nonlocal count
        count += answers
        tell(count, total)

    scored = score_files(candidates, images.split, corruptions=beside.corruptions, done=done)
    results = {id(candidate): one for candidate, one in zip(candidates, scored, strict=True)}
    found.scored = {at: results[id(rows[at].candidate)] for at in found.measured}
    for at, one in found.scored.items():
        if one.error is not None:
            found.failures.append(failed(rows[at].configuration, one.error))


def _pace_(found: _Found, rows: Sequence[Row], images: Images, frames_per_s: float) -> None:
    singles = [at for at in found.measured if rows[at].configuration.batch == 1]
    if not singles:
        return
    calls: dict[str, Callable[[], object]] = {}
    for at in singles:
        spec = rows[at].candidate.spec
        feeds = prepare_feeds(next(images.split.batches(1, spec.inputs)).feeds, spec)
        calls[str(at)] = partial(rows[at].candidate.timed, feeds)
    found.paced = {int(name): one for name, one in measure_duty_cycle(calls, frames_per_s=frames_per_s).items()}


def _record_(found: _Found, rows: Sequence[Row], images: Images | None) -> None:
    where, installed = machine(), versions()
    for at, one in found.measured.items():
        candidate, scored = rows[at].candidate, found.scored.get(at) or Scored()
        found.records.append(
            Record(
                file=candidate.path.name,
                size_bytes=size_bytes(candidate.path),
                sha256=sha256(candidate.path),
                provider=one.provider,
                threads=one.threads,
                latency=one.latency,
                machine=where,
                versions=installed,
                batch=one.configuration.batch,
                throughput_images_per_s=one.images_per_s,
                accuracy=scored.accuracy,
                speedup=one.speedup,
                placement=one.placement,
                data_fingerprint=images.fingerprint if images else "",
                split=images.name if images else "",
                profile=candidate.profile,
                fallback_allowed=candidate.fallback_allowed,
                duty_cycle=found.paced.get(at),
                watch=one.watch,
                resources=one.resources,
                stages=one.stages,
                scenarios=one.scenarios,
                agreement=scored.agreement,
                corrupted=scored.corrupted,
                right=scored.right,
                notes=one.notes,
            )
        )


def _place_(found: _Found, rows: Sequence[Row], tell: Callable[[int, int], None]) -> None:
    """Put each file that the CPU runs under the roof."""
    from .roofline import roofline

    for number, (at, one) in enumerate(zip(found.measured, found.records, strict=True)):
        if one.provider == "cpu" and one.batch == 1:
            candidate = rows[at].candidate
            place = roofline(candidate.path, threads=one.threads, images=candidate.spec.inputs, p50_ms=one.latency.p50_ms)
            found.records[number] = replace(one, roofline=place)
        tell(number + 1, len(found.records))


def failed(configuration: Configuration, error: Exception) -> Failed:
    """Return why a row gave no figures, without the folders of its file."""
    told = " ".join(str(error).split()).replace(str(configuration.file), configuration.file.name)
    return Failed(configuration.file.name, configuration.provider, configuration.thread_count, told)
