"""What lies where while a run trains, when it is interrupted, and when it is finished; judged from another process."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgerec.runtime.errors import ConfigError
from edgerec.train.output import Output

# Trains two epochs; told so, it waits in the second one for somebody to stop it.
SCRIPT = """
import signal, sys, time
from pathlib import Path
import numpy as np
import torch
from edgerec.data.arrays import from_arrays
from edgerec.runtime.spec import ModelSpec
from edgerec.train.batches import cross_entropy
from edgerec.train.checkpoint import fresh_checkpoint
from edgerec.train.loop import fit
from edgerec.train.steps import Step
from edgerec.train.models import Architecture
from edgerec.train.output import Output
from edgerec.train.settings import Settings

signal.signal(signal.SIGINT, signal.default_int_handler)  # a process started in the background ignores it
torch.set_num_threads(1)
labels = np.arange(200) % 2
pixels = (np.random.default_rng(0).integers(0, 120, (200, 12, 12)) + 60 * labels[:, None, None]).astype(np.uint8)
data = from_arrays("greys", {"train": (pixels, labels)})
spec = ModelSpec((data.input,), data.labels)
start = fresh_checkpoint(Architecture("cnn", classes=2, channels=1, size=12, width=0.25), spec)

def wait(record):
    if isinstance(record, Step) and record.epoch == 2 and "wait" in sys.argv:
        print("second epoch", flush=True)
        time.sleep(60)

fit(start.model, data, cross_entropy(), Settings(epochs=2, batch_size=32), spec=spec, progress=wait,
    output=Output(Path(sys.argv[1]), start.architecture, resume="resume" in sys.argv))
"""


def command(path: Path, *words: str) -> list[str]:
    return [sys.executable, "-W", "error", "-c", SCRIPT, str(path), *words]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the result of a run that nobody interrupts."""
    path = tmp_path_factory.mktemp("whole") / "whole.safetensors"
    subprocess.run(command(path), check=True, timeout=60)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that interrupts one process")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_an_interrupted_run_leaves_the_old_result_and_continues_to_the_new_one(tmp_path: Path, whole: Path, name: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    with subprocess.Popen(command(path, "wait"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "second epoch\n"
        running.send_signal(getattr(signal, name))
    assert running.returncode != 0
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.glob(".*")] == [], "nothing half-written"
    subprocess.run(command(path, "resume"), check=True, timeout=60)
    assert path.read_bytes() == whole.read_bytes()
    assert path.with_suffix(".last.safetensors").read_bytes() == whole.with_suffix(".last.safetensors").read_bytes()
    assert len(list(tmp_path.iterdir())) == len(list(whole.parent.iterdir())) == 3


def test_a_result_without_an_interrupted_run_cannot_be_resumed(tmp_path: Path) -> None:
    output = Output(tmp_path / "a.safetensors", resume=True)
    output.check()  # nothing is there: the run starts
    output.path.touch()
    with pytest.raises(ConfigError, match="nothing to resume"):
        output.check()
    output.resumable.touch()
    output.check()
