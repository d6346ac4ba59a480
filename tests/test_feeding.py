"""Reading ahead in one thread: the order stays, errors come through, and no more is made than is asked for soon."""

import threading
from collections.abc import Iterator

import pytest

from edgerec.benchmarks.feeding import ahead, batch_size
from edgerec.runtime.errors import DataError
from edgerec.runtime.spec import InputSpec, ModelSpec


def test_the_order_stays_and_little_is_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    for taken, number in enumerate(ahead(items(), 2)):
        assert number == taken
        assert len(made) <= taken + 3
    assert len(made) == 50


def test_what_the_thread_raises_is_raised_here_after_what_came_before() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise DataError("an image is damaged", "x.png", "replace it")

    seen: list[int] = []
    with pytest.raises(DataError, match=r"x\.png"):
        seen.extend(ahead(items()))
    assert seen == [1, 2]


def test_closing_early_ends_the_thread() -> None:
    before = threading.active_count()
    stream = ahead(iter(range(1000)))
    assert next(stream) == 0
    stream.close()
    assert threading.active_count() == before


def test_large_images_come_in_small_batches() -> None:
    sizes = {28: 100, 64: 21, 224: 8, 1000: 8}
    assert {size: batch_size([ModelSpec(()), ModelSpec((InputSpec(size, size),))]) for size in sizes} == sizes
    assert batch_size([ModelSpec(())]) == 100
