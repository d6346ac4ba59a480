"""Streams: order, overlap, stale frames, exceptions, and threads that end."""

import gc
import itertools
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edgerec.runtime.errors import ConfigError, DataError
from edgerec.runtime.line import Line, Slot
from edgerec.runtime.stream import Stream

PATIENCE_S = 10.0


class Box:
    """Stands in for a binding: holds what was prepared."""

    made = 0

    def __init__(self) -> None:
        Box.made += 1
        self.value: object = None


def stream(frames: object, prepare: Callable[[object], object] = lambda frame: frame, **options: object) -> Stream[object]:
    """A stream whose model returns what was prepared."""

    def write(frame: object, box: Box) -> dict[str, np.ndarray]:
        box.value = prepare(frame)
        return {}

    return Stream(frames, Box, write, lambda box, others: box.value, **{"waiting": 4, **options})  # type: ignore[arg-type]


def threads_of_streams() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("edgerec-")]


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def no_thread_survives() -> Iterator[None]:
    yield
    gc.collect()
    wait_until(lambda: not threads_of_streams())


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("waiting", [1, 4])
def test_results_come_in_order_and_whole(workers: int, waiting: int) -> None:
    def slow_now_and_then(frame: object) -> object:
        time.sleep(0.003 if int(str(frame)) % 7 == 0 else 0)
        return frame

    Box.made = 0
    assert list(stream(range(50), slow_now_and_then, workers=workers, waiting=waiting)) == list(range(50))
    assert Box.made <= workers + waiting + 1, "buffers are used again"
    assert list(stream([])) == []


def test_nothing_starts_before_the_first_result_is_asked_for() -> None:
    read: list[int] = []
    one = stream(read.append(number) or number for number in range(3))
    time.sleep(0.02)
    assert read == []
    assert next(one) == 0
    one.close()


def test_frames_are_prepared_while_the_model_runs() -> None:
    prepared = threading.Event()

    def prepare(frame: object) -> object:
        if frame == 1:
            prepared.set()
        return frame

    def infer(box: Box, others: object) -> object:
        if box.value == 0:
            assert prepared.wait(PATIENCE_S), "the next frame must be prepared meanwhile"
        return box.value

    def write(frame: object, box: Box) -> dict[str, np.ndarray]:
        box.value = prepare(frame)
        return {}

    assert list(Stream(range(2), Box, write, infer, waiting=4)) == [0, 1]  # type: ignore[arg-type]


def test_the_source_is_not_read_further_than_asked() -> None:
    read: list[int] = []
    one = stream((read.append(number) or number for number in itertools.count()), waiting=3)
    assert next(one) == 0
    time.sleep(0.05)
    assert len(read) <= 1 + 3 + 1, "three wait, one stands at the door"
    one.close()


def test_a_bad_frame_is_raised_at_its_place_and_ends_the_stream() -> None:
    def prepare(frame: object) -> object:
        if frame == 2:
            raise DataError("bad", frame)
        return frame

    one = stream(range(9), prepare, workers=2)
    assert [next(one), next(one)] == [0, 1]
    with pytest.raises(DataError, match="bad: 2"):
        next(one)
    assert list(one) == []


def test_a_failing_source_is_raised_behind_its_frames() -> None:
    def frames() -> Iterator[int]:
        yield 0
        yield 1
        raise OSError("camera unplugged")

    one = stream(frames())
    assert [next(one), next(one)] == [0, 1]
    with pytest.raises(OSError, match="unplugged"):
        next(one)
    assert list(one) == []


def test_a_failing_model_ends_the_stream() -> None:
    def fail(box: object, others: object) -> object:
        raise RuntimeError("model")

    one = Stream(itertools.count(), Box, lambda frame, box: {}, fail, waiting=4)  # type: ignore[arg-type,var-annotated]
    with pytest.raises(RuntimeError, match="model"):
        next(one)
    assert list(one) == []


def test_closing_early_stops_the_threads() -> None:
    with stream(itertools.count(), workers=2) as one:
        assert next(one) == 0
        assert len(threads_of_streams()) == 3
    assert not threads_of_streams()
    assert list(one) == []
    one.close()


def test_a_stream_that_nobody_holds_stops_its_threads() -> None:
    one = stream(itertools.count())
    assert next(one) == 0
    del one
    gc.collect()
    wait_until(lambda: not threads_of_streams())


def test_closing_does_not_wait_for_a_source_that_blocks() -> None:
    free = threading.Event()

    def frames() -> Iterator[int]:
        yield 0
        free.wait(PATIENCE_S)
        yield 1

    one = stream(frames())
    assert next(one) == 0
    start = time.monotonic()
    one.close()
    assert time.monotonic() - start < 2
    free.set()


def test_closing_from_another_thread_frees_a_waiting_caller() -> None:
    free = threading.Event()

    def frames() -> Iterator[int]:
        free.wait(PATIENCE_S)
        yield 0

    one = stream(frames())
    threading.Timer(0.05, one.close).start()
    assert list(one) == []
    free.set()


def test_latest_drops_stale_frames_and_counts_them() -> None:
    given = 0

    def frames() -> Iterator[int]:
        nonlocal given
        for number in range(200):
            given += 1
            yield number
            time.sleep(0.001)

    found = []
    one = stream(frames(), latest=True)
    for result in one:
        found.append(int(str(result)))
        time.sleep(0.01)  # ten times slower than the camera
    assert found == sorted(set(found))
    assert found[-1] == 199, "the newest frame is never dropped"
    assert 2 <= len(found) < 100
    assert len(found) + one.dropped == given == 200


def test_latest_gets_on_where_preparing_is_slower_than_the_source() -> None:
    def prepare(frame: object) -> object:
        time.sleep(0.01)
        return frame

    one = stream(itertools.count(), prepare, latest=True, workers=2)
    found = [int(str(next(one))) for _ in range(5)]
    one.close()
    assert found == sorted(found)
    assert one.dropped > 5


def test_a_line_in_latest_mode_stays_short_whatever_comes() -> None:
    line = Line(4, latest=True)
    for number in range(10_000):
        assert line._add(Slot(number))
    assert (len(line._waiting), line.dropped) == (1, 9_999)


@pytest.mark.parametrize("options", [{"waiting": 0}, {"workers": 0}])
def test_numbers_below_one_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        stream([], **options)
