"""The benchmark's verdicts on machines whose answers are known."""

from pathlib import Path

import pytest

from edgerec.benchmarks import saturation_check
from edgerec.benchmarks.emulation import this_machine
from edgerec.benchmarks.records import has_int8_dot, machine
from edgerec.runtime.errors import ConfigError


@pytest.mark.skipif(not has_int8_dot(machine()), reason="this processor's int8 products may saturate")
def test_an_exact_machine_is_called_exact() -> None:
    verdicts = saturation_check.kernels([this_machine()])
    assert len(verdicts) > 15
    assert {cell for row in verdicts.values() for cell in row.values()} == {"exact"}


def test_a_machine_agrees_with_itself() -> None:
    here = this_machine()
    twin = type(here)("its twin", here.command)
    assert saturation_check.sums([here, twin], count=2) == {"its twin": {"share": 0, "largest_steps": 0}}


def test_without_an_emulator_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no emulator"):
        saturation_check.main(["--output", str(tmp_path / "out.json")])
    assert not (tmp_path / "out.json").exists()
