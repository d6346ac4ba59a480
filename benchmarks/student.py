"""Student's t distribution for whole degrees of freedom, without scipy: closed forms, and a bisection for the quantile."""

import math


def student_cdf(t: float, freedom: int) -> float:
    """Return the probability that a t-distributed number is at most `t` (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).

    Args:
        t: Any number.
        freedom: Degrees of freedom, 1 or more.
    """
    angle = math.atan(t / math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2
    term = total = (math.cos(angle) if freedom > 1 else 0.0) if odd else 1.0
    for step in range(3 if odd else 2, freedom - 1, 2):
        term *= square * (step - 1) / step
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + 0.5 * inside


def student_quantile(share: float, freedom: int) -> float:
    """Return the number that a t-distributed one is below with probability `share`.

    Args:
        share: Between 0.5 and 1, both left out.
        freedom: Degrees of freedom, 1 or more.
    """
    low, high = 0.0, 1.0
    while student_cdf(high, freedom) < share:
        high *= 2
    for _ in range(80):  # halves an interval of any size to the last bit
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, freedom) < share else (low, middle)
    return high
