"""What else the machine does while something is measured: counters of the Linux kernel, read before and after each round.

Elsewhere the counters are not there and nothing is said about them; drift (`drift`) is watched on every system.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Above a quarter of all cores: two cores' caches and memory are shared, and one of them is busy half of the time. A round of 0.1 s on two
# cores has 20 ticks of 10 ms to count in, so that a smaller share would be chance.
LOAD_LIMIT = 0.25
# The main thread stood in the queue for a core. Exact to the nanosecond; 1 % is what the ratio of two files should be known to.
WAITED_LIMIT = 0.01
# One tick of 10 ms in a round of 0.2 s is 2.5 % of two cores; two ticks are hardly chance.
STEAL_LIMIT = 0.04
# The container's quota stops the process for the rest of a period of 100 ms: whatever share it is, the slowest calls are its work.
THROTTLED_LIMIT = 0.001
# A hyper-thread on the same core takes up to half of its arithmetic; a tenth of the time costs up to 5 %.
SIBLING_LIMIT = 0.1
# Pages of 4 KiB; below a megabyte it is some sleeping process's, not the model's weights.
SWAP_LIMIT_BYTES = 1 << 20
# Between rounds; a clock that moves by more than a tenth moves the times of what it runs by about as much.
FREQUENCY_LIMIT = 1.1

_PAGE = 4096
_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Counters:
    """What the kernel had counted at one moment; None where it does not tell.

    Attributes:
        busy_s: Time all cores together have worked.
        steal_s: Time the hypervisor took from them.
        cores: How many there are.
        core_busy_s: Time each core has worked, by number.
        swapped_bytes: Memory swapped in and out.
        throttled_s: Time the container's quota held its processes back.
        mhz: Frequencies of the cores that measure.
    """

    busy_s: float | None = None
    steal_s: float | None = None
    cores: int = 0
    core_busy_s: dict[int, float] = field(default_factory=dict[int, float])
    swapped_bytes: int = 0
    throttled_s: float = 0.0
    mhz: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What went on in one round.

    Attributes:
        reasons: What disturbed it; kinds, so that rounds can be counted by them.
        load: Other processes' share of the cores; None where the system does not tell.
        steal: Share of the cores' time that the hypervisor took.
        throttled: Share of the time in which the quota held the process back.
        swapped_bytes: Memory swapped in and out.
        mhz: Frequencies seen.
        waited: Share of the measuring time in which the process stood in the queue for its core.
    """

    reasons: tuple[str, ...] = ()
    load: float | None = None
    steal: float | None = None
    throttled: float = 0.0
    swapped_bytes: int = 0
    mhz: tuple[float, ...] = ()
    waited: float = 0.0


def read_counters(cores: Sequence[int] = (), root: Path = _ROOT) -> Counters:
    """Read the counters.

    Args:
        cores: Those that measure; their frequency is read.
        root: Where `proc` and `sys` lie.
    """
    lines = [line.split() for line in _read(root / "proc/stat").splitlines()]
    ticks = {line[0]: [int(one) for one in line[1:]] for line in lines if line and line[0].startswith("cpu")}
    busy = {name: _busy(values) for name, values in ticks.items()}
    all_ticks = ticks.get("cpu", [])
    return Counters(
        busy_s=busy.get("cpu"),
        steal_s=all_ticks[7] / _TICKS_PER_S if len(all_ticks) > 7 else None,
        cores=len(busy) - 1 if busy else 0,
        core_busy_s={int(name[3:]): one for name, one in busy.items() if name != "cpu"},
        swapped_bytes=sum(_numbers(root / "proc/vmstat", ("pswpin", "pswpout"))) * _PAGE,
        throttled_s=_throttled_s(root),
        mhz=_frequencies(cores, root),
    )


def judge(before: Counters, after: Counters, wall_s: float, own_cpu_s: float, waited: float, siblings: Sequence[int] = ()) -> Seen:
    """Say what disturbed a round.

    Args:
        before: Counters at its start.
        after: At its end.
        wall_s: How long it took.
        own_cpu_s: Processor time of the measuring processes and of their parent.
        waited: Share of the measuring time in which a process stood in the queue for its core; the worst of all.
        siblings: Cores that share arithmetic with those that measure, and do not measure themselves.
    """
    span = max(wall_s, 1e-9)
    core_time = span * max(after.cores, 1)
    load = None if after.busy_s is None or before.busy_s is None else max(0.0, after.busy_s - before.busy_s - own_cpu_s) / core_time
    steal = None if after.steal_s is None or before.steal_s is None else (after.steal_s - before.steal_s) / core_time
    throttled = (after.throttled_s - before.throttled_s) / span
    swapped = after.swapped_bytes - before.swapped_bytes
    sibling = max((after.core_busy_s.get(core, 0.0) - before.core_busy_s.get(core, 0.0) for core in siblings), default=0.0) / span
    mhz = (*before.mhz, *after.mhz)
    found = {
        "other processes kept the cores busy": (load or 0.0) > LOAD_LIMIT,
        "another process took the core": waited > WAITED_LIMIT,
        "the hypervisor took the cores": (steal or 0.0) > STEAL_LIMIT,
        "the container's quota held the process back": throttled > THROTTLED_LIMIT,
        "memory was swapped": swapped > SWAP_LIMIT_BYTES,
        "the other hyper-thread of the core was busy": sibling > SIBLING_LIMIT,
        "the processor changed its frequency": bool(mhz) and max(mhz) > FREQUENCY_LIMIT * min(mhz),
    }
    reasons = tuple(reason for reason, present in found.items() if present)
    return Seen(reasons, load, steal, throttled, swapped, mhz, waited)


def governor(cores: Sequence[int] = (), root: Path = _ROOT) -> str:
    """Return the frequency governors of the cores, such as `powersave`; empty where there are none."""
    named = {_read(root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor").strip() for core in cores or (0,)}
    return ", ".join(sorted(named - {""}))


def other_siblings(cores: Sequence[int], root: Path = _ROOT) -> list[int]:
    """Return the hyper-threads beside these cores that are not among them."""
    found: set[int] = set()
    for core in cores:
        text = _read(root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        found |= set(parse_cores(text))
    return sorted(found - set(cores))


def parse_cores(text: str) -> list[int]:
    """Return the cores of a list as Linux writes it, such as `0-3,8`."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            found += range(int(first), int(last if last.isdigit() else first) + 1)
    return found


def read_joules(root: Path = _ROOT) -> tuple[float, float] | None:
    """Return the energy that all processor packages have used, and at which value the counter starts again, joules; None without a sensor.

    Intel's and AMD's RAPL through powercap (docs.kernel.org/power/powercap/powercap.html). Since 2020 only root may read it
    (CVE-2020-8694).
    """
    used = limit = 0.0
    zones = [zone for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:*")) if zone.name.count(":") == 1]
    for zone in zones:
        values = [_read(zone / name).strip() for name in ("energy_uj", "max_energy_range_uj")]
        if not all(one.isdigit() for one in values):
            return None
        used, limit = used + int(values[0]) / 1e6, limit + int(values[1]) / 1e6
    return (used, limit) if zones else None


def joules_between(before: tuple[float, float] | None, after: tuple[float, float] | None) -> float | None:
    """Return the energy between two readings; the counter may have started again once."""
    if before is None or after is None:
        return None
    return after[0] - before[0] if after[0] >= before[0] else after[0] - before[0] + after[1]


def _busy(ticks: list[int]) -> float:
    """Return user, nice, system, irq and softirq time in seconds; guests are inside user (man proc_stat)."""
    return sum(ticks[at] for at in (0, 1, 2, 5, 6) if at < len(ticks)) / _TICKS_PER_S


def _throttled_s(root: Path) -> float:
    """Return the throttled time of the group the process is in: version 2 counts microseconds, version 1 nanoseconds."""
    mounts = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        inside = path.strip("/")
        if not controllers and (found := _numbers(mounts / inside / "cpu.stat", ("throttled_usec",))):
            return found[0] / 1e6
        if "cpu" in controllers.split(",") and (found := _numbers(mounts / "cpu" / inside / "cpu.stat", ("throttled_time",))):
            return found[0] / 1e9
    return 0.0


def _frequencies(cores: Sequence[int], root: Path) -> tuple[float, ...]:
    texts = [_read(root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq").strip() for core in cores]
    return tuple(int(text) / 1e3 for text in texts if text.isdigit())


def _numbers(file: Path, names: Sequence[str]) -> list[int]:
    """Return the values of `name value` lines that are there."""
    pairs = [line.split() for line in _read(file).splitlines()]
    known = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
    return [known[name] for name in names if name in known]


def _read(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace")
    return ""
