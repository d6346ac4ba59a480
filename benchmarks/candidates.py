"""Models that are measured, however they run: ONNX files in a session, or anything that answers prepared arrays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..runtime.errors import ModelError
from ..runtime.session import Session, open_session
from ..runtime.spec import ModelSpec
from .accuracy import Feeds

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


def size_bytes(path: Path) -> int:
    """Return a model's size, external data included."""
    if path.suffix != ".onnx" or find_spec("onnx") is None:  # a device measures without onnx
        return path.stat().st_size
    from ..graph.file import files_of

    return sum(one.stat().st_size for one in files_of(path))
