"""Recorded steps: refused where nothing can record; on a GPU, the same training as steps that Python launches."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgerec.compress import Distillation, distill
from edgerec.data.arrays import from_arrays
from edgerec.data.splits import DataSet
from edgerec.runtime.errors import ConfigError
from edgerec.runtime.spec import InputSpec, ModelSpec
from edgerec.train.augment import Policy
from edgerec.train.batches import cross_entropy
from edgerec.train.checkpoint import Checkpoint, fresh_checkpoint
from edgerec.train.loop import Fitted, fit
from edgerec.train.models import Architecture
from edgerec.train.recorded import check_recordable
from edgerec.train.settings import Optimizer, Settings

INPUT = InputSpec(12, 12, color="grey", mean=(0.4,), std=(0.3,))
SPEC = ModelSpec((INPUT,), ("a", "b"))
SETTINGS = Settings(epochs=2, batch_size=32, optimizer=Optimizer("sgd", 0.05, 1e-4, clip_norm=1.0), precision="fp32", recorded=True)
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(
    ("device", "processes", "dtype"), [("cpu", 1, torch.float32), ("cuda", 2, torch.float32), ("cuda", 1, torch.float16)]
)
def test_what_cannot_be_recorded_is_refused(device: str, processes: int, dtype: torch.dtype) -> None:
    with pytest.raises(ConfigError, match="one CUDA device, in bf16 or fp32"):
        check_recordable(torch.device(device), processes, dtype)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_training_on_a_cpu_refuses_before_the_first_step() -> None:
    with pytest.raises(ConfigError, match="cpu, 1 process"):
        trained(SETTINGS)


@on_a_gpu
@pytest.mark.parametrize("method", ["sgd", "adam", "adamw"])
def test_replayed_training_is_eager_training(method: str) -> None:
    settings = replace(SETTINGS, optimizer=replace(SETTINGS.optimizer, method=method, lr=0.01))
    replayed, eager = trained(settings), trained(replace(settings, recorded=False))
    for name, value in eager.model.state_dict().items():
        assert torch.allclose(replayed.model.state_dict()[name].float(), value.float(), atol=1e-3), name
    assert [one.loss for one in replayed.history] == pytest.approx([one.loss for one in eager.history], abs=1e-3)


@on_a_gpu
def test_replayed_distillation_is_eager_distillation() -> None:
    teacher = fresh_checkpoint(Architecture("cnn", classes=2, channels=1, size=12, width=0.5), SPEC, seed=5)
    results = [
        distill(start(), teacher, stripes(), Distillation(), replace(SETTINGS, recorded=recorded), policy=Policy(flip=True))
        for recorded in (True, False)
    ]
    replayed, eager = ([one.loss for one in result.report.history] for result in results)
    assert replayed == pytest.approx(eager, abs=1e-3)


def start() -> Checkpoint:
    return fresh_checkpoint(Architecture("cnn", classes=2, channels=1, size=12, width=0.25), SPEC, seed=1)


def trained(settings: Settings) -> Fitted:
    return fit(start().model, stripes(), cross_entropy(), settings, spec=SPEC, policy=Policy(flip=True, crop_padding=0.1))


def stripes() -> DataSet:
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 120, (400, 12, 12)), rng.integers(0, 2, 400)
    for image, label, at in zip(pixels, labels, rng.integers(0, 12, 400), strict=True):
        (image if label == 0 else image.T)[at] += 120
    return from_arrays("stripes", {"train": (pixels.astype(np.uint8), labels)}, labels=SPEC.labels, spec=INPUT)
