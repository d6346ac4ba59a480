"""What a report says before its charts: each file against the first, in a sentence with its interval."""

from collections.abc import Sequence

from ..document import Document
from ..history import History
from .naming import Named
from .wording import between, count, ms, percent, points


def headline(document: Document) -> str:
    """Return what was measured, when, on what data."""
    parts = [count(len(document.records), "configuration")]
    parts += [f"{len(document.failures):,} more without figures"] if document.failures else []
    scored = next((one for one in document.records if one.accuracy), None)
    parts += [f"scored on {scored.accuracy.images:,} {scored.split} images"] if scored and scored.accuracy else []
    parts += [document.created] if document.created else []
    return ", ".join(parts)


def headline_of_history(history: History) -> str:
    """Return how many runs there are, and from when to when."""
    dates = [f"{run.when:%Y-%m-%d}" for run in history.runs if run.when]
    span = [dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"] if dates else []
    return ", ".join([count(len(history.runs), "run"), *span])


def sentences(named: Sequence[Named]) -> tuple[str, ...]:
    """Return one sentence a record: speed and accuracy of the first, differences from it of the others."""
    return tuple(_first(one) if at == 0 else _other(one, named[0]) for at, one in enumerate(named))


def _first(one: Named) -> str:
    accuracy = one.record.accuracy
    scored = f", {percent(accuracy.top1)} top-1" if accuracy else ""
    return f"{one.label}: {ms(one.record.latency.p50_ms)} ms a call{scored}; the others are compared with it."


def _other(one: Named, first: Named) -> str:
    said = [part for part in (_speed(one, first), _accuracy(one, first)) if part]
    return f"{one.label}: {'; '.join(said) or f'{ms(one.record.latency.p50_ms)} ms a call'}."


def _speed(one: Named, first: Named) -> str:
    speedup = one.record.speedup
    if speedup is None:
        return ""
    ends = between(f"{speedup.low:.2f}", f"{speedup.high:.2f}")
    if speedup.low <= 1 <= speedup.high:
        return f"no difference in speed from {first.key} could be seen ({ends} times as fast)"
    return f"{speedup.ratio:.2f} times as fast as {first.key} ({ends})"


def _accuracy(one: Named, first: Named) -> str:
    found = one.record.agreement
    if found is None:
        return ""
    if found.drop_points is None or found.drop_interval is None:
        return f"the same class as {first.key} on {percent(found.agreement)} of the images"
    low, high = found.drop_interval
    ends = between(points(low), points(high))
    if low <= 0 <= high:
        return f"no difference in top-1 could be seen ({points(found.drop_points)} points lost, {ends})"
    near, far = sorted((abs(low), abs(high)))
    return f"{abs(found.drop_points):.2f} points of top-1 {'lost' if low > 0 else 'won'} ({near:.2f} to {far:.2f})"
