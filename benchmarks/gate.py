"""A run against an older one: rules such as `p50>+5%` or `top1<-0.3`, judged by the interval of the change."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..runtime.errors import ConfigError, DataError, GateError
from .accuracy import wilson
from .document import Document
from .records import Machine, Record

Outcome = Literal["passes", "fails", "not decidable"]
Estimate = tuple[float, float, float]  # value, and the ends of its 95 % interval

_GRAMMAR = re.compile(r"\s*([a-z0-9_]+)\s*([<>])\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*(%|[A-Za-z]*)\s*")
_EXAMPLES = 'write METRIC, < or >, a signed change and its unit, such as "p50>+5%", "p90>+0.2ms", "size>+100kB" or "top1<-0.3"'
_TIME, _BYTES, _POINTS = {"%": 0.0, "ms": 1.0}, {"%": 0.0, "kB": 1e3, "MB": 1e6}, {"": 1.0, "points": 1.0}


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says about one file.

    Attributes:
        rule: The rule as it was written.
        file: The record's file.
        provider: Its provider.
        threads: Its threads.
        outcome: `fails` only where the whole 95 % interval of the change is beyond the limit, `passes` only where none of it is.
        change: The change in the rule's unit: a fraction, milliseconds, bytes or points.
        low: Lower end of its interval; not a number where the records hold no interval.
        high: Its upper end.
        other_machine: The baseline was measured on another machine, and compared all the same.
    """

    rule: str
    file: str
    provider: str
    threads: int
    outcome: Outcome
    change: float
    low: float
    high: float
    other_machine: bool = False


def _p50(one: Record) -> Estimate | None:
    return _with_interval(one.latency.p50_ms, one.latency.p50_interval_ms)


def _p90(one: Record) -> Estimate | None:
    return _with_interval(one.latency.p90_ms, one.latency.p90_interval_ms)


def _p99(one: Record) -> Estimate | None:
    return _with_interval(one.latency.p99_ms, one.latency.p99_interval_ms)


def _size(one: Record) -> Estimate | None:
    return float(one.size_bytes), float(one.size_bytes), float(one.size_bytes)


def _peak_memory(one: Record) -> Estimate | None:
    # One process is one number: pages and pools make it differ by a few per cent, which is the limit's to allow for.
    peak = float(one.resources.peak_bytes) if one.resources else math.nan
    return (peak, peak, peak) if one.resources else None


def _top1(one: Record) -> Estimate | None:
    found = one.accuracy
    return (100 * found.top1, 100 * found.low, 100 * found.high) if found else None


def _top5(one: Record) -> Estimate | None:
    if one.accuracy is None:
        return None
    low, high = wilson(round(one.accuracy.top5 * one.accuracy.images), one.accuracy.images)
    return 100 * one.accuracy.top5, 100 * low, 100 * high


METRICS: dict[str, tuple[Callable[[Record], Estimate | None], dict[str, float]]] = {
    "p50": (_p50, _TIME),
    "p90": (_p90, _TIME),
    "p99": (_p99, _TIME),
    "size": (_size, _BYTES),
    "peak_memory": (_peak_memory, _BYTES),
    "top1": (_top1, _POINTS),
    "top5": (_top5, _POINTS),
}


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
    units = METRICS[metric][1]
    if unit not in units:
        choices = ", ".join(one or "none (points)" for one in units)
        raise ConfigError(f"{metric} changes in another unit", f"{unit or 'no unit'} in {text!r}", f"choose one of {choices}")
    relative = unit == "%"
    return Rule(text, metric, ">" if sign == ">" else "<", float(number) * (0.01 if relative else units[unit]), relative)


def read_baseline(path: Path) -> Document:
    """Read what an older `edgerec bench --json` wrote.

    Raises:
        DataError: The file is missing, unreadable or no benchmark.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the baseline cannot be read", f"{path} ({error})", "give what `edgerec bench --json` wrote") from error
    return Document.from_json(text)


def judge(new: Document, baseline: Document, rules: Sequence[Rule], *, force: bool = False) -> tuple[Verdict, ...]:
    """Hold every record against the baseline's of the same file name, provider, threads, batch and target.

    The interval of a change combines those of the two values as independent ones (MOVER, Zou and Donner 2008, doi 10.1002/sim.3095; for
    top-1 that is Newcombe's hybrid score interval). Relative changes are combined as logarithms.

    Args:
        new: This run.
        baseline: The older one.
        rules: What must not happen.
        force: Compare with another machine, too; the verdicts are marked.

    Raises:
        ConfigError: No record has a counterpart, or a rule finds its metric in no pair.
        DataError: The baseline is of another machine.
    """
    older = {_key(one): one for one in baseline.records}
    pairs = [(one, older[_key(one)]) for one in new.records if _key(one) in older]
    if not pairs:
        known = ", ".join(sorted({one.file for one in baseline.records})) or "nothing"
        raise ConfigError("the baseline holds none of these files", f"it has {known}", "measure the same files with the same options")
    foreign = next((old for now, old in pairs if not _same_machine(now.machine, old.machine)), None)
    if foreign and not force:
        raise DataError(
            "the baseline is of another machine", foreign.machine.cpu, "measure it here, or give --force to compare all the same"
        )
    verdicts: list[Verdict] = []
    for rule in rules:
        found = [verdict for now, old in pairs if (verdict := _verdict(rule, now, old))]
        if not found:
            raise ConfigError("a rule matches nothing", rule.text, f"neither run and its baseline both hold {rule.metric}; measure it")
        verdicts += found
    return tuple(verdicts)


def check(verdicts: Sequence[Verdict], *, strict: bool = False) -> None:
    """Raise where a rule fails, and with `strict` also where one cannot be decided.

    Raises:
        GateError: With the command's exit code 3.
    """
    bad = [one for one in verdicts if one.outcome == "fails" or (strict and one.outcome == "not decidable")]
    if bad:
        told = "; ".join(f"{one.file}: {line(one)}" for one in bad)
        raise GateError("the run is worse than its baseline", told, "mend the file, or measure a new baseline if that is meant")


def line(verdict: Verdict) -> str:
    """Return a verdict as one line, in the unit of its rule."""
    scale, unit = _shown(verdict.rule)
    change = f"{verdict.change / scale:+.2f}{unit}"
    interval = "no interval" if math.isnan(verdict.low) else f"{verdict.low / scale:+.2f} to {verdict.high / scale:+.2f}"
    marked = ", other machine" if verdict.other_machine else ""
    return f"{verdict.rule} {verdict.outcome.upper()}: {change} ({interval}){marked}"


def _shown(text: str) -> tuple[float, str]:
    rule = parse_rule(text)
    if rule.relative:
        return 0.01, "%"
    return {"p": (1.0, " ms"), "t": (1.0, " points")}.get("b" if METRICS[rule.metric][1] is _BYTES else rule.metric[0], (1e3, " kB"))


def _with_interval(value: float, interval: tuple[float, float] | None) -> Estimate:
    return (value, *interval) if interval else (value, math.nan, math.nan)


def _key(one: Record) -> tuple[object, ...]:
    return one.file, one.provider, one.threads, one.batch, one.target


def _same_machine(one: Machine, other: Machine) -> bool:
    """Whether two machines are as fast as each other, as far as a record tells; systems and Pythons may differ."""
    return (one.cpu, one.instructions, one.cores, one.architecture) == (other.cpu, other.instructions, other.cores, other.architecture)


def _verdict(rule: Rule, now: Record, old: Record) -> Verdict | None:
    read = METRICS[rule.metric][0]
    after, before = read(now), read(old)
    if after is None or before is None:
        return None
    if rule.relative and min(*before, *after) <= 0:
        return None
    change, low, high = _relative(after, before) if rule.relative else _difference(after, before)
    sign = 1 if rule.sign == ">" else -1
    beyond = [sign * (one - rule.limit) > 0 for one in (low, high)]
    decided: Outcome = "fails" if all(beyond) else "not decidable" if any(beyond) else "passes"
    outcome: Outcome = "not decidable" if math.isnan(low) or math.isnan(high) else decided
    other = not _same_machine(now.machine, old.machine)
    return Verdict(rule.text, now.file, now.provider, now.threads, outcome, change, low, high, other)


def _difference(after: Estimate, before: Estimate) -> Estimate:
    change = after[0] - before[0]
    return (
        change,
        change - math.hypot(after[0] - after[1], before[2] - before[0]),
        change + math.hypot(after[2] - after[0], before[0] - before[1]),
    )


def _relative(after: Estimate, before: Estimate) -> Estimate:
    logs = [(math.log(one[0]), math.log(one[1]), math.log(one[2])) for one in (after, before)]
    change, low, high = _difference(*logs)
    return math.expm1(change), math.expm1(low), math.expm1(high)
