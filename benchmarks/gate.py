"""A run against an older one: rules such as `p50>+5%` or `top1<-0.3`, judged by the interval of the change."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

from ..runtime.errors import ConfigError, DataError, GateError
from .change import Change, Pair, pair_up
from .document import Document
from .gate_rules import METRICS, TIMES, Rule, in_words
from .records import Record

Outcome = Literal["passes", "fails", "not decidable", "reference"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says about one file.

    Attributes:
        rule: The rule.
        record: The file, as it was measured now.
        outcome: `fails` only where the whole 95 % interval of the change is beyond the limit, `passes` only where none of it is. `reference`
            for the first file, where the others' times are compared as ratios to it.
        change: The change.
        remarks: What a reader must know: another machine, another version of the runtime, a disturbed run.
    """

    rule: Rule
    record: Record
    outcome: Outcome
    change: Change
    remarks: tuple[str, ...] = ()


def judge(new: Document, baseline: Document, rules: Sequence[Rule], *, force: bool = False) -> tuple[Verdict, ...]:
    """Hold every record against the baseline's of the same file name, provider, threads, batch, profile and target.

    Relative times (`p50>+5%`) are ratios to the first file where both runs began with the same one (by its hash), run in the same way by the
    same runtime: the day's temperature and neighbours slow both files. That first file's own change is then shown and not judged. All
    other changes, `p50>+0.2ms` too, are between the figures as measured. See `change` for their intervals.

    Args:
        new: This run.
        baseline: The older one.
        rules: What must not happen.
        force: Compare with another machine, too; the verdicts are marked.

    Raises:
        ConfigError: No record has a counterpart, or a rule finds its metric in no pair.
        DataError: The baseline is of another machine, or was scored on other images.
    """
    pairs = pair_up(new, baseline)
    if not pairs:
        known = ", ".join(sorted({one.file for one in baseline.records})) or "nothing"
        raise ConfigError("the baseline holds none of these files", f"it has {known}", "measure the same files with the same options")
    foreign = next((one.old for one in pairs if not one.same_machine), None)
    if foreign and not force:
        raise DataError(
            "the baseline is of another machine", foreign.machine.cpu, "measure it here, or give --force to compare all the same"
        )
    return tuple(verdict for rule in rules for verdict in _verdicts(rule, pairs))


def unmatched(new: Document, baseline: Document) -> tuple[Record, ...]:
    """Return the records that have no counterpart in the baseline: no rule judges them."""
    known = [pair.now for pair in pair_up(new, baseline)]
    return tuple(one for one in new.records if not any(one is other for other in known))


def check(verdicts: Sequence[Verdict], *, strict: bool = False) -> None:
    """Raise where a rule fails, and with `strict` also where one cannot be decided.

    Raises:
        GateError: With the command's exit code 3.
    """
    bad = [one for one in verdicts if one.outcome == "fails" or (strict and one.outcome == "not decidable")]
    if bad:
        told = "; ".join(f"{one.record.file}: {line(one)}" for one in bad)
        raise GateError("the run is worse than its baseline", told, "mend the file, or measure a new baseline if that is meant")


def line(verdict: Verdict) -> str:
    """Return a verdict as one line, in the unit of its rule."""
    words = [in_words(verdict.change, verdict.rule), *notes(verdict)]
    return f"{verdict.rule.text} {verdict.outcome.upper()}: {', '.join(words)}"


def notes(verdict: Verdict) -> tuple[str, ...]:
    """Return how the change was found, where that is not plain, and what a reader must know."""
    return (*(() if verdict.change.basis == "as measured" else (verdict.change.basis,)), *verdict.remarks)


def _verdicts(rule: Rule, pairs: Sequence[Pair]) -> list[Verdict]:
    found = [_verdict(rule, pair, change) for pair in pairs if (change := METRICS[rule.metric].change(pair, rule.relative))]
    if found:
        return _with_reference(found, pairs) if rule.relative and rule.metric in TIMES else found
    if rule.metric.startswith("top") and not all(pair.same_images for pair in pairs):
        raise DataError(
            "the baseline was scored on other images", rule.text, "give the data and the split of the baseline, or measure it again"
        )
    raise ConfigError("a rule matches nothing", rule.text, f"neither run and its baseline both hold {rule.metric}; measure it")


def _with_reference(found: list[Verdict], pairs: Sequence[Pair]) -> list[Verdict]:
    """Take the first files out of the judgement where others are compared with them."""
    measures = [pair.first[0] for pair in pairs if pair.first and not pair.is_first]
    return [_as_reference(one) if any(one.record is first for first in measures) else one for one in found]


def _as_reference(one: Verdict) -> Verdict:
    return Verdict(one.rule, one.record, "reference", one.change, one.remarks)


def _verdict(rule: Rule, pair: Pair, change: Change) -> Verdict:
    sign = 1 if rule.sign == ">" else -1
    beyond = [sign * (end - rule.limit) > 0 for end in (change.low, change.high)]
    decided: Outcome = "fails" if all(beyond) else "not decidable" if any(beyond) else "passes"
    known = not (isnan(change.low) or isnan(change.high))
    return Verdict(rule, pair.now, decided if known else "not decidable", change, pair.remarks)
