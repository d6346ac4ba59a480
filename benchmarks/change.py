"""By how much a figure changed from an older run to a newer one, and within which 95 % interval.

Days differ: the same file on the same machine runs some per cent slower next week, and no interval of one run knows that. Where both runs
measured the same first file in the same way, the other files' times are compared as ratios to it, which the day leaves alone.
"""

import base64
import binascii
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .accuracy import wilson
from .document import Document
from .paired import count_pairs, tango
from .records import Machine, Record

ELSEWHERE = "another machine"  # a remark: the figures are of two machines
Estimate = tuple[float, float, float]  # value, and the ends of its 95 % interval; not a number where there is none
Basis = Literal["as measured", "against the first file", "on the same images"]
Read = Callable[[Record], Estimate | None]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Change:
    """A change with its 95 % interval: a fraction where it is relative, else milliseconds, bytes or points.

    Attributes:
        value: New minus old, or new / old - 1.
        low: Lower end of its interval; not a number where the records hold none.
        high: Its upper end.
        basis: `against the first file` where times are compared as ratios to it, `on the same images` where two files' answers are paired.
    """

    value: float
    low: float
    high: float
    basis: Basis = "as measured"


@dataclass(frozen=True, slots=True)
class Place:
    """What a record keeps from run to run: its file and how that was run; `copy` counts files of one name, from 1."""

    file: str
    provider: str
    threads: int
    batch: int
    profile: str
    target: str
    copy: int


@dataclass(frozen=True, slots=True)
class Pair:
    """A record and its counterpart in an older run.

    Attributes:
        now: The new one.
        old: The older one.
        first: The first file of both runs, new and old, where it is one file that was run in one way; None where it is not.
    """

    now: Record
    old: Record
    first: tuple[Record, Record] | None = None

    @property
    def same_machine(self) -> bool:
        """Whether both were measured on one machine, as far as a record tells."""
        return same_machine(self.now.machine, self.old.machine)

    @property
    def same_images(self) -> bool:
        """Whether both were scored on one split of one data set; not known is taken for yes."""
        known = self.now.data_fingerprint and self.old.data_fingerprint
        return not known or (self.now.data_fingerprint, self.now.split) == (self.old.data_fingerprint, self.old.split)

    @property
    def is_first(self) -> bool:
        """Whether this is the first file itself, that the others are compared with."""
        return self.first is not None and self.first[0] is self.now

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of the change must know."""
        disturbed = any(one.watch and one.watch.disturbances for one in (self.now, self.old))
        other = () if self.same_machine else (ELSEWHERE,)
        return (*other, *runtime_changes(self.now, self.old), *(("disturbed",) if disturbed else ()))


def places_of(run: Document) -> list[tuple[Place, Record]]:
    """Return a run's records with what tells each from the others."""
    seen: dict[tuple[object, ...], int] = {}
    placed: list[tuple[Place, Record]] = []
    for one in run.records:
        way = one.file, *_way(one)
        seen[way] = seen.get(way, 0) + 1
        placed.append((Place(one.file, one.provider, one.threads, one.batch, one.profile, one.target, seen[way]), one))
    return placed


def pair_up(new: Document, older: Document) -> tuple[Pair, ...]:
    """Find every record's counterpart: same file name, provider, threads, batch, profile and target; files of one name in their order."""
    places = dict(places_of(older))
    pairs: list[Pair] = []
    for place, record in places_of(new):
        if place in places:
            pairs.append(Pair(record, places[place], _common_first(record, places[place], new, older)))
    return tuple(pairs)


def same_machine(one: Machine, other: Machine) -> bool:
    """Return whether two machines are as fast as each other, as far as a record tells; systems and Pythons may differ."""
    return (one.cpu, one.instructions, one.cores, one.architecture) == (other.cpu, other.instructions, other.cores, other.architecture)


def runtime_changes(now: Record, old: Record) -> list[str]:
    """Return what ran the file before, where it is not what ran it now: `onnxruntime 1.24.1 before`."""
    new, older = _runtime(now), _runtime(old)
    return [f"{name} {older.get(name, 'not there')} before" for name in sorted(new | older) if new.get(name) != older.get(name)]


def plain_change(pair: Pair, read: Read, *, relative: bool) -> Change | None:
    """Return the change of a figure as both runs measured it, independently.

    Args:
        pair: The records.
        read: From a record to the figure.
        relative: As a fraction of the old one.

    Returns:
        None where a record lacks the figure, or where a fraction of nothing is asked for.
    """
    terms = _terms(pair.now, pair.old, read)
    if terms is None or (relative and min(one[0] for _sign, one in terms) <= 0):
        return None
    return _relative(terms, "as measured") if relative else Change(*combine(terms))


def time_change(pair: Pair, read: Read, *, relative: bool, median: bool = False) -> Change | None:
    """Return the change of a time: as a ratio to the first file where both runs share it and the change is relative, else as measured.

    Args:
        pair: The records.
        read: From a record to the time.
        relative: As a fraction of the old one.
        median: The time is p50, whose ratio to the first file each run has measured in pairs.

    Returns:
        None where a record lacks the figure.
    """
    plain = plain_change(pair, read, relative=relative)
    if plain is None or not relative or pair.first is None or pair.is_first:
        return plain
    if median:
        ratios = _terms(pair.old, pair.now, _speedup)  # a speed-up is the inverse of a time
        return _relative(ratios, "against the first file") if ratios else plain
    first_now, first_old = pair.first
    own, firsts = _terms(pair.now, pair.old, read), _terms(first_old, first_now, read)
    return _relative([*own, *firsts], "against the first file") if own and firsts else plain


def top1_change(pair: Pair) -> Change | None:
    """Return the change of top-1 in points: with Tango's interval where both runs kept which images they got right, else with Newcombe's.

    None where a record was not scored, or where the two were scored on other images.
    """
    if pair.now.accuracy is None or pair.old.accuracy is None or not pair.same_images:
        return None
    after, before = flags_of(pair.now), flags_of(pair.old)
    if after is not None and before is not None and len(after) == len(before) and pair.now.data_fingerprint:
        pairs = count_pairs(before, after)
        low, high = tango(pairs)
        return Change(0.0 - pairs.drop_points, 0.0 - high, 0.0 - low, "on the same images")
    scored = [(100 * one.top1, 100 * one.low, 100 * one.high) for one in (pair.now.accuracy, pair.old.accuracy)]
    return Change(*combine([(1, scored[0]), (-1, scored[1])]))


def top5_change(pair: Pair) -> Change | None:
    """Return the change of top-5 in points, with Newcombe's interval; None as for top-1."""
    if pair.now.accuracy is None or pair.old.accuracy is None or not pair.same_images:
        return None
    found: list[Estimate] = []
    for one in (pair.now.accuracy, pair.old.accuracy):
        low, high = wilson(round(one.top5 * one.images), one.images)
        found.append((100 * one.top5, 100 * low, 100 * high))
    return Change(*combine([(1, found[0]), (-1, found[1])]))


def combine(terms: Sequence[tuple[int, Estimate]]) -> Estimate:
    """Return a sum of independent estimates, each with its sign, and its interval.

    MOVER, the "square-and-add" of Zou and Donner 2008, doi 10.1002/sim.3095; of two shares with Wilson's intervals it is Newcombe's interval.
    """
    value = sum(sign * one[0] for sign, one in terms)
    below = math.hypot(*(one[0] - one[1] if sign > 0 else one[2] - one[0] for sign, one in terms))
    above = math.hypot(*(one[2] - one[0] if sign > 0 else one[0] - one[1] for sign, one in terms))
    return value, value - below, value + above


def pack_flags(right: Flags) -> str:
    """Return which images were recognised as text: bits, deflated, base64; 10,000 images take about 1 kB."""
    return base64.b64encode(zlib.compress(np.packbits(right).tobytes(), 9)).decode() if len(right) else ""


def flags_of(record: Record) -> Flags | None:
    """Return which images a record got right, bool, shape (images,); None where it does not say, or where that is not its top-1."""
    if not record.right or record.accuracy is None:
        return None
    images = record.accuracy.images
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(base64.b64decode(record.right, validate=True), images + 8)  # no more: it comes from a file
    except (binascii.Error, ValueError, zlib.error):
        return None
    bits = np.frombuffer(data, np.uint8)
    if not unpacking.eof or len(bits) != math.ceil(images / 8):
        return None
    right = np.unpackbits(bits, count=images).astype(bool)
    return right if abs(right.sum() - record.accuracy.top1 * images) < 0.5 else None


def _relative(terms: Sequence[tuple[int, Estimate]], basis: Basis) -> Change:
    """Return a product of estimates less one, each to the power of its sign."""
    logs = [(sign, (_log(one[0]), _log(one[1]), _log(one[2]))) for sign, one in terms]
    value, low, high = combine(logs)
    return Change(math.expm1(value), math.expm1(low), math.expm1(high), basis)


def _terms(now: Record, old: Record, read: Read) -> list[tuple[int, Estimate]] | None:
    after, before = read(now), read(old)
    return [(1, after), (-1, before)] if after and before else None


def _speedup(one: Record) -> Estimate | None:
    return (one.speedup.ratio, one.speedup.low, one.speedup.high) if one.speedup else None


def _log(value: float) -> float:
    return math.log(value) if value > 0 else math.nan


def _runtime(one: Record) -> dict[str, str]:
    names = ("torch",) if one.provider == "torch" else ("edgerec", "onnxruntime")
    return {name: version for name, version in one.versions.items() if name.startswith(names)}


def _way(one: Record) -> tuple[object, ...]:
    return one.provider, one.threads, one.batch, one.profile, one.target


def _common_first(now: Record, old: Record, new: Document, older: Document) -> tuple[Record, Record] | None:
    """Return the two runs' first files if they are one file, run in one way by one runtime.

    With another runtime a ratio would hide what the runtime did to all files alike.
    """
    one, other = _first(now, new), _first(old, older)
    if one is None or other is None:
        return None
    same = one.sha256 == other.sha256 and _way(one) == _way(other)
    return (one, other) if same and not runtime_changes(one, other) else None


def _first(record: Record, run: Document) -> Record | None:
    """Return the record that this one's speed-up is against: the first of its batch and machine."""
    first = next(one for one in run.records if (one.batch, one.target) == (record.batch, record.target))
    return first if first.speedup and first.speedup.ratio == 1 and first.sha256 else None
