"""Damaging bytes by a seed, so that every case can be made again."""

import json
import random
from collections.abc import Callable
from typing import Any

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
_STRANGE = (
    None,
    True,
    -1,
    0,
    1,
    3,
    65_537,
    10**9,
    10**30,
    0.5,
    -0.0,
    1e-300,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "any",
    "\ud800",
    [],
    [[]],
    {},
    [1, 2],
)


def mutate(data: bytes, seed: int) -> bytes:
    """Return `data` with one to six random damages; the same for the same seed."""
    draws = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(draws.choice((1, 1, 1, 2, 3, 6))):
        if damaged:
            draws.choice(_DAMAGES)(damaged, draws.randrange(len(damaged)), draws)
    return bytes(damaged)


def mutate_json(data: bytes, seed: int) -> bytes:
    """Return JSON with one to three values replaced by strange ones, by others of its own, or left out; it stays JSON.

    Bytes at random nearly always end in a parser's error; this reaches what lies behind.
    """
    draws = random.Random(seed)
    root = json.loads(data)
    for _ in range(draws.choice((1, 1, 2, 3))):
        places = _places(root)
        if not places:
            break
        holder, key = draws.choice(places)
        other, its = draws.choice(places)
        value = draws.choice((*_STRANGE, other[its]))
        if draws.random() < 0.1:
            del holder[key]
        else:
            holder[key] = json.loads(json.dumps(value))  # a copy: a value inside itself would have no end
    return json.dumps(root).encode()


def mutate_text(data: bytes, seed: int) -> bytes:
    """Return JSON with damages to its bytes or to its values, in turns."""
    return mutate_json(data, seed) if seed // 7 % 2 else mutate(data, seed)  # no number of samples may go with one way alone


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every place of a value inside `value`: what holds it, and its key or index."""
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *_places(value[key])]]


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
