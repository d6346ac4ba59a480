"""The fastest mixed-precision file inside an accuracy budget, and the proof that it is inside.

A solver elsewhere turns a price, in milliseconds for a unit of error, into the fastest choice of int8 nodes at that price. All prices together
give a front of proposals from the fastest to the most exact. The search bisects that front; a proposal passes where the images prove that its drop
is within the budget. Every proposal that may pass spends some of `alpha`: half for the fastest, which most models can have, the rest in equal parts
for each step of the bisection. So the chance that the search returns a file outside the budget is at most `alpha`, however many it tries.
"""

import math
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

from ...benchmarks.paired import Flags, Pairs, count_pairs
from ...benchmarks.resampling import RESAMPLES, Rows, Scores, decide_resampled, decide_scores
from ...benchmarks.sequential import LOOKS, Verdict, decide_early
from ...runtime.errors import ConfigError, DataError, GateError

# Layers that make less than a millionth of the error do not decide whether a file fits: no higher price is asked for.
_HIGHEST_PRICE = 1e6
_ROUNDING = 1e-9  # of a sum of times


@dataclass(frozen=True, slots=True)
class Budget:
    """How much accuracy a file may lose.

    Attributes:
        max_drop: Percentage points of top-1 against the float file; of agreement with it where there are no labels; the metric's own unit
            for a metric of the user's.
        alpha: Largest probability that a file passes although its drop is larger.
        looks: Shares of the validation images at which a decision may fall.
    """

    max_drop: float = 0.5
    alpha: float = 0.05
    looks: tuple[float, ...] = LOOKS

    def __post_init__(self) -> None:
        """Refuse what no file can be tested against.

        Raises:
            ConfigError: A field is out of range.
        """
        if not 0 <= self.max_drop < math.inf:
            raise ConfigError("the largest drop must be 0 or more", self.max_drop, "0.5 is usual")
        if not 0 < self.alpha < 0.5:
            raise ConfigError("alpha must be between 0 and 0.5", self.alpha, "0.05 is usual")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A choice of int8 nodes.

    Attributes:
        nodes: Their names; none is the float file.
        milliseconds: Predicted time, above 0.
        error: Predicted noise at the output: the sum of the nodes' sensitivities.
    """

    nodes: frozenset[str]
    milliseconds: float
    error: float


@dataclass(frozen=True, slots=True)
class Trial:
    """A proposal that was built and tested."""

    proposal: Proposal
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found.

    Attributes:
        chosen: The fastest proposal inside the budget; None where none was.
        tried: Every proposal that was tested, in that order.
        proposals: How many there were to choose from.
    """

    chosen: Trial | None
    tried: tuple[Trial, ...]
    proposals: int


class BudgetError(GateError):
    """No file is proved to be inside the budget; `tried` are those that were tested."""

    def __init__(self, problem: str, given: object, fix: str, tried: tuple[Trial, ...] = ()) -> None:
        """Keep what was tried for a table."""
        super().__init__(problem, given, fix)
        self.tried = tried


Propose = Callable[[float], Proposal]
Judge = Callable[[Proposal, float], Verdict]  # the float is the share of alpha that this test may spend


def search(propose: Propose, judge: Judge, budget: Budget) -> Outcome:
    """Return the fastest proposal that is proved to be inside the budget.

    The float file is no answer: where only that is inside, nothing is chosen. Undecided counts as not inside. Bisection takes it that a slower
    proposal drops no more than a faster one; where that is not so, a faster one inside may be missed, but what is returned is inside.

    Args:
        propose: From a price, 0 or more, to the proposal with the least `milliseconds + price * error`.
        judge: Builds and tests a proposal, as the ones that `judge_flags`, `judge_scores` and `judge_metric` return.
        budget: The limit.
    """
    front = [one for one in list_front(propose) if one.nodes]
    steps = (len(front) - 1).bit_length() if front else 0  # of the bisection of all but the first
    tried: list[Trial] = []

    def passes(index: int, alpha: float) -> bool:
        tried.append(Trial(front[index], judge(front[index], alpha)))
        return tried[-1].verdict.decision == "inside"

    low, high = 0, len(front)  # below `low` nothing is inside; at `high` it is, or there is nothing
    if front:
        low, high = (0, 0) if passes(0, budget.alpha / 2 if steps else budget.alpha) else (1, high)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle, budget.alpha / 2 / steps) else (middle + 1, high)
    chosen = next((one for one in tried if high < len(front) and one.proposal == front[high]), None)
    return Outcome(chosen, tuple(tried), len(front))


def list_front(propose: Propose) -> tuple[Proposal, ...]:
    """Return every proposal that some price makes, fastest first.

    Two of them are neighbours exactly if the price at which both cost the same brings up nothing cheaper.

    Args:
        propose: From a price, 0 or more, to the proposal with the least `milliseconds + price * error`.
    """
    fastest = propose(0.0)
    if fastest.error <= 0:
        return (fastest,)
    quietest = propose(_HIGHEST_PRICE * fastest.milliseconds / fastest.error)
    return (fastest, *_after(propose, fastest, quietest))


def judge_flags(reference: Flags, evaluate: Callable[[Proposal], Iterable[Flags]], budget: Budget) -> Judge:
    """Return a judge by right and wrong answers: top-1 with labels, agreement with the float file without.

    Args:
        reference: Whether the float file is right on each validation image, bool, shape (N,); all true for agreement.
        evaluate: From a proposal to the same for its file, in parts that together are as long; the rest is not asked for once it is decided.
        budget: The limit.
    """

    def judge(proposal: Proposal, alpha: float) -> Verdict:
        return decide_early(_pairs(reference, evaluate(proposal)), len(reference), budget.max_drop, alpha, budget.looks)

    return judge


def judge_scores(reference: Scores, evaluate: Callable[[Proposal], Scores], budget: Budget) -> Judge:
    """Return a judge by a score of each image, higher is better, float64, shape (N,)."""
    return lambda proposal, alpha: decide_scores(reference, evaluate(proposal), budget.max_drop, alpha, resamples=_resamples(alpha))


def judge_metric(evaluate: Callable[[Proposal], Callable[[Rows], tuple[float, float]]], images: int, budget: Budget) -> Judge:
    """Return a judge by a score that only a set of images has.

    Args:
        evaluate: From a proposal to a function of rows that scores the float file and the proposal's on these images.
        images: How many there are.
        budget: The limit.
    """
    return lambda proposal, alpha: decide_resampled(evaluate(proposal), images, budget.max_drop, alpha, resamples=_resamples(alpha))


def nothing_fits(outcome: Outcome, budget: Budget) -> BudgetError:
    """Return the error that says that no file is inside the budget, how near one came, and what would help."""
    if not outcome.tried:
        return BudgetError("no file is inside the accuracy budget", "nothing can be int8", "use the float file")
    best = min(outcome.tried, key=lambda one: one.verdict.high)
    verdict = best.verdict
    told = f"nearest: a drop of {verdict.drop_points:.2f}, {verdict.low:.2f} to {verdict.high:.2f}, where {budget.max_drop:g} is allowed"
    given = f"{told} ({len(outcome.tried)} of {outcome.proposals} files tried, {verdict.images:,} images)"
    undecided = [one.verdict.images_needed for one in outcome.tried if one.verdict.decision == "undecided"]
    enough = min((count for count in undecided if count is not None), default=None)
    if enough is not None:
        fix = f"give about {enough:,} images, or a larger --max-drop"
        return BudgetError("no file is proved to be inside the accuracy budget", given, fix, outcome.tried)
    fix = "give a larger --max-drop, or train with quantization in mind"
    return BudgetError("no file is inside the accuracy budget", given, fix, outcome.tried)


def _after(propose: Propose, left: Proposal, right: Proposal) -> tuple[Proposal, ...]:
    """Return the front behind `left`, up to `right`."""
    if right.error >= left.error:
        return ()
    price = max(0.0, right.milliseconds - left.milliseconds) / (left.error - right.error)
    cost, middle = left.milliseconds + price * left.error, propose(price)
    cheaper = middle.milliseconds + price * middle.error < cost - _ROUNDING * abs(cost)
    if not cheaper or not right.error < middle.error < left.error:
        return (right,)
    return (*_after(propose, left, middle), *_after(propose, middle, right))


def _resamples(alpha: float) -> int:
    """Return how many resamples leave 10 beyond each bound."""
    return max(RESAMPLES, math.ceil(10 / alpha))


def _pairs(reference: Flags, parts: Iterable[Flags]) -> Generator[Pairs]:
    start = 0
    for part in parts:
        if start + len(part) > len(reference):
            raise DataError(
                "a file gave more answers than there are images", f"{start + len(part)} of {len(reference)}", "score the same images"
            )
        yield count_pairs(reference[start : start + len(part)], part)
        start += len(part)
