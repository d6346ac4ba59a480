"""What edgerec promises against the peers, held against the measured rows."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .making import OURS
from .measuring import FLOAT, Row

MEAN_LEAD_DB = 1.0
DROPS = {"resnet20": 0.15, "resnet56": 0.15, "mobilenet_v3_small": 0.5, "vit_tiny": 0.3, "efficientnet_lite0_silu": 0.5}
TIMES = {"resnet20": 0.90, "resnet56": 0.96, "mlperf-tiny-resnet8": 0.50}
INT8_SHARES = {"mobilenet_v3_small": 0.8}
_EVEN = 1.02  # two files of the same speed differ by this much from run to run


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise.

    Attributes:
        text: What it is about.
        measured: The figure, or why there is none.
        limit: What it may be.
        met: Whether it is; None where it was not measured.
    """

    text: str
    measured: str
    limit: str
    met: bool | None


def at_most(text: str, value: float | None, limit: float, unit: str, missing: str = "") -> Bar:
    """Return a bar on a figure that should be small; without the figure, `missing` says why."""
    if value is None:
        return Bar(text, missing, f"at most {limit:g}{unit}", None)
    return Bar(text, f"{value:.3g}{unit}", f"at most {limit:g}{unit}", value <= limit)


def bars_of(rows: Sequence[Row]) -> list[Bar]:
    """Return every bar that these rows can decide."""
    cases = list(dict.fromkeys(row.case for row in rows))
    found = {case: _Case({row.tool: row for row in rows if row.case == case}) for case in cases}
    return [
        *_noise_bars(found),
        *(bar for name, limit in DROPS.items() if name in found for bar in _drop_bar(name, found[name], limit)),
        *(bar for name, limit in INT8_SHARES.items() if name in found for bar in _share_bar(name, found[name], limit)),
        *(bar for name, one in found.items() for bar in _speed_bars(name, one)),
        *_files_bar(found),
    ]


class _Case:
    """The rows of one model."""

    def __init__(self, rows: dict[str, Row]) -> None:
        missing = next(iter(rows.values())).error
        self.ours = rows.get(OURS, Row("", OURS, error=missing or "not made"))
        self.peers = [row for tool, row in rows.items() if tool not in (OURS, FLOAT) and row.latency]
        self.is_there = FLOAT in rows and not rows[FLOAT].error

    def best(self, figure: Callable[[Row], float | None], best: Callable[[Iterable[float]], float]) -> float | None:
        """Return the best peer's figure; None without peers."""
        values = [value for row in self.peers if (value := figure(row)) is not None]
        return best(values) if values else None


def _noise_bars(found: dict[str, _Case]) -> list[Bar]:
    leads: dict[str, float] = {}
    for name, one in found.items():
        theirs = one.best(lambda row: row.sqnr_db, max)
        # A file that was left float has no noise to compare.
        if theirs is not None and one.ours.sqnr_db is not None and one.ours.int8_macs_share:
            leads[name] = one.ours.sqnr_db - theirs
    if not leads:
        return []
    worst, mean = min(leads, key=lambda name: leads[name]), statistics.fmean(leads.values())
    return [
        Bar("SQNR above the best peer's on every model", f"{leads[worst]:+.1f} dB ({worst})", "at least 0 dB", leads[worst] >= 0),
        Bar(f"SQNR above the best peer's, mean of {len(leads)}", f"{mean:+.1f} dB", f"at least {MEAN_LEAD_DB:g} dB", mean >= MEAN_LEAD_DB),
    ]


def _drop_bar(name: str, one: _Case, limit: float) -> list[Bar]:
    drop = one.ours.drop_points
    return [at_most(f"{name}: top-1 drop on {one.ours.images:,} images", drop.value if drop else None, limit, " points", one.ours.error)]


def _share_bar(name: str, one: _Case, limit: float) -> list[Bar]:
    share = one.ours.int8_macs_share
    measured = f"{share:.1%}" if share is not None else one.ours.error
    return [Bar(f"{name}: MACs in int8", measured, f"at least {limit:.0%}", share >= limit if share is not None else None)]


def _speed_bars(name: str, one: _Case) -> list[Bar]:
    if not one.is_there or one.ours.speedup is None:
        return []
    ours = one.ours.speedup
    bars = [at_most(f"{name}: time against the float file's", 1 / ours.ratio, _EVEN, "x")]
    # Both were measured against the float file in the same rounds.
    fastest = one.best(lambda row: row.speedup.ratio if row.speedup else None, max)
    if fastest is not None:
        bars.append(at_most(f"{name}: time against the fastest peer's", fastest / ours.ratio, TIMES.get(name, _EVEN), "x"))
    return bars


def _files_bar(found: dict[str, _Case]) -> list[Bar]:
    there = [name for name, one in found.items() if one.is_there]
    failed = [name for name in there if found[name].ours.error]
    if not there:
        return []
    measured = " but ".join([f"{len(there) - len(failed)} of {len(there)}", *failed])
    return [Bar("files that edgerec quantizes", measured, "all", not failed)]
