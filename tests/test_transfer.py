"""Batches that a thread prepares: the same ones, errors included, and a thread that ends when nobody listens."""

import threading
from collections.abc import Iterator

import pytest
import torch

from edgerec.train.transfer import ahead, to_device


def test_the_order_stays() -> None:
    assert list(ahead(iter(range(100)))) == list(range(100))
    assert list(ahead(iter(()))) == []


def test_an_error_arrives_after_what_came_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third is damaged")

    seen: list[int] = []
    with pytest.raises(ValueError, match="the third is damaged"):
        seen.extend(ahead(items()))
    taken = ahead(items())
    assert [next(taken), next(taken)] == [1, 2]
    with pytest.raises(ValueError, match="third"):
        next(taken)


def test_it_fetches_ahead_but_not_without_end() -> None:
    fetched: list[int] = []
    fourth = threading.Event()

    def items() -> Iterator[int]:
        for number in range(1000):
            fetched.append(number)
            if number == 3:
                fourth.set()
            yield number

    taken = ahead(items(), depth=3)
    assert next(taken) == 0
    assert fourth.wait(timeout=10), "nothing was fetched ahead"
    assert len(fetched) <= 6
    taken.close()  # type: ignore[attr-defined]  # a generator
    assert len(fetched) <= 7


def test_its_thread_ends_when_the_listener_leaves() -> None:
    before = threading.active_count()
    for number in ahead(iter(range(1_000_000))):
        if number == 5:
            break
    assert threading.active_count() == before


def test_a_copy_to_the_cpu_is_the_same_tensor() -> None:
    tensor = torch.arange(4)
    assert to_device(tensor, torch.device("cpu")).tolist() == [0, 1, 2, 3]
