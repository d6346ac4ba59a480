"""Reading ahead: order, bounds, errors."""

import threading

import pytest

from edgerec.data.reading import IMAGES_A_TASK, TASKS_A_THREAD, read_ahead


def test_rows_come_in_order_whatever_the_threads_do() -> None:
    rows = list(range(100, 0, -1))
    assert list(read_ahead(lambda row: row * row, rows, 4)) == [(row, row * row) for row in rows]


def test_looking_ahead_is_bounded() -> None:
    read: list[int] = []
    stream = read_ahead(lambda row: read.append(row), range(10_000), 2)
    next(stream)
    stream.close()
    assert len(read) <= 2 * TASKS_A_THREAD * IMAGES_A_TASK


def test_several_threads_read_at_once() -> None:
    both = threading.Barrier(2, timeout=10)  # breaks unless two rows are being read at the same time
    rows = range(2 * IMAGES_A_TASK)
    list(read_ahead(lambda row: both.wait() if row % IMAGES_A_TASK == 0 else row, rows, 2))


def test_an_error_arrives_and_stops_the_threads() -> None:
    def read(row: int) -> int:
        return 1 // (row - 20)

    with pytest.raises(ZeroDivisionError):
        list(read_ahead(read, range(1000), 2))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgerec-read")]
