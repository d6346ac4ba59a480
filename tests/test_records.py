import getpass
import json
import platform
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgerec.benchmarks.accuracy import score
from edgerec.benchmarks.latency import Latency, Speedup
from edgerec.benchmarks.records import Machine, Record, has_int8_dot, machine, versions
from edgerec.runtime.errors import DataError

X86 = """processor\t: 0
model name\t: AMD EPYC 9R14
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx512_bf16

processor\t: 1
model name\t: another one
flags\t\t: fpu
"""
RASPBERRY_PI_5 = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
RASPBERRY_PI_4 = RASPBERRY_PI_5.replace(" asimddp", "").replace("Pi 5", "Pi 4")
RECORD = Record(
    file="small.int8.onnx",
    size_bytes=123_456,
    sha256="ab" * 32,
    provider="cpu",
    threads=1,
    latency=Latency(p50_ms=0.34, p90_ms=0.35, p99_ms=0.4, min_ms=0.33, runs=2000),
    machine=Machine("AMD EPYC", ("avx2", "avx512_vnni"), 2, "x86_64", "Linux 6.1", "3.11.7"),
    versions={"edgerec": "0.1.0", "onnxruntime": "1.32.0"},
    batch=64,
    throughput_images_per_s=5120.5,
    accuracy=score(np.eye(3, dtype=np.float32)[[0, 1, 1]], np.array([0, 1, 0]), 3),
    speedup=Speedup(6.7, 6.6, 6.8),
    placement={"CPUExecutionProvider": 12},
    data_fingerprint="cd" * 8,
)


def _cpuinfo(folder: Path, text: str) -> Machine:
    path = folder / "cpuinfo"
    path.write_text(text)
    return machine(path)


def test_an_x86_machine_with_vnni(tmp_path: Path) -> None:
    found = _cpuinfo(tmp_path, X86)
    assert found.cpu == "AMD EPYC 9R14", "of the first processor"
    assert found.instructions == ("avx2", "avx512f", "avx512_vnni", "avx512_bf16")
    assert has_int8_dot(found)


def test_arm_boards_with_and_without_the_dot_product(tmp_path: Path) -> None:
    five, four = _cpuinfo(tmp_path, RASPBERRY_PI_5), _cpuinfo(tmp_path, RASPBERRY_PI_4)
    assert five.cpu == "Raspberry Pi 5 Model B Rev 1.0"
    assert five.instructions == ("asimd", "asimddp")
    assert has_int8_dot(five)
    assert not has_int8_dot(four)


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    found = machine(tmp_path / "missing")
    assert found.cpu
    if sys.platform != "darwin":
        assert found.instructions == ()
        assert not has_int8_dot(found)


def test_this_machine_has_cores_and_no_owner() -> None:
    found = machine()
    assert found.cores >= 1
    assert found.python == platform.python_version()
    words = repr(found).lower().replace("'", " ").split()
    assert socket.gethostname().lower() not in words
    assert getpass.getuser().lower() not in words


def test_versions_are_read_without_importing() -> None:
    code = "import sys; from edgerec.benchmarks.records import versions; print(sorted(versions())); print('torch' in sys.modules or 'onnxruntime' in sys.modules)"
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert "'numpy'" in out[0]
    assert out[1] == "False"
    assert versions()["numpy"] == np.__version__


@pytest.mark.parametrize("record", [RECORD, replace(RECORD, accuracy=None, speedup=None, throughput_images_per_s=None)])
def test_a_record_survives_json(record: Record) -> None:
    assert Record.from_json(record.to_json()) == record


def test_the_json_form_is_plain() -> None:
    raw = json.loads(RECORD.to_json())
    assert raw["latency"]["p50_ms"] == 0.34
    assert raw["accuracy"]["top1"] == 2 / 3
    assert list(raw) == sorted(raw)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", '"x"', '{"schema_version": 1}', RECORD.to_json()[:-40], RECORD.to_json().replace('"p50_ms"', '"p51_ms"')],
)
def test_what_is_not_a_record_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="not a benchmark record"):
        Record.from_json(text)


def test_a_newer_record_is_refused() -> None:
    with pytest.raises(DataError, match="update edgerec"):
        Record.from_json(RECORD.to_json().replace('"schema_version": 1', '"schema_version": 2'))
