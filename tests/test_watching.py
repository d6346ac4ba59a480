"""What the watch reads from trees that look like Linux's, and what it calls a disturbance."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgerec.benchmarks.own_process import usage
from edgerec.benchmarks.watching import (
    Counters,
    governor,
    joules_between,
    judge,
    other_siblings,
    parse_cores,
    read_counters,
    read_joules,
)
from edgerec.benchmarks.workers import pick_cores

STAT = "cpu  100 10 40 900 5 3 7 20 0 0\ncpu0 60 5 20 400 3 2 3 10 0 0\ncpu1 40 5 20 500 2 1 4 10 0 0\nintr 1\n"


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.fixture
def linux(tmp_path: Path) -> Path:
    write(tmp_path, "proc/stat", STAT)
    write(tmp_path, "proc/vmstat", "nr_free_pages 5\npswpin 3\npswpout 4\n")
    write(tmp_path, "proc/self/cgroup", "0::/box\n")
    write(tmp_path, "sys/fs/cgroup/box/cpu.stat", "usage_usec 9\nnr_throttled 1\nthrottled_usec 1500000\n")
    for core, mhz in ((0, 1200), (1, 3400)):
        folder = f"sys/devices/system/cpu/cpu{core}"
        write(tmp_path, f"{folder}/cpufreq/scaling_cur_freq", f"{mhz * 1000}\n")
        write(tmp_path, f"{folder}/cpufreq/scaling_governor", "powersave\n")
        write(tmp_path, f"{folder}/topology/thread_siblings_list", "0-1\n")
    return tmp_path


def test_counters_of_a_linux(linux: Path) -> None:
    found = read_counters([1], linux)
    # Ticks of 10 ms: user, nice, system, irq and softirq are 100 + 10 + 40 + 3 + 7.
    assert found == Counters(1.6, 0.2, 2, {0: 0.9, 1: 0.7}, 7 * 4096, 1.5, (3400.0,))
    assert governor([0, 1], linux) == "powersave"
    assert other_siblings([0], linux) == [1]


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert read_counters([0], tmp_path) == Counters()
    assert (governor([0], tmp_path), other_siblings([0], tmp_path), read_joules(tmp_path)) == ("", [], None)
    seen = judge(Counters(), Counters(), 1.0, 0.9, 0.0)
    assert (seen.reasons, seen.load, seen.steal) == ((), None, None)


def test_version_1_counts_nanoseconds(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "3:cpuset:/\n1:cpu,cpuacct:/box\n0::/\n")
    write(tmp_path, "sys/fs/cgroup/cpu/box/cpu.stat", "nr_periods 4\nthrottled_time 2500000000\n")
    assert read_counters([], tmp_path).throttled_s == 2.5


@pytest.mark.parametrize("text", ["", "cpu\n", "cpu 1 2\n", "nonsense\n"])
def test_a_strange_proc_is_no_error(tmp_path: Path, text: str) -> None:
    write(tmp_path, "proc/stat", text)
    read_counters([0], tmp_path)


BEFORE = Counters(busy_s=10.0, steal_s=1.0, cores=2, core_busy_s={0: 5.0, 1: 5.0}, mhz=(2000.0,))


@pytest.mark.parametrize(
    ("after", "waited", "siblings", "reason"),
    [
        (replace(BEFORE, busy_s=12.0), 0.0, [], "other processes kept the cores busy"),
        (replace(BEFORE, steal_s=1.2), 0.0, [], "the hypervisor took the cores"),
        (replace(BEFORE, throttled_s=0.05), 0.0, [], "the container's quota held the process back"),
        (replace(BEFORE, swapped_bytes=1 << 22), 0.0, [], "memory was swapped"),
        (replace(BEFORE, mhz=(1500.0,)), 0.0, [], "the processor changed its frequency"),
        (replace(BEFORE, core_busy_s={0: 5.5, 1: 5.5}), 0.0, [1], "the other hyper-thread of the core was busy"),
        (BEFORE, 0.05, [], "another process took the core"),
    ],
)
def test_each_disturbance_is_seen_alone(after: Counters, waited: float, siblings: list[int], reason: str) -> None:
    assert judge(BEFORE, after, 1.0, 0.9, waited, siblings).reasons == (reason,)


def test_our_own_work_is_no_disturbance() -> None:
    after = replace(BEFORE, busy_s=10.95, core_busy_s={0: 5.0, 1: 5.95}, swapped_bytes=4096, mhz=(2050.0,))
    seen = judge(BEFORE, after, 1.0, 0.9, 0.001, [])
    assert seen.reasons == ()
    assert seen.load == pytest.approx(0.025)


def test_energy_of_two_packages_and_a_counter_that_starts_again(tmp_path: Path) -> None:
    for zone, used in (("intel-rapl:0", 5_000_000), ("intel-rapl:1", 7_000_000), ("intel-rapl:0:0", 4_000_000)):
        write(tmp_path, f"sys/class/powercap/{zone}/energy_uj", f"{used}\n")
        write(tmp_path, f"sys/class/powercap/{zone}/max_energy_range_uj", "100000000\n")
    assert read_joules(tmp_path) == (12.0, 200.0), "a core's zone is inside its package's"
    assert joules_between((12.0, 200.0), (15.0, 200.0)) == 3.0
    assert joules_between((198.0, 200.0), (1.0, 200.0)) == 3.0
    assert joules_between(None, (1.0, 200.0)) is None


def test_an_unreadable_sensor_gives_no_energy(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/powercap/intel-rapl:0/name", "package-0\n")
    assert read_joules(tmp_path) is None


def test_cores_as_linux_writes_them() -> None:
    assert parse_cores("0-2,8\n") == [0, 1, 2, 8]
    assert parse_cores("") == []


def test_whole_cores_are_taken_before_hyper_threads(tmp_path: Path) -> None:
    for core, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        write(tmp_path, f"cpu{core}/topology/thread_siblings_list", siblings)
    assert pick_cores(1, [0, 1, 2, 3], tmp_path) == [3]
    assert pick_cores(2, [0, 1, 2, 3], tmp_path) == [2, 3]
    assert pick_cores(3, [0, 1, 2, 3], tmp_path) == [1, 2, 3]
    assert pick_cores(5, [0, 1, 2, 3], tmp_path) == [], "more threads than cores: the system places them"


def test_usage_from_a_tree(tmp_path: Path) -> None:
    write(tmp_path, "status", "Name:\tpython\nVmHWM:\t   900 kB\nVmRSS:\t   800 kB\n")
    write(tmp_path, "schedstat", "123 456 7\n")
    found = usage(tmp_path)
    assert (found.resident_bytes, found.peak_bytes, found.waited_ns) == (800 * 1024, 900 * 1024, 456)
    assert found.cpu_ns > 0
