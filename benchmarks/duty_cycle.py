"""What a frame costs a camera: processor time and latency when calls come at a fixed pace, with pauses in between."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..runtime.errors import ConfigError

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class DutyCycle:
    """The cost of a frame at a fixed pace.

    Attributes:
        frames_per_s: The pace.
        cpu_ms: Processor time of a frame, of all threads, spinning in the pauses included; median over the frames.
        p50_ms: Median latency of a frame.
        late: Frames that came late because the one before was not done.
        frames: Frames measured.
    """

    frames_per_s: float
    cpu_ms: float
    p50_ms: float
    late: int
    frames: int


def measure_duty_cycle(calls: Mapping[str, Call], *, frames_per_s: float = 10, seconds: float = 2, rounds: int = 3) -> dict[str, DutyCycle]:
    """Make calls at a fixed pace, one candidate at a time, in turns.

    The processor time is that of the whole process from one frame to the next: threads that spin in the pause are part of what a frame
    costs. Nothing else may run in the process meanwhile.

    Args:
        calls: What to measure, by name.
        frames_per_s: The pace.
        seconds: Time of each candidate in a round; at least three frames are measured.
        rounds: Turns; the order is reversed in every second one.

    Raises:
        ConfigError: The pace, the time or the rounds are not above zero.
    """
    if not (0 < frames_per_s < math.inf and seconds > 0 and rounds > 0):
        raise ConfigError(
            "a pace and a time must be above zero", f"{frames_per_s} frames/s, {seconds} s", "10 frames/s for 2 s is the usual choice"
        )
    count = max(3, round(frames_per_s * seconds))
    found: dict[str, list[tuple[float, float, bool]]] = {name: [] for name in calls}
    for turn in range(rounds):
        for name in list(calls) if turn % 2 == 0 else list(calls)[::-1]:
            found[name] += _frames(calls[name], 1 / frames_per_s, count)
    return {name: _summary(frames, frames_per_s) for name, frames in found.items()}


def _frames(call: Call, period_s: float, count: int) -> list[tuple[float, float, bool]]:
    """Return processor milliseconds, latency in milliseconds and whether it was late, of each frame; the first one warms up."""
    frames: list[tuple[float, float, bool]] = []
    due = time.perf_counter()
    for number in range(count + 1):
        cpu, start = time.process_time(), time.perf_counter()
        call()
        took = time.perf_counter() - start
        late = start > due + period_s / 2
        due = max(due + period_s, start)
        if (pause := due - time.perf_counter()) > 0:
            time.sleep(pause)
        if number:
            frames.append(((time.process_time() - cpu) * 1e3, took * 1e3, late))
    return frames


def _summary(frames: list[tuple[float, float, bool]], frames_per_s: float) -> DutyCycle:
    cpu_ms, took_ms, late = zip(*frames, strict=True)
    return DutyCycle(frames_per_s, statistics.median(cpu_ms), statistics.median(took_ms), sum(late), len(frames))
