"""Settings check themselves; schedules against torch's own."""

import math
import warnings

import pytest
import torch

from edgerec.runtime.errors import ConfigError
from edgerec.train.settings import Optimizer, Schedule, Settings


def torch_rates(scheduler: torch.optim.lr_scheduler.LRScheduler, steps: int) -> list[float]:
    rates: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no optimizer steps between the scheduler's
        for _ in range(steps):
            rates.append(scheduler.get_last_lr()[0])
            scheduler.step()
    return rates


def sgd(lr: float) -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


@pytest.mark.parametrize(("warmup", "steps"), [(0.3, 100), (0.25, 40), (0.1, 1000)])
def test_one_cycle_is_torchs(warmup: float, steps: int) -> None:
    theirs = torch.optim.lr_scheduler.OneCycleLR(sgd(1.0), max_lr=1.0, total_steps=steps, pct_start=warmup, cycle_momentum=False)
    schedule = Schedule("one_cycle", warmup)
    ours = [schedule.factor(step, steps) for step in range(steps)]
    assert ours == pytest.approx([*torch_rates(theirs, steps - 1), 1 / 25 / 1e4], abs=1e-12)
    assert max(ours) == 1.0


def test_cosine_is_torchs() -> None:
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(sgd(1.0), T_max=50)
    assert [Schedule("cosine").factor(step, 50) for step in range(50)] == pytest.approx(torch_rates(theirs, 50), abs=1e-12)


def test_warmup_rises_evenly_to_the_highest_rate() -> None:
    rates = [Schedule("constant", 0.4).factor(step, 10) for step in range(10)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8] + [1.0] * 6)
    assert Schedule("cosine", 0.4).factor(4, 10) == 1.0


@pytest.mark.parametrize("shape", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_even_the_shortest_training_has_a_rate(shape: str, warmup: float, steps: int) -> None:
    rates = [Schedule(shape, warmup).factor(step, steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)


@pytest.mark.parametrize(
    ("record", "field", "value"),
    [
        (Optimizer, "method", "adagrad"),
        (Optimizer, "lr", 0.0),
        (Optimizer, "lr", math.nan),
        (Optimizer, "weight_decay", -1e-4),
        (Optimizer, "momentum", 1.0),
        (Optimizer, "clip_norm", math.inf),
        (Schedule, "shape", "linear"),
        (Schedule, "warmup", 1.0),
        (Settings, "epochs", 0),
        (Settings, "batch_size", 0),
        (Settings, "label_smoothing", 1.0),
        (Settings, "ema_decay", 1.0),
        (Settings, "precision", "int8"),
        (Settings, "seed", -1),
    ],
)
def test_values_out_of_range(record: type, field: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        record(**{field: value})
    assert str(value) in caught.value.given
    assert caught.value.fix
