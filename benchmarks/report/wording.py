"""How figures are written for people: the same figure reads the same in every table, chart and label."""

import math

Interval = tuple[float, float]


def ms(value: float) -> str:
    """Return milliseconds, without the unit: three digits behind the point below 10, fewer above."""
    return f"{value:,.{3 if abs(value) < 10 else 2 if abs(value) < 100 else 1}f}"


def megabytes(count: float) -> str:
    """Return bytes as MB (10^6 bytes), without the unit."""
    return f"{count / 1e6:,.{2 if abs(count) < 1e7 else 1}f}"


def percent(share: float) -> str:
    """Return a share, 0 to 1, as `91.73 %`."""
    return f"{100 * share:.2f} %"


def whole_percent(share: float) -> str:
    """Return a share, 0 to 1, as `92 %`."""
    return f"{100 * share:.0f} %"


def points(value: float) -> str:
    """Return a difference of two percentages with its sign; a minus is the real sign, and nothing is `0.00`."""
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "\N{MINUS SIGN}")


def significant(value: float, digits: int = 3) -> str:
    """Return a number with at least `digits` significant digits and no exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    behind = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{behind}f}"


def between(low: str, high: str) -> str:
    """Return an interval in words."""
    return f"{low} to {high}"


def half_width(value: float, interval: Interval) -> float:
    """Return the larger half of an interval around its value."""
    return max(value - interval[0], interval[1] - value)


def count(number: int, noun: str) -> str:
    """Return `1 image`, `2 images`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
