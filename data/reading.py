"""Reading ahead with threads, so that decoding keeps every core busy and memory stays bounded."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ..runtime.cores import usable_cores

T = TypeVar("T")

# A task reads a few images, because handing one over costs about as much as resizing a 28-pixel image. Four tasks a thread in flight
# keep decoding going while the caller works on a batch: 64 images, 10 MB at 224 pixels, on two cores.
IMAGES_A_TASK = 8
TASKS_A_THREAD = 4


def read_ahead(read: Callable[[int], T], rows: Sequence[int], workers: int | None) -> Iterator[tuple[int, T]]:
    """Yield `(row, read(row))` in the order of `rows`, reading a bounded number of rows ahead in threads.

    Pillow lets go of the interpreter's lock while it decodes and resizes, so threads are enough. Closing the iterator early stops them.

    Args:
        read: Called in several threads at once; what it raises is raised here.
        rows: What to read.
        workers: Number of threads; None takes all usable cores.
    """
    threads = workers or usable_cores()
    pending: deque[Future[list[tuple[int, T]]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="edgerec-read")
    try:
        for start in range(0, len(rows), IMAGES_A_TASK):
            pending.append(pool.submit(_read_each, read, rows[start : start + IMAGES_A_TASK]))
            if len(pending) >= threads * TASKS_A_THREAD:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read_each(read: Callable[[int], T], rows: Sequence[int]) -> list[tuple[int, T]]:
    return [(row, read(row)) for row in rows]
