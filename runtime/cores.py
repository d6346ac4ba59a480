"""How many cores this process may really use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_UNLIMITED = (-1, 0)


def usable_cores(mounts: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """Return the cores this process may use: its affinity mask, bounded by the container's CPU quota.

    ONNX Runtime and torch size their pools by the host's cores; in a container with a quota of two that is far too many.
    A quota may sit on any group from the process's own up to the root, in cgroup version 2 (`cpu.max`) or 1 (`cpu.cfs_quota_us`);
    the smallest counts. Parts of a core are left out: the kernel would stop the process in the middle of a call.

    Args:
        mounts: Where the kernel's control groups are mounted.
        membership: The file that names the groups of this process.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _groups(mounts, membership) if (quota := _quota(folder))]
    return min([affinity, *(max(1, math.floor(quota)) for quota in quotas)])


def _groups(mounts: Path, membership: Path) -> Iterator[Path]:
    """Yield every folder that may limit this process, its own group first; in a container the outer path may not be mounted."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    for line in [*lines, "0::/", "1:cpu:/"]:
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 2 is mounted at the top, or at `unified` beside version 1; version 1 under its controllers' names.
        for top in [mounts, mounts / "unified"] if not controllers else [mounts / "cpu", mounts / controllers]:
            inner = [part for part in path.split("/") if part not in ("", "..")]
            for depth in range(len(inner), -1, -1):
                yield top.joinpath(*inner[:depth])


def _quota(folder: Path) -> float | None:
    """Return the cores that a group allows; None without a limit."""
    quota, period = _version_2(folder) or _version_1(folder) or _UNLIMITED
    return quota / period if quota > 0 and period > 0 else None


def _version_2(folder: Path) -> tuple[int, int] | None:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return _UNLIMITED if quota == "max" else (int(quota), int(period))
    except (OSError, ValueError):
        return None


def _version_1(folder: Path) -> tuple[int, int] | None:
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8")) for name in ("quota", "period"))
    except (OSError, ValueError):
        return None
    return quota, period
