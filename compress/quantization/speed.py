"""The clock's word on finished files: which is the fastest on this machine."""

from collections.abc import Callable, Mapping, Sequence

from onnx import ModelProto

from ...benchmarks.latency import Comparison, Timing, measure_interleaved
from ...graph.execution import open_model
from .feeds import Feeds

# Twelve rounds of 20 ms resolve 1 %, which is less than kernel times are off by.
_TIMING = Timing(rounds=12, block_seconds=0.02, warmup_seconds=0.05)
FLOAT = "float"
_AS_FAST = 0.99  # what the clock cannot tell apart


def time_files(files: Mapping[str, ModelProto], images: Sequence[Feeds], threads: int = 1) -> Comparison:
    """Time one image on several models in alternating blocks.

    Args:
        files: Models by name; the first is what the others are compared with.
        images: Runs of inputs; the first is used, one image of it where the model takes any number.
        threads: Threads of the sessions.
    """
    sessions = {name: open_model(model, threads=threads) for name, model in files.items()}
    return measure_interleaved({name: lambda one=one: one.run(images[0]) for name, one in sessions.items()}, _TIMING)


def fastest_of(timed: Comparison, noise_of: Callable[[str], float]) -> str:
    """Return the name of the fastest file; of those as fast as the clock can tell, the one with the least noise; `FLOAT` if none beats it."""
    best = max(one.ratio for one in timed.speedup.values())
    equal = [name for name, one in timed.speedup.items() if one.ratio >= best * _AS_FAST and one.ratio > 1]
    return min(equal, key=noise_of) if len(equal) > 1 else next(iter(equal), FLOAT)
