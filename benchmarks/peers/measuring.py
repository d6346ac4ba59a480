"""Measure all files that were made of a model in one process: error against the float file, accuracy, latency, size."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from ...data.splits import Split
from ...graph.file import files_of
from ...runtime.errors import EdgerecError
from ...runtime.preprocess import prepare_feeds
from ...runtime.session import Session, open_session
from ...runtime.spec import ModelSpec
from ..accuracy import wilson
from ..audit import audit
from ..latency import Comparison, Latency, Speedup, Timing, measure_interleaved
from ..noise import Array, Noise, agreement, measure_noise
from ..paired import Flags, count_pairs, newcombe
from .making import Made, Subject

FLOAT = "float"
_BATCH = 50  # images
_PROFILED_RUNS = 20


@dataclass(frozen=True, slots=True)
class Share:
    """A share or a difference with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """One file, or why there is none.

    Attributes:
        case: Name of the model.
        tool: Who made the file; `float` for the original.
        sha256: Of the float file.
        error: Why something is missing, in the tool's own words; empty where all went well.
        size_bytes: Of the file, external data included.
        seconds: From the start of the tool's process to the file.
        own_seconds: The quantization alone, as the tool says itself.
        peak_mb: Largest resident set of the tool's process, 10^6 bytes.
        images: Test images.
        sqnr_db: Of the first output against the float file's.
        agreement: Share of images that get the float file's class.
        top1: Share of images that get their label, Wilson's interval; None without labels.
        drop_points: The float file's top-1 minus this one's, in points, Newcombe's interval of paired data.
        latency: Time of a call with one image on one thread.
        speedup: Times as fast as the float file, in the same rounds.
        int8_macs_share: Part of the multiply-accumulates in integer kernels.
    """

    case: str
    tool: str
    sha256: str = ""
    error: str = ""
    size_bytes: int = 0
    seconds: float | None = None
    own_seconds: float | None = None
    peak_mb: float | None = None
    images: int = 0
    sqnr_db: float | None = None
    agreement: float | None = None
    top1: Share | None = None
    drop_points: Share | None = None
    latency: Latency | None = None
    speedup: Speedup | None = None
    int8_macs_share: float | None = None


@dataclass(slots=True)
class _Answers:
    """What one file said so far."""

    noise: Noise = field(default_factory=Noise)
    agrees: list[Flags] = field(default_factory=list[Flags])
    right: list[Flags] = field(default_factory=list[Flags])


def measure(subject: Subject, made: Sequence[Made], timing: Timing, images: int | None = None) -> list[Row]:
    """Return one row for the float file, and one for each that was made of it.

    Args:
        subject: The model and its data.
        made: Files, or why there are none.
        timing: How long latency is measured.
        images: Test images at most, beside the case's own limit.

    Raises:
        EdgerecError: The float file itself cannot be run.
    """
    limits = [one for one in (images, subject.case.test_images) if one]
    test = subject.images.test.take(min(limits)) if limits else subject.images.test
    float_row = Row(subject.name, FLOAT, subject.sha256)
    rows = [float_row, *(_row_of(subject, one) for one in made)]
    paths = {FLOAT: subject.path, **{one.tool: one.path for one in made if not one.error}}
    first = prepare_feeds(next(test.batches(1, subject.spec.inputs)).feeds, subject.spec)
    sessions, broken = _open(paths, first)
    answers = _answers(sessions, test, subject.spec, labelled=subject.case.is_trained and test.labels is not None)
    times = measure_interleaved({name: partial(one.run, first) for name, one in sessions.items()}, timing)
    measured = {name: _filled(answers, name, paths[name], times, first) for name in sessions}
    return [replace(row, error=broken.get(row.tool, row.error), **measured.get(row.tool, {})) for row in rows]


def _row_of(subject: Subject, made: Made) -> Row:
    if made.error:
        return Row(subject.name, made.tool, subject.sha256, made.error)
    return Row(subject.name, made.tool, subject.sha256, seconds=made.seconds, own_seconds=made.own_seconds, peak_mb=made.peak_mb)


def _open(paths: Mapping[str, Path], first: Mapping[str, Array]) -> tuple[dict[str, Session], dict[str, str]]:
    """Open the files on one thread; those that do not run are told apart, except the float file."""
    sessions: dict[str, Session] = {}
    broken: dict[str, str] = {}
    for name, path in paths.items():
        try:
            session = open_session(path, threads=1)
            session.run(first)
            sessions[name] = session
        except EdgerecError as error:
            if name == FLOAT:
                raise
            broken[name] = f"the file does not run: {error.problem} ({error.given})"
    return sessions, broken


def _answers(sessions: Mapping[str, Session], test: Split, spec: ModelSpec, *, labelled: bool) -> dict[str, _Answers]:
    found = {name: _Answers() for name in sessions}
    for batch in test.batches(_BATCH, spec.inputs):
        feeds = prepare_feeds(batch.feeds, spec)
        outputs = {name: session.predict(feeds) for name, session in sessions.items()}
        for name, logits in outputs.items():
            own = found[name]
            own.noise += measure_noise(outputs[FLOAT], logits)
            own.agrees.append(agreement(outputs[FLOAT], logits))
            if labelled and batch.labels is not None:
                own.right.append(logits.argmax(axis=1) == batch.labels)
    return found


def _filled(answers: Mapping[str, _Answers], name: str, path: Path, times: Comparison, first: Mapping[str, Array]) -> dict[str, object]:
    """Return the measured fields of one row by name."""
    own = answers[name]
    right = np.concatenate(own.right) if own.right else None
    drop = None
    if right is not None and name != FLOAT:
        pairs = count_pairs(np.concatenate(answers[FLOAT].right), right)
        drop = Share(pairs.drop_points, *newcombe(pairs))
    agrees = np.concatenate(own.agrees)
    is_quantized = name != FLOAT
    return {
        "size_bytes": sum(one.stat().st_size for one in files_of(path)),
        "images": len(agrees),
        "sqnr_db": own.noise.sqnr_db if is_quantized else None,
        "agreement": float(agrees.mean()) if is_quantized else None,
        "top1": Share(float(right.mean()), *wilson(int(right.sum()), len(right))) if right is not None else None,
        "drop_points": drop,
        "latency": times.latency[name],
        "speedup": times.speedup[name],
        "int8_macs_share": _int8_share(path, first) if is_quantized else None,
    }


def _int8_share(path: Path, first: Mapping[str, Array]) -> float | None:
    with contextlib.suppress(EdgerecError):  # a profile that cannot be read costs this figure only
        return audit(path, feeds=first, runs=_PROFILED_RUNS).int8_macs_share
    return None


def as_json(row: Row) -> dict[str, object]:
    """Return a row for a JSON file; what was not measured is left out, and infinity is the text `inf`."""
    found = {name: value for name, value in asdict(row).items() if value is not None}
    if row.sqnr_db is not None and not math.isfinite(row.sqnr_db):
        found["sqnr_db"] = str(row.sqnr_db)
    return found
