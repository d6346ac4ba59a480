"""Session profiles, and the cores and the processor time they are about."""

import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgerec.benchmarks.duty_cycle import measure_duty_cycle
from edgerec.runtime import open_session
from edgerec.runtime.cores import usable_cores
from edgerec.runtime.errors import ConfigError
from edgerec.runtime.profiles import PROFILES, apply_, find_profile, thread_count

SPINNING = "session.intra_op.allow_spinning"
MODEL = """<ir_version: 8, opset_import: ["" : 17]> double (float[n, 2] x) => (float[n, 2] y) { y = Add (x, x) }"""


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_gives_the_same_answer_and_says_its_name(name: str) -> None:
    session = open_session(onnx.parser.parse_model(MODEL).SerializeToString(), profile=name)
    np.testing.assert_array_equal(session.run({"x": np.array([[1, 2]], np.float32)})["y"], [[2, 4]])
    assert session.profile == name
    assert session.threads == (1 if name == "throughput" else usable_cores())
    assert open_session(onnx.parser.parse_model(MODEL).SerializeToString(), profile=name, threads=2).threads == 2


def test_options_reach_onnxruntime() -> None:
    found = {name: onnxruntime.SessionOptions() for name in PROFILES}
    for name, settings in found.items():
        apply_(PROFILES[name], 3, settings)
        assert (settings.intra_op_num_threads, settings.inter_op_num_threads) == (3, 1)
    assert found["camera"].get_session_config_entry(SPINNING) == "0"
    assert not found["low-memory"].enable_cpu_mem_arena
    assert found["latency"].enable_cpu_mem_arena
    with pytest.raises(RuntimeError, match="does not have"):
        found["latency"].get_session_config_entry(SPINNING)  # not set: ONNX Runtime spins by default


def test_wrong_profiles_and_threads_are_said() -> None:
    with pytest.raises(ConfigError, match="latency, throughput, camera, low-memory"):
        find_profile("fast")
    with pytest.raises(ConfigError, match="at least 1"):
        thread_count(PROFILES["camera"], 0)


def cores_in(folder: Path, membership: str, files: dict[str, str]) -> int:
    """Count the cores of a process in these control groups."""
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (folder / "membership").write_text(membership)
    return usable_cores(folder / "cgroup", folder / "membership")


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/\n", {"cpu.max": "100000 100000"}),
        ("0::/\n", {"cpu.max": "50000 100000"}),  # half a core is one thread
        ("0::/\n", {"cpu.max": "190000 100000"}),  # a second thread would be stopped in the middle of a call
        ("0::/a/b\n", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}),  # the limit sits on an outer group
        ("0::/a/b\n", {"a/b/cpu.max": "100000 100000"}),
        ("0::/not/mounted/here\n", {"cpu.max": "100000 100000"}),  # a container sees its own group as the root
        (
            "4:cpu,cpuacct:/job\n2:memory:/other\n",
            {"cpu,cpuacct/job/cpu.cfs_quota_us": "100000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"},
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "20000", "cpu/cpu.cfs_period_us": "20000"}),
        ("1:cpu:/x\n0::/y\n", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "50000"}),  # both versions mounted
        ("0::/../..\n", {"cpu.max": "100000 100000"}),  # outside of this cgroup namespace
    ],
)
def test_a_quota_is_found_wherever_it_sits(tmp_path: Path, membership: str, files: dict[str, str]) -> None:
    assert cores_in(tmp_path, membership, files) == 1


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu.max": "max 100000"},
        {"cpu.max": "nonsense"},
        {"cpu.max": "100000 0"},
        {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
        {"cpu.max": "9900000 100000"},  # a quota of 99 cores gives nobody more cores than there are
    ],
)
def test_without_a_limit_every_core_is_usable(tmp_path: Path, files: dict[str, str]) -> None:
    assert cores_in(tmp_path, "1:cpu:/\n0::/\n", files) == usable_cores(tmp_path / "none", tmp_path / "none")


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_processor_time_counts_work_and_not_sleep() -> None:
    found = measure_duty_cycle({"work": lambda: burn(0.01), "sleep": lambda: time.sleep(0.01)}, frames_per_s=25, seconds=0.2, rounds=2)
    assert 10 <= found["work"].cpu_ms < 20
    assert found["sleep"].cpu_ms < 5
    assert found["sleep"].p50_ms >= 10
    assert found["work"].frames == 10


def test_processor_time_counts_threads_that_burn_in_the_pause() -> None:
    import threading

    stop = threading.Event()
    spinner = threading.Thread(target=lambda: [burn(0.001) for _ in iter(stop.is_set, True)])
    spinner.start()
    try:
        found = measure_duty_cycle({"nothing": lambda: None}, frames_per_s=25, seconds=0.2, rounds=1)
    finally:
        stop.set()
        spinner.join()
    assert found["nothing"].cpu_ms > 5


def test_frames_that_come_late_are_counted() -> None:
    assert measure_duty_cycle({"slow": lambda: time.sleep(0.05)}, frames_per_s=100, seconds=0.05, rounds=1)["slow"].late >= 4


@pytest.mark.parametrize(("pace", "seconds"), [(0, 1), (-1, 1), (float("nan"), 1), (10, 0)])
def test_a_pace_must_be_above_zero(pace: float, seconds: float) -> None:
    with pytest.raises(ConfigError, match="above zero"):
        measure_duty_cycle({"nothing": lambda: None}, frames_per_s=pace, seconds=seconds)
