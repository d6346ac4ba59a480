"""What a measuring process runs: a model that is loaded, what it is fed, and its barest call."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import numpy.typing as npt

from ..runtime.errors import DataError
from .configurations import Configuration

if TYPE_CHECKING:
    from ..runtime.session import Session

Feeds = dict[str, npt.NDArray[np.generic]]
Call = Callable[[], object]


class Loaded(Protocol):
    """A loaded model; ONNX Runtime's is `LoadedFile`, others bring their own.

    Attributes:
        facts: `provider`, `threads`, `profile`, `placement` and `fallback_allowed`, as the parent is told.
        session: The session; None where it is no ONNX file.
    """

    facts: dict[str, object]
    session: "Session | None"

    def feeds(self, batch: int) -> Feeds:
        """Return arrays for one call with `batch` images."""
        ...

    def check(self, feeds: Feeds) -> None:
        """Run once, and refuse what does not fit with a message that names the input."""
        ...

    def bare_call(self, feeds: Feeds) -> Call:
        """Return the barest call of the model."""
        ...


class LoadedFile:
    """An ONNX file in ONNX Runtime."""

    def __init__(self, configuration: Configuration) -> None:
        from ..runtime.session import open_session

        self.inputs = configuration.inputs
        self.session: Session | None = open_session(
            configuration.file,
            provider=configuration.provider,
            profile=configuration.profile,
            threads=configuration.thread_count,
            options=configuration.options,
            allow_fallback=configuration.allow_fallback,
            min_on_provider=configuration.min_on_provider,
        )
        self.facts: dict[str, object] = {
            "provider": self.session.provider,
            "threads": self.session.threads,
            "profile": self.session.profile,
            "placement": dict(self.session.placement.nodes),
            "fallback_allowed": self.session.placement.fallback_allowed,
        }

    def feeds(self, batch: int) -> Feeds:
        """Return arrays for one call with `batch` images; fewer given ones are repeated."""
        return feeds_for(cast("Session", self.session), batch, self.inputs)

    def check(self, feeds: Feeds) -> None:
        """Run once through the session's own checks."""
        cast("Session", self.session).predict(feeds)

    def bare_call(self, feeds: Feeds) -> Call:
        """Return ONNX Runtime's own `run`; a fixed batch of another size goes in portions."""
        session = cast("Session", self.session)
        if session.fixed_batch not in (None, max((len(array) for array in feeds.values() if array.ndim), default=0)):
            return lambda: session.predict(feeds)
        ort = session.ort
        return lambda: ort.run(None, feeds)


def feeds_for(session: "Session", batch: int, inputs: Path | None = None) -> Feeds:
    """Return arrays for one call with `batch` images.

    Args:
        session: The model.
        batch: Images; fewer given ones are repeated.
        inputs: A file of prepared arrays; None makes random ones.

    Raises:
        DataError: The file cannot be read, or lacks an input.
        ConfigError: A size is not known.
    """
    from ..runtime.random_feeds import random_feeds

    found = random_feeds(session.inputs, session.spec.inputs if session.spec else ()) if inputs is None else _read(session, inputs)
    return repeated(found, batch)


def repeated(feeds: Feeds, batch: int) -> Feeds:
    """Return arrays with `batch` rows: the first ones, from the start again where there are fewer."""
    return {name: np.resize(array, (batch, *array.shape[1:])) if array.ndim else array for name, array in feeds.items()}


def _read(session: "Session", inputs: Path) -> Feeds:
    loaded = read_arrays(inputs, session.inputs[0].name)
    if missing := [one.name for one in session.inputs if one.name not in loaded]:
        raise DataError("the prepared inputs lack an input of the model", ", ".join(missing), f"it has {', '.join(loaded)}")
    return {one.name: loaded[one.name] for one in session.inputs}


def read_arrays(inputs: Path, name: str = "") -> Feeds:
    """Return prepared arrays by input name.

    Args:
        inputs: A `.npz` file, or a `.npy` file of the only input.
        name: That input's name.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        loaded = np.load(inputs, allow_pickle=False)
        arrays = {name: loaded} if isinstance(loaded, np.ndarray) else {key: loaded[key] for key in loaded.files}
    except (OSError, ValueError, EOFError) as error:
        raise DataError("the prepared inputs cannot be read", f"{inputs.name} ({error})", "give a .npz or .npy file") from error
    return cast("Feeds", arrays)
