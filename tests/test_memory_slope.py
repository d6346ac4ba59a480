"""Tests of benchmarks/memory_slope.py: a slope is found where there is one, and nowhere else."""

import json
import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from edgerec.benchmarks.memory_slope import MILLION, Slope, fit_slope, main

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which only Linux has")


def slope_of(call: str, calls: int) -> Slope:
    """Return the slope of a call in a fresh process: in one that has freed much, a leak first fills the holes."""
    code = f"""
from itertools import count
from edgerec.benchmarks.memory_slope import fit_slope, sample_memory
kept, numbers = [], count()
slope = fit_slope(sample_memory(lambda: {call}, {calls}, 200, 1000), {calls})
print(slope.bytes, slope.low, slope.high)
"""
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    return Slope(*map(float, out.stdout.split()))


@linux
def test_a_leak_is_found() -> None:
    slope = slope_of("kept.append(bytes(1000))", 20_000)
    assert not slope.met
    # 1,000 bytes, 33 of Python's header, up to the allocator's next step, and 8 in the list.
    assert 1.0e9 < slope.low <= slope.bytes <= slope.high < 1.2e9


@linux
def test_a_leak_of_one_small_object_in_ten_calls_is_found() -> None:
    assert not slope_of("kept.append(object()) if next(numbers) % 10 == 0 else None", 400_000).met


@linux
def test_a_clean_function_does_not_grow() -> None:
    """A fresh process still settles by a page or a few, here and there; a million calls by less than a thousandth of the leak above."""
    assert slope_of("bytes(1000)", 400_000).bytes < 1e6


def test_an_exact_line_is_its_own_slope() -> None:
    slope = fit_slope([7 + 3 * at for at in range(200)], 200)
    assert slope == Slope(*[pytest.approx(3e6)] * 3)


@pytest.mark.parametrize(
    ("memory", "told"),
    [
        ([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8], (0.3666666666666667, 0.0, 0.8)),
        ([0, 0, 0, 0, 0, 0, 0, 1, 1, 1], (0.0, 0.0, 0.16666666666666666)),
        ([0] * 10, (0.0, 0.0, 0.0)),
    ],
)
def test_the_interval_is_scipys(memory: list[int], told: tuple[float, float, float]) -> None:
    """`scipy.stats.theilslopes` of scipy 1.17.1 gives these."""
    slope = fit_slope(memory, len(memory) * MILLION)
    assert (slope.bytes, slope.low, slope.high) == pytest.approx(told)


def test_one_step_is_no_slope() -> None:
    """An allocator that takes a megabyte once, at three quarters of the way."""
    slope = fit_slope([10_000_000] * 150 + [11_000_000] * 50, MILLION)
    assert slope.bytes == 0
    assert slope.met


def test_less_than_a_page_in_a_hundred_thousand_calls_is_none() -> None:
    page = mmap.PAGESIZE
    assert Slope(9.9 * page, 9 * page, 11 * page).met
    assert not Slope(10.1 * page, 9 * page, 11 * page).met
    assert Slope(10.1 * page, -1, 30 * page).met


@linux
def test_a_short_run_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "memory_slope.json"
    code = main(["--output", str(output)], calls=2000)
    record = json.loads(output.read_text())
    printed = capsys.readouterr().out
    assert f"slope {record['slope']['bytes']:,.0f} bytes per 1,000,000 predictions" in printed
    assert all(len(line) <= 100 for line in printed.splitlines())
    assert code == int(not record["slope"]["met"])
    assert len(record["memory_bytes"]) >= 200
