"""Where the time of one prediction goes: from the bytes of an image file to labels. Runs in the measuring process; Pillow decodes."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..runtime.binding import Binding
from ..runtime.errors import DataError, ModelError
from ..runtime.intake import read_image
from ..runtime.packed import as_input
from ..runtime.preprocess import normalize, to_pixels
from ..runtime.scores import rank
from ..runtime.session import Session
from .measured import Stages

SETTLING = 3  # first predictions load Pillow's decoder and make the buffers


def measure_stages(session: Session, image: Path, runs: int) -> Stages:
    """Time each part of a prediction, `runs` times, and return the medians.

    The parts are those that `Recognizer.predict` goes through: decode the file's bytes; resize and normalise; copy into the model's buffer;
    run; softmax, sort and label.

    Args:
        session: A classifier that says what it expects.
        image: The image file; it is read from disk once.
        runs: How often.

    Raises:
        ModelError: The file does not say what it expects, or is no classifier of one image.
        DataError: The image cannot be read.
    """
    spec = session.spec
    if spec is None or len(spec.inputs) != 1 or spec.task != "classification":
        raise ModelError("stages are those of a classifier of one image", "a file that does not say it is one", "add a spec to the file")
    try:
        data = image.read_bytes()
    except OSError as error:
        raise DataError("the image cannot be read", f"{image.name} ({error.strerror})", "check the path") from error
    lap = _packed(session, data) if spec.packed else _plain(session, data)
    laps = [lap() for _ in range(runs + SETTLING)][SETTLING:]
    return Stages(*(statistics.median(part) / 1e6 for part in zip(*laps, strict=True)))


def _plain(session: Session, data: bytes) -> Callable[[], tuple[int, ...]]:
    assert session.spec is not None
    spec = session.fit(session.spec)
    binding = Binding(session, {spec.input.name: spec.input.shape}, session.fixed_batch or 1)
    into, clock = binding.inputs[spec.input.name], time.perf_counter_ns

    def lap() -> tuple[int, ...]:
        begun = clock()
        pixels = read_image(data)
        decoded = clock()
        tensor = normalize(to_pixels(pixels, spec.input)[np.newaxis], spec.input)
        prepared = clock()
        np.copyto(into, tensor, "same_kind")
        copied = clock()
        found = binding.run()
        ran = clock()
        rank(found[:1], spec, 5)
        return decoded - begun, prepared - decoded, copied - prepared, ran - copied, clock() - ran

    return lap


def _packed(session: Session, data: bytes) -> Callable[[], tuple[int, ...]]:
    """A packed file resizes, normalises and scores by itself: that time is inside its run."""
    assert session.spec is not None
    spec, clock = session.spec, time.perf_counter_ns

    def lap() -> tuple[int, ...]:
        begun = clock()
        pixels = read_image(data)
        decoded = clock()
        given = as_input(pixels, spec)
        prepared = clock()
        feeds = {session.inputs[0].name: np.ascontiguousarray(given)}
        copied = clock()
        found = session.predict(feeds)
        ran = clock()
        rank(found, spec, 5)
        return decoded - begun, prepared - decoded, copied - prepared, ran - copied, clock() - ran

    return lap
