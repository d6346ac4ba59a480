"""Run models under another processor's instructions, with QEMU's user-mode emulation: a real kernel as the oracle, slowly.

What runs is this environment's own Python, numpy and onnxruntime for x86, and a folder with those of aarch64 for ARM.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..runtime.errors import ConfigError, GateError

Arrays = Mapping[str, npt.NDArray[np.generic]]

# Runs where only numpy and onnxruntime are installed: every *.onnx of a folder, with the arrays of the .npz beside it.
_RUNNER = """
import pathlib, sys
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3
for file in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    found = session.run(None, dict(numpy.load(file.with_suffix(".npz"))))
    numpy.savez(file.with_suffix(".out.npz"), **{one.name: array for one, array in zip(session.get_outputs(), found)})
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """How to start Python on some processor.

    Attributes:
        name: What it stands for.
        command: Python's command line, the emulator in front.
        packages: Folder with numpy and onnxruntime; empty where Python finds them.
    """

    name: str
    command: tuple[str, ...]
    packages: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A model to run once.

    Attributes:
        model: Bytes of the ONNX file.
        feeds: Its inputs.
    """

    model: bytes
    feeds: Arrays


def this_machine() -> Machine:
    """Return this processor, without emulation."""
    return Machine("this machine", (sys.executable, "-P"))


def avx2(emulator: str = "qemu-x86_64") -> Machine | None:
    """Return a Haswell, which has AVX2 and no VNNI; None where the emulator is missing or this is no x86 Linux.

    Args:
        emulator: QEMU's command.
    """
    found = shutil.which(emulator)
    if found is None or sys.platform != "linux" or os.uname().machine != "x86_64":
        return None
    # The real binary: QEMU starts programs, not the links of a virtual environment, which then finds no packages by itself.
    return Machine("AVX2 (Haswell)", (found, "-cpu", "Haswell", os.path.realpath(sys.executable), "-P"), str(Path(np.__file__).parents[1]))


def arm64(root: Path, cpu: str = "neoverse-n1", emulator: str = "qemu-aarch64") -> Machine | None:
    """Return an ARM processor; None where the emulator is missing.

    Args:
        root: Folder with an aarch64 Linux: usr/bin/python3.11 and its libraries, numpy and onnxruntime in site/, and an ARM
            such a processor's cpuinfo in proc/ (onnxruntime reads it, and crashes on that of an x86 host).
        cpu: QEMU's name: neoverse-n1 has the dot product, cortex-a57 has not.
        emulator: QEMU's command.

    Raises:
        ConfigError: The folder has no Python.
    """
    found = shutil.which(emulator)
    if found is None:
        return None
    if not (root / "usr/bin/python3.11").is_file():
        raise ConfigError("the folder holds no Python for ARM", root, "unpack Debian's arm64 packages of python3.11 into it")
    return Machine(f"ARM64 ({cpu})", (found, "-cpu", cpu, "-L", str(root), str(root / "usr/bin/python3.11"), "-P"), str(root / "site"))


def run(machine: Machine, jobs: Sequence[Job], timeout_s: float = 600) -> list[dict[str, npt.NDArray[np.generic]]]:
    """Return the outputs of each job, by name, in order.

    Args:
        machine: Where to run them: one process for all.
        jobs: Models and inputs.
        timeout_s: Longest time for all of them.

    Raises:
        GateError: The process failed or took too long.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, job in enumerate(jobs):
            (folder / f"{number:04}.onnx").write_bytes(job.model)
            np.savez(folder / f"{number:04}.npz", allow_pickle=True, **job.feeds)
        environment = {**os.environ, "PYTHONPATH": machine.packages, "OPENBLAS_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                [*machine.command, "-c", _RUNNER, name], env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise GateError(f"{machine.name} took too long", f"{timeout_s} s for {len(jobs)} models", "give smaller models") from error
        if done.returncode:
            raise GateError(f"{machine.name} failed", done.stderr.strip()[-500:], "run the models without emulation first")
        return [dict(np.load(folder / f"{number:04}.out.npz")) for number in range(len(jobs))]
