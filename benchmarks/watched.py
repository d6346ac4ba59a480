"""From what was seen round by round to what a record says: shares, and disturbances in words."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt

from .drift import trend
from .measured import Watch
from .rounds import Gathered
from .watching import Seen, governor

# Blocks of one file differ by 0.2 to 1 % on a quiet machine, and starts by half a percent (`intervals`); what a clock loses when a board gets
# hot is tens of percent.
DRIFT_LIMIT = 0.03
DRIFT_P = 0.01

Times = npt.NDArray[np.float64]


def drift_of(blocks: Sequence[Sequence[Times]]) -> tuple[float, float]:
    """Return the relative change from the first to the last block, by a robust line, and the p-value of there being none."""
    medians = [float(np.median(block)) for start in blocks for block in start]
    if len(medians) < 2:
        return 0.0, 1.0
    line = trend(medians)
    return line.slope * (len(medians) - 1) / float(np.median(medians)), line.p


def drifts(blocks: Sequence[Sequence[Times]]) -> bool:
    """Return whether times went up or down by more than the limit, and not by chance."""
    change, p = drift_of(blocks)
    return abs(change) > DRIFT_LIMIT and p < DRIFT_P


def watch_of(seen: Sequence[Seen], repeats: int, gathered: Gathered, cores: Sequence[int]) -> Watch:
    """Return what is kept of it.

    Args:
        seen: Of each round that was kept.
        repeats: Rounds that were thrown away.
        gathered: One configuration's times and warm-ups.
        cores: Those it ran on.
    """
    counts = Counter(reason for one in seen for reason in one.reasons)
    words = [f"{reason} in {count} of {len(seen)} rounds" for reason, count in counts.items()]
    change, _ = drift_of(gathered.blocks)
    if drifts(gathered.blocks):
        words.append(f"its times drifted by {change:+.1%}")
    if unsteady := sum(not one.steady for one in gathered.warm_ups):
        words.append(f"it had not settled after the warm-up in {unsteady} of {len(gathered.warm_ups)} starts")
    loads, steals = [one.load for one in seen if one.load is not None], [one.steal for one in seen if one.steal is not None]
    mhz = [one for each in seen for one in each.mhz]
    return Watch(
        disturbances=tuple(words),
        repeats=repeats,
        load=fmean(loads) if loads else None,
        steal=fmean(steals) if steals else None,
        drift=change,
        frequency_mhz=(min(mhz), max(mhz)) if mhz else None,
        governor=governor(cores),
        swapped_bytes=sum(one.swapped_bytes for one in seen),
        throttled=fmean(one.throttled for one in seen) if seen else 0.0,
    )
