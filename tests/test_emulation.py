"""Running models in another process, and what happens where that fails."""

import sys
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from edgerec.benchmarks.emulation import Job, Machine, arm64, avx2, run, this_machine
from edgerec.runtime.errors import ConfigError, GateError

DOUBLE = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    graph (float[3] x) => (float[3] y) { y = Add (x, x) }
""").SerializeToString()


def test_outputs_come_back_in_order() -> None:
    feeds = [{"x": np.full(3, number, np.float32)} for number in range(12)]
    answers = run(this_machine(), [Job(DOUBLE, one) for one in feeds])
    assert [one["y"].tolist() for one in answers] == [[2 * number] * 3 for number in range(12)]


def test_a_model_that_fails_is_reported() -> None:
    with pytest.raises(GateError, match="this machine failed"):
        run(this_machine(), [Job(b"no model", {})])


def test_a_process_that_takes_too_long_is_ended() -> None:
    with pytest.raises(GateError, match="a slow one took too long"):
        run(Machine("a slow one", (sys.executable, "-c", "import time; time.sleep(60)")), [], timeout_s=0.5)


def test_a_missing_emulator_is_none() -> None:
    assert avx2("no-such-emulator") is None
    assert arm64(Path(), emulator="no-such-emulator") is None


def test_a_folder_without_python_for_arm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no Python for ARM"):
        arm64(tmp_path, emulator=sys.executable)
