"""So that a GPU never waits for the host: copies that do not block, and batches that are prepared ahead."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy from the host without waiting for what the device still has to do.

    Only copies from page-locked memory are asynchronous
    (https://docs.pytorch.org/docs/stable/notes/cuda.html#use-pinned-memory-buffers).
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def ahead(items: Iterator[T], depth: int = 3) -> Iterator[T]:
    """Yield what an iterator gives, while a thread already fetches the next ones.

    Args:
        items: Used by the thread alone; what it raises is raised here.
        depth: How many are fetched ahead.
    """
    done = object()
    ready: queue.Queue[object] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: object) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(done)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not done:
            if isinstance(item, BaseException):
                raise item
            yield cast("T", item)
    finally:
        stopped.set()
        thread.join()
