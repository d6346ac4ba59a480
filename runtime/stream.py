"""Frames in, results out, in order: the next frames are read and prepared in other threads while the model runs in the caller's.

Pillow and ONNX Runtime let go of the interpreter's lock, so threads are enough.
"""

import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Generic, TypeVar, cast

from .binding import Binding
from .errors import ConfigError
from .line import Line, Others

Frame = TypeVar("Frame")
Result = TypeVar("Result")


class Stream(Generic[Result]):
    """An iterator of results in the order of the frames; `with`, `close()` or losing the last reference to it stops its threads.

    Nothing starts before the first result is asked for. What the source of the frames or a frame raises is raised at its place in the order,
    and ends the stream. A source that blocks for ever is not waited for when the stream closes: its thread ends with its next frame.

    Args:
        frames: The source; read in a thread of its own.
        make: Makes buffers for one frame.
        prepare: Writes a frame into buffers; called in other threads.
        infer: Runs the model on filled buffers; called in the caller's thread.
        waiting: Frames that may wait for the model; more are not read.
        workers: Threads that prepare.
        latest: Keep only the newest frames instead of making the source wait.

    Raises:
        ConfigError: A number is below 1.
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        make: Callable[[], Binding],
        prepare: Callable[[Frame, Binding], Others],
        infer: Callable[[Binding, Others], Result],
        *,
        waiting: int,
        workers: int = 1,
        latest: bool = False,
    ) -> None:
        if waiting < 1 or workers < 1:
            raise ConfigError(
                "a stream needs at least one waiting frame and one worker", f"waiting {waiting}, workers {workers}", "give 1 or more"
            )
        self._line = line = Line(waiting, latest=latest)
        self._start = lambda: line.start(frames, make, cast("Callable[[object, Binding], Others]", prepare), workers)
        self._infer = infer
        # Without waiting for the threads: the collector may run in one of them, and with their lock held.
        weakref.finalize(self, line.stop)

    @property
    def dropped(self) -> int:
        """Frames that were dropped for newer ones so far."""
        return self._line.dropped

    def close(self) -> None:
        """Stop the threads; frames that wait are given up. A second call does nothing."""
        self._line.shut()

    def __iter__(self) -> "Stream[Result]":
        return self

    def __next__(self) -> Result:
        self._start()
        try:
            slot = self._line.take()
            if slot is not None and slot.binding is not None:
                result = self._infer(slot.binding, slot.others)
                self._line.give_back(slot.binding)
                return result
        except BaseException:
            self.close()
            raise
        self.close()
        raise StopIteration

    def __enter__(self) -> "Stream[Result]":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
