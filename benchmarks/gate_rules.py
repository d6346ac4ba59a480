"""The rules of a gate: `p50>+5%`, `top1<-0.3` and the like, from what is typed to a metric and a limit."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nan
from typing import Literal

from ..runtime.errors import ConfigError
from .change import Change, Estimate, Pair, plain_change, time_change, top1_change, top5_change
from .records import Record

_GRAMMAR = re.compile(r"\s*([a-z0-9_]+)\s*([<>])\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*(%|[A-Za-z]*)\s*")
_EXAMPLES = 'write METRIC, < or >, a signed change and its unit, such as "p50>+5%", "p90>+0.2ms", "size>+100kB" or "top1<-0.3"'


@dataclass(frozen=True, slots=True)
class Metric:
    """What can be gated.

    Attributes:
        change: From two records, and whether it shall be relative, to the change.
        units: Unit to its size in milliseconds, bytes or points; `%` for relative changes.
        shown: The unit that people read an absolute change in, and its size.
    """

    change: Callable[[Pair, bool], Change | None]
    units: Mapping[str, float]
    shown: tuple[str, float]


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition under which a run fails.

    Attributes:
        text: As it was written.
        metric: A name of `METRICS`.
        sign: `>` fails on a larger change, `<` on a smaller one.
        limit: The change: a fraction of the baseline where `relative`, else milliseconds, bytes or points.
        relative: Whether it was given in %.
    """

    text: str
    metric: str
    sign: Literal["<", ">"]
    limit: float
    relative: bool


def _time(read: Callable[[Record], Estimate], *, median: bool = False) -> Metric:
    return Metric(lambda pair, relative: time_change(pair, read, relative=relative, median=median), {"%": 0.0, "ms": 1.0}, (" ms", 1.0))


def _bytes(read: Callable[[Record], float | None]) -> Metric:
    def exact(one: Record) -> Estimate | None:
        # One file or one process is one number. Pages and pools make memory differ by a few per cent, which is the limit's to allow for.
        value = read(one)
        return None if value is None else (value, value, value)

    return Metric(lambda pair, relative: plain_change(pair, exact, relative=relative), {"%": 0.0, "kB": 1e3, "MB": 1e6}, (" kB", 1e3))


def _points(change: Callable[[Pair], Change | None]) -> Metric:
    return Metric(lambda pair, _relative: change(pair), {"": 1.0, "points": 1.0}, (" points", 1.0))


def _with_ends(value: float, interval: tuple[float, float] | None) -> Estimate:
    return (value, *interval) if interval else (value, nan, nan)


METRICS: dict[str, Metric] = {
    "p50": _time(lambda one: _with_ends(one.latency.p50_ms, one.latency.p50_interval_ms), median=True),
    "p90": _time(lambda one: _with_ends(one.latency.p90_ms, one.latency.p90_interval_ms)),
    "p99": _time(lambda one: _with_ends(one.latency.p99_ms, one.latency.p99_interval_ms)),
    "size": _bytes(lambda one: float(one.size_bytes)),
    "peak_memory": _bytes(lambda one: float(one.resources.peak_bytes) if one.resources else None),
    "top1": _points(top1_change),
    "top5": _points(top5_change),
}
TIMES = ("p50", "p90", "p99")


def parse_rule(text: str) -> Rule:
    """Read a rule: `METRIC`, `<` or `>`, a signed change, and its unit.

    Units: `%` or `ms` for p50, p90 and p99; `%`, `kB` or `MB` for size and peak_memory; points (the unit may be left out) for top1 and top5.

    Raises:
        ConfigError: The text is no rule, or the metric has no such unit.
    """
    match = _GRAMMAR.fullmatch(text)
    if not match:
        raise ConfigError("this is no rule", repr(text), _EXAMPLES)
    metric, sign, number, unit = match.groups()
    if metric not in METRICS:
        raise ConfigError("no such metric can be gated", repr(metric), f"choose one of {', '.join(METRICS)}")
    units = METRICS[metric].units
    if unit not in units:
        choices = ", ".join(one or "none (points)" for one in units)
        raise ConfigError(f"{metric} changes in another unit", f"{unit or 'no unit'} in {text!r}", f"choose one of {choices}")
    relative = unit == "%"
    return Rule(text.strip(), metric, ">" if sign == ">" else "<", float(number) * (0.01 if relative else units[unit]), relative)


def in_words(change: Change, rule: Rule) -> str:
    """Return a change and its interval in the unit of the rule: `+6.00% (+5.10 to +6.90)`."""
    unit, size = ("%", 0.01) if rule.relative else METRICS[rule.metric].shown
    if change.low != change.low:
        return f"{change.value / size:+.2f}{unit} (no interval)"
    return f"{change.value / size:+.2f}{unit} ({change.low / size:+.2f} to {change.high / size:+.2f})"
