"""The state of a training: averaging, which weights decay, and putting it down and picking it up."""

from pathlib import Path

import pytest
import torch
from torch import nn

from edgerec.train.run import Epoch, Run, average_, digest, optimizer_for
from edgerec.train.settings import Method, Optimizer


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def epoch(number: int, top1: float) -> Epoch:
    return Epoch(number, number, 1.0, 0.1, top1, 1.0, 1.0)


def start(model: nn.Module, method: Method = "sgd") -> Run:
    settings = Optimizer(method, 0.1, momentum=0.5)
    return Run.start(model, settings, device=torch.device("cpu"), dtype=torch.float32, memory_format=torch.contiguous_format)


def step(run: Run) -> None:
    run.model(torch.ones(2, 1, 4, 4)).square().sum().backward()
    run.optimizer.step()
    run.optimizer.zero_grad()


def test_average_by_hand() -> None:
    averaged, model = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    averaged.weight.data.fill_(1.0)
    model.weight.data.fill_(3.0)
    average_(averaged, model, 0.75)
    assert averaged.weight.item() == 1.5
    average_(averaged, model, 0)
    assert averaged.weight.item() == 3.0


def test_counters_are_copied_and_statistics_averaged() -> None:
    averaged, model = net(), net()
    model(torch.ones(2, 1, 4, 4))
    average_(averaged, model, 0.5)
    assert averaged[1].num_batches_tracked == 1
    torch.testing.assert_close(averaged[1].running_mean, model[1].running_mean / 2)


@pytest.mark.parametrize("method", ["sgd", "adam", "adamw"])
def test_only_kernels_decay_and_frozen_weights_are_left_out(method: Method) -> None:
    model = net()
    model[1].bias.requires_grad_(False)
    decaying, other = optimizer_for(model, Optimizer(method, 0.1, 0.01)).param_groups
    assert (decaying["weight_decay"], other["weight_decay"]) == (0.01, 0.0)
    assert decaying["params"] == [model[0].weight]
    assert {id(one) for one in other["params"]} == {id(model[0].bias), id(model[1].weight)}


def test_the_first_of_equal_epochs_is_the_best() -> None:
    run = start(net())
    assert [run.finish(epoch(number, top1)) for number, top1 in enumerate([0.5, 0.5, 0.6, 0.4])] == [True, False, True, False]


@pytest.mark.parametrize("method", ["sgd", "adam", "adamw"])
def test_a_step_after_restoring_is_the_step_that_would_have_come(tmp_path: Path, method: Method) -> None:
    run = start(net(), method)
    step(run)
    run.finish(epoch(1, 0.5))
    run.save(tmp_path / "state.safetensors", {"run": 1})
    again = start(net(), method)
    again.restore_(tmp_path / "state.safetensors", {"run": 1})
    assert again.history == run.history
    for one in (run, again):
        step(one)
    assert digest(again.model) == digest(run.model)
    assert digest(again.averaged) == digest(run.averaged)


def test_the_digest_sees_every_weight() -> None:
    model = net()
    first = digest(model)
    assert first == digest(net())
    model[1].running_var[1] += 1e-6
    assert digest(model) != first
