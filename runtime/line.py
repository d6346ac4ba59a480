"""The line of frames between the threads of a stream: read in one, prepared in some, taken in order by the caller.

One lock guards everything, and every wait ends with `stop`. The threads know the line but not the stream, so that a stream nobody holds
is collected, and stops its line.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .binding import Binding

Others = Mapping[str, npt.NDArray[np.generic]]

_READER_S = 0.2  # how long closing waits for a source that may block for ever


@dataclass(slots=True, eq=False)
class Slot:
    """One frame on its way.

    Attributes:
        frame: What came from the source; None once a thread prepares it.
        binding: The buffers it is prepared in.
        others: Arrays for inputs that take no image.
        error: Why it could not be prepared.
        done: It is prepared, or failed.
        dropped: A newer one took its place.
    """

    frame: object
    binding: Binding | None = None
    others: Others = field(default_factory=dict[str, npt.NDArray[np.generic]])
    error: BaseException | None = None
    done: bool = False
    dropped: bool = False


class Line:
    """Frames in order.

    Args:
        limit: Frames that may wait, prepared or not.
        latest: Instead of letting the source wait, keep the newest frame that no thread has begun, and the newest prepared one.

    Attributes:
        dropped: Frames that newer ones replaced.
    """

    def __init__(self, limit: int, *, latest: bool) -> None:
        self.dropped = 0
        self._limit = limit
        self._latest = latest
        self._changed = threading.Condition()
        self._waiting: deque[Slot] = deque()  # in order
        self._todo: deque[Slot] = deque()  # those of them that no thread has begun
        self._spare: list[Binding] = []
        self._ended = self._shut = False
        self._failure: BaseException | None = None
        self._threads: list[threading.Thread] = []

    def start(
        self, frames: Iterable[object], make: Callable[[], Binding], prepare: Callable[[object, Binding], Others], workers: int
    ) -> None:
        """Start the threads, unless they run already."""
        with self._changed:
            if self._threads or self._shut:
                return
            # Daemons: a camera that never gives another frame must not keep the process alive.
            reader = threading.Thread(target=self._read, args=(frames,), name="edgerec-read", daemon=True)
            self._threads = [
                reader,
                *(threading.Thread(target=self._work, args=(make, prepare), name="edgerec-prepare", daemon=True) for _ in range(workers)),
            ]
        for thread in self._threads:
            thread.start()

    def take(self) -> Slot | None:
        """Return the next prepared frame, or None behind the last one.

        Raises:
            BaseException: What the source, or this frame, has raised.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._shut or (self._waiting[0].done if self._waiting else self._ended))
            if self._shut:
                return None
            if not self._waiting:
                if self._failure is not None:
                    raise self._failure
                return None
            slot = self._waiting.popleft()
            self._changed.notify_all()
        if slot.error is not None:
            raise slot.error
        return slot

    def give_back(self, binding: Binding) -> None:
        """Let another frame use these buffers."""
        with self._changed:
            self._spare.append(binding)

    def stop(self) -> None:
        """Give up what waits, and let the threads end; the reader ends with its next frame."""
        with self._changed:
            self._shut = True
            self._waiting.clear()
            self._todo.clear()
            self._spare.clear()
            self._changed.notify_all()

    def shut(self) -> None:
        """Stop, and wait for the threads."""
        self.stop()
        for thread in self._threads:
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(_READER_S if thread is self._threads[0] else None)

    def _read(self, frames: Iterable[object]) -> None:
        try:
            for frame in frames:
                if not self._add(Slot(frame)):
                    return
        except BaseException as error:  # whatever the source raises belongs to the caller
            self._failure = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _add(self, slot: Slot) -> bool:
        with self._changed:
            if self._latest:
                for old in self._todo:
                    self._waiting.remove(old)
                self.dropped += len(self._todo)
                self._todo.clear()
            else:
                self._changed.wait_for(lambda: self._shut or len(self._waiting) < self._limit)
            if self._shut:
                return False
            self._waiting.append(slot)
            self._todo.append(slot)
            self._changed.notify_all()
        return True

    def _work(self, make: Callable[[], Binding], prepare: Callable[[object, Binding], Others]) -> None:
        while (begun := self._begin()) is not None:
            slot, frame = begun
            try:
                slot.binding = slot.binding or make()
                slot.others = prepare(frame, slot.binding)
            except BaseException as error:  # raised in the caller's thread, at the frame's place
                slot.error = error
            begun = frame = None  # or this thread would keep the last frame alive
            self._finish(slot)

    def _begin(self) -> tuple[Slot, object] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._shut or self._todo or self._ended)
            if self._shut or not self._todo:
                return None
            slot = self._todo.popleft()
            slot.binding = self._spare.pop() if self._spare else None
            frame, slot.frame = slot.frame, None
            return slot, frame

    def _finish(self, slot: Slot) -> None:
        with self._changed:
            slot.done = True
            if self._shut:
                return
            if slot.dropped:
                self._spare += [slot.binding] if slot.binding else []
            elif self._latest:
                self._drop_before(slot)
            self._changed.notify_all()

    def _drop_before(self, slot: Slot) -> None:
        """What is older than a prepared frame is stale, prepared or not."""
        while self._waiting[0] is not slot:
            old = self._waiting.popleft()
            old.dropped = True
            self.dropped += 1
            if old.done and old.binding is not None:
                self._spare.append(old.binding)
