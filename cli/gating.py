"""`edgerec bench --baseline old.json --fail-if "p50>+5%"`: a run that got worse ends with exit code 3."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..runtime.errors import ConfigError, DataError
from .console import print_table, say

if TYPE_CHECKING:
    from ..benchmarks.document import Document
    from ..benchmarks.gate import Verdict
    from ..benchmarks.gate_rules import Rule

Baseline = Annotated[
    Path | None, typer.Option("--baseline", help="What an earlier `edgerec bench --json` wrote; with --fail-if, a run that is worse fails.")
]
FailIf = Annotated[
    list[str],
    typer.Option(
        "--fail-if",
        help='What must not happen against the baseline, such as "p50>+5%", "p90>+0.2ms", "size>+100kB", "peak_memory>+10%" or "top1<-0.3" '
        "(points); may be given more than once. It fails, with exit code 3, where the whole 95 % interval of the change is beyond the limit.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Compare with a baseline of another machine, too; such lines are marked.")]

COLUMNS = ["file", "on", "rule", "change (95 % interval)", "verdict"]
_WORDS = {"passes": "passes", "fails": "FAILS", "not decidable": "not decidable", "reference": "not judged"}


@dataclass(frozen=True, slots=True)
class Gate:
    """What a run must not lose against an older one; without a baseline there is nothing to judge.

    Attributes:
        baseline: The older run's file.
        fail_if: The rules, as typed.
        force: Compare with another machine, too.
    """

    baseline: Path | None = None
    fail_if: tuple[str, ...] = ()
    force: bool = False

    def check(self, files: Sequence[Path] = ()) -> None:
        """Find out before minutes of measuring that nothing could be judged.

        Args:
            files: What will be measured here; empty leaves open whether the baseline knows any of them.

        Raises:
            ConfigError: An option is missing, a rule is none, or the baseline holds none of the files.
            DataError: The baseline cannot be read, or is of another machine and `force` is not given.
        """
        from ..benchmarks.gate_rules import parse_rule

        if self.baseline is None:
            if self.fail_if or self.force:
                given = "--force" if self.force else f"--fail-if {self.fail_if[0]!r}"
                raise ConfigError("a gate needs an older run", given, "give --baseline, a file that `edgerec bench --json` wrote")
            return
        if not self.fail_if:
            raise ConfigError("a baseline alone decides nothing", self.baseline, 'say what must not happen, such as --fail-if "p50>+5%"')
        for rule in self.fail_if:
            parse_rule(rule)
        _check_comparable(self._older(), [one.name for one in files], force=self.force)

    def judge(self, document: "Document", *, json: bool = False, quiet: bool = False) -> None:
        """Print one line for each file and rule, and fail where a rule is broken.

        Args:
            document: This run.
            json: Stdout belongs to a JSON document, so the table goes to stderr.
            quiet: Print nothing but the error.

        Raises:
            GateError: A rule is broken; exit code 3.
            ConfigError: A rule finds nothing to judge.
            DataError: The baseline is of another machine, or was scored on other images.
        """
        if self.baseline is None:
            return
        from ..benchmarks.gate import check, judge, unmatched

        baseline = self._older()
        verdicts = judge(document, baseline, self._rules(), force=self.force)
        stream = sys.stderr if json else sys.stdout
        when = f" of {baseline.created}" if baseline.created else ""
        if not quiet:
            print(file=stream)
        print_table(f"against the baseline{when}", COLUMNS, [_row(one) for one in verdicts], quiet=quiet, stream=stream)
        if not quiet and any(_is_marked(one) for one in verdicts):
            print(f"*  against another machine: {_machines(baseline)}", file=stream)
        _remark(verdicts, [one.file for one in unmatched(document, baseline)], quiet=quiet)
        check(verdicts)

    def _older(self) -> "Document":
        from ..benchmarks.document import read_document

        assert self.baseline is not None, "asked by the callers"
        return read_document(self.baseline)

    def _rules(self) -> "list[Rule]":
        from ..benchmarks.gate_rules import parse_rule

        return [parse_rule(text) for text in self.fail_if]


def _check_comparable(baseline: "Document", names: Sequence[str], *, force: bool) -> None:
    """Refuse a baseline of none of the files, or of another machine than this; those of `--on` are judged when they were measured."""
    from ..benchmarks.change import same_machine
    from ..benchmarks.records import machine

    known = sorted({one.file for one in baseline.records})
    if names and not set(names) & set(known):
        told = ", ".join(known) or "nothing"
        raise ConfigError("the baseline holds none of these files", f"it has {told}", "measure the same files as then")
    own = [one.machine for one in baseline.records if not one.target]
    if own and not force and not any(same_machine(one, machine()) for one in own):
        fix = "measure a baseline here, or give --force to compare all the same"
        raise DataError("the baseline is of another machine", f"{own[0].cpu}, {own[0].cores} cores", fix)


def _row(one: "Verdict") -> list[str]:
    from ..benchmarks.gate_rules import in_words

    return [
        one.record.file,
        _on(one),
        one.rule.text,
        in_words(one.change, one.rule),
        _WORDS[one.outcome] + (" *" if _is_marked(one) else ""),
    ]


def _is_marked(one: "Verdict") -> bool:
    from ..benchmarks.change import ELSEWHERE

    return ELSEWHERE in one.remarks


def _machines(document: "Document") -> str:
    return "; ".join(sorted({f"{one.machine.cpu}, {one.machine.cores} cores" for one in document.records}))


def _on(one: "Verdict") -> str:
    record = one.record
    return f"{record.target or record.provider}/{record.threads}"


def _remark(verdicts: "Sequence[Verdict]", missing: Sequence[str], *, quiet: bool) -> None:
    """Say what a reader must know, each thing once, with the files it is true of."""
    from ..benchmarks.change import ELSEWHERE
    from ..benchmarks.gate import notes

    files: dict[str, dict[str, None]] = {}
    for verdict in verdicts:
        for note in notes(verdict):
            if note != ELSEWHERE:  # that stands under the table
                files.setdefault(_TOLD.get(note, note), {})[verdict.record.file] = None
        if verdict.outcome in _TOLD:
            files.setdefault(_TOLD[verdict.outcome], {})[verdict.record.file] = None
    for note, who in files.items():
        say(f"{', '.join(who)}: {note}", quiet=quiet)
    if missing:
        say(f"{', '.join(dict.fromkeys(missing))}: not in the baseline as measured here, so not judged", quiet=quiet)


_TOLD = {
    "against the first file": "times in % are compared as ratios to the first file, which both runs measured",
    "on the same images": "top-1 is compared image by image",
    "reference": "the first file of both runs: its own change in time is taken for the machine's",
    "not decidable": "the interval reaches over the limit: measure longer or on more images to decide",
}
