"""Two processes train as one does: the same global batches, the same losses and weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edgerec.runtime.errors import ConfigError
from edgerec.train.processes import Processes

SCRIPT = """
import sys
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
from edgerec.train.settings import Optimizer, Settings

torch.set_num_threads(1)
rng = np.random.default_rng(0)
labels = np.arange(600) % 4
pixels = (rng.integers(0, 60, (600, 12, 12)) + 60 * labels[:, None, None]).astype(np.uint8)
data = from_arrays("greys", {"train": (pixels, labels)})
spec = ModelSpec((data.input,), data.labels)
start = fresh_checkpoint(Architecture("cnn", classes=4, channels=1, size=12, width=0.25), spec)
settings = Settings(epochs=2, batch_size=48, optimizer=Optimizer("sgd", 0.05), ema_decay=0.9, precision="fp32")
path = Path(sys.argv[1])
losses = []
fit(start.model, data, cross_entropy(), settings, spec=spec, output=Output(path, start.architecture),
    progress=lambda record: losses.append(record.loss) if isinstance(record, Step) else None)
path.with_suffix(f".losses{torch.distributed.get_rank() if torch.distributed.is_initialized() else ''}").write_text(str(losses))
"""


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, launcher in (("one", []), ("two", torchrun)):
        command = [sys.executable, "-W", "error", *launcher, str(tmp_path / "script.py"), str(tmp_path / f"{name}.safetensors")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
    losses = {name: json.loads((tmp_path / name).read_text()) for name in ("one.losses", "two.losses0", "two.losses1")}
    assert losses["two.losses0"] == losses["two.losses1"], "every process sees the global batch's loss"
    # Sums are taken in another order; nothing else differs.
    assert losses["two.losses0"] == pytest.approx(losses["one.losses"], rel=1e-4)
    assert losses["one.losses"][-1] < losses["one.losses"][0] * 0.7, "there was something to learn"
    one, two = (load_file(tmp_path / f"{name}.last.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5)
    top1 = [[json.loads(line)["top1"] for line in (tmp_path / f"{name}.metrics.jsonl").read_text().splitlines()] for name in ("one", "two")]
    assert top1[0] == top1[1]


def test_one_process_alone() -> None:
    processes = Processes.join()
    assert (processes.rank, processes.count, processes.main) == (0, 1, True)
    assert processes.share(50) == 50
    assert processes.mean(torch.tensor(2.5)) == 2.5


def test_a_batch_that_cannot_be_shared() -> None:
    class Three:
        num_processes = 3

    with pytest.raises(ConfigError, match="50 images, 3 processes"):
        Processes(Three()).share(50)
