"""Tests of benchmarks/peak.py."""

from dataclasses import replace

from edgerec.benchmarks.peak import KIND, machine_peak, measure_peak, peak_key
from edgerec.benchmarks.records import machine, versions
from edgerec.runtime import cache


def test_a_peak_is_positive_and_of_its_threads() -> None:
    peak = measure_peak(1, size=64)
    assert peak.int8_gmacs > 0
    assert peak.float_gmacs > 0
    assert peak.threads == 1


def test_the_second_time_it_comes_from_the_cache() -> None:
    assert machine_peak() == machine_peak()
    (entry,) = cache.entries()
    assert entry.kind == KIND


def test_a_damaged_entry_is_measured_again() -> None:
    key = peak_key(machine(), 1, versions().get("onnxruntime", ""))
    cache.store(KIND, key, b"{")
    assert machine_peak().int8_gmacs > 0
    assert cache.load(KIND, key) != b"{"


def test_another_processor_thread_count_or_runtime_is_another_peak() -> None:
    here = machine()
    keys = {
        peak_key(here, 1, "1.0"),
        peak_key(here, 2, "1.0"),
        peak_key(here, 1, "1.1"),
        peak_key(replace(here, cpu="other"), 1, "1.0"),
        peak_key(replace(here, instructions=()), 1, "1.0"),
    }
    assert len(keys) == 5
    assert peak_key(replace(here, python="3.99"), 1, "1.0") in keys
