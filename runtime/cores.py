"""How many cores this process may really use."""

import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(cpu_max: Path = _CGROUP_V2) -> int:
    """Return the cores this process may use: its affinity mask, bounded by the container's CPU quota.

    ONNX Runtime and torch size their pools by the host's cores; in a container with a quota of two that is far too many.

    Args:
        cpu_max: The cgroup (version 2) file with `quota period` in microseconds, or `max period`.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cpu_max.read_text().split()
        allowed = affinity if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        allowed = affinity
    return min(affinity, allowed)
