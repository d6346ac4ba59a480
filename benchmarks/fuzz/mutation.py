"""Damaging bytes by a seed, so that every case can be made again."""

import random
from collections.abc import Callable

_EXTREMES = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"NaN",
    b"-1",
    b'"',
    b"{",
)
_LONGEST = 64  # bytes that one step moves or makes


def mutate(data: bytes, seed: int) -> bytes:
    """Return `data` with one to six random damages; the same for the same seed."""
    draws = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(draws.choice((1, 1, 1, 2, 3, 6))):
        if damaged:
            draws.choice(_DAMAGES)(damaged, draws.randrange(len(damaged)), draws)
    return bytes(damaged)


def _flip(data: bytearray, at: int, draws: random.Random) -> None:
    data[at] ^= 1 << draws.randrange(8)


def _replace(data: bytearray, at: int, draws: random.Random) -> None:
    data[at] = draws.randrange(256)


def _overwrite(data: bytearray, at: int, draws: random.Random) -> None:
    value = draws.choice(_EXTREMES)
    data[at : at + len(value)] = value


def _insert(data: bytearray, at: int, draws: random.Random) -> None:
    data[at:at] = draws.choice((draws.choice(_EXTREMES), draws.randbytes(draws.randint(1, _LONGEST))))


def _delete(data: bytearray, at: int, draws: random.Random) -> None:
    del data[at : at + draws.randint(1, _LONGEST)]


def _repeat(data: bytearray, at: int, draws: random.Random) -> None:
    piece = data[at : at + draws.randint(1, _LONGEST)]
    data[at:at] = piece * draws.choice((1, 1, 100))


def _move(data: bytearray, at: int, draws: random.Random) -> None:
    piece = data[at : at + draws.randint(1, _LONGEST)]
    goal = draws.randrange(len(data))
    data[goal : goal + len(piece)] = piece


def _truncate(data: bytearray, at: int, draws: random.Random) -> None:
    del draws
    del data[at:]


_DAMAGES: tuple[Callable[[bytearray, int, random.Random], None], ...] = (
    _flip,
    _flip,
    _replace,
    _overwrite,
    _insert,
    _delete,
    _repeat,
    _move,
    _truncate,
)
