"""Everything that changes while a model trains, and how it is put down and picked up again."""

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ..runtime.errors import ModelError
from .precision import with_memory_format_
from .settings import Optimizer
from .tensors import read_tensors, write_tensors

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training images gave.

    Attributes:
        epoch: From 1.
        step: Steps so far.
        loss: Mean over the epoch's steps.
        lr: Learning rate of the last step.
        top1: Accuracy on the validation images, a fraction.
        seconds: Time of the training steps, without validation and saving.
        images_per_s: Training images a second, of all processes together.
    """

    epoch: int
    step: int
    loss: float
    lr: float
    top1: float
    seconds: float
    images_per_s: float


@dataclass(slots=True)
class Run:
    """The state of a training.

    Attributes:
        model: What the optimizer changes.
        averaged: What is validated and saved: the weights' moving average, or a copy of them.
        optimizer: Holds momenta.
        scaler: Keeps fp16's gradients from underflowing; idle otherwise.
        history: Epochs so far.
        best: Weights of the best epoch.
    """

    model: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    history: tuple[Epoch, ...]
    best: State

    @classmethod
    def start(
        cls,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        device: torch.device,
        dtype: torch.dtype,
        memory_format: torch.memory_format,
        recorded: bool = False,
    ) -> "Run":
        """Begin with a copy of `model`, which itself stays as it is.

        Args:
            model: Where training starts.
            optimizer: How a step follows from the gradient.
            device: Where it trains.
            dtype: In which type layers compute.
            memory_format: Order in memory of kernels.
            recorded: Steps will be replayed on a GPU: the learning rate is a tensor there.
        """
        model = with_memory_format_(deepcopy(model).to(device), memory_format)
        averaged = deepcopy(model).eval().requires_grad_(False)
        scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        return cls(model, averaged, optimizer_for(model, optimizer, device if recorded else None), scaler, (), {})

    def finish(self, epoch: Epoch) -> bool:
        """Note an epoch; return whether it is the best so far. Of equals the first stays."""
        improved = all(epoch.top1 > earlier.top1 for earlier in self.history)
        self.history = (*self.history, epoch)
        if improved:
            self.best = {name: tensor.cpu().clone() for name, tensor in self.averaged.state_dict().items()}
        return improved

    def save(self, path: Path, identity: Mapping[str, object]) -> None:
        """Write everything that continues this training to the same result.

        No random state is among it: every epoch starts from seeds of its own.

        Args:
            path: The file.
            identity: What makes a run this one: settings, data, first weights.

        Raises:
            OutputError: The file cannot be written; an old one is left as it was.
        """
        record = {"identity": dict(identity), "history": [asdict(one) for one in self.history], "scaler": self.scaler.state_dict()}
        momenta = {
            f"optimizer.{index}.{name}": value
            for index, values in self.optimizer.state_dict()["state"].items()
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
        tensors = (
            momenta | _named("model", self.model.state_dict()) | _named("averaged", self.averaged.state_dict()) | _named("best", self.best)
        )
        write_tensors(tensors, {"resume": json.dumps(record, sort_keys=True)}, path)

    def restore_(self, path: Path, identity: Mapping[str, object]) -> None:
        """Continue from what `save` wrote.

        Raises:
            ModelError: The file is damaged, or belongs to another run; the message says what differs.
        """
        tensors, metadata = read_tensors(path)
        try:
            record = cast("dict[str, object]", json.loads(metadata["resume"]))
            saved = cast("dict[str, object]", record["identity"])
            _same_run(saved, json.loads(json.dumps(identity)), path)
            history = tuple(Epoch(**one) for one in cast("list[dict[str, int]]", record["history"]))
            self.model.load_state_dict(_under("model", tensors))
            self.averaged.load_state_dict(_under("averaged", tensors))
            self.optimizer.load_state_dict({"state": _momenta(tensors), "param_groups": self.optimizer.state_dict()["param_groups"]})
            self.scaler.load_state_dict(cast("dict[str, object]", record["scaler"]))
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise ModelError("this file does not continue a training", f"{path} ({error})", "train without --resume") from error
        self.history, self.best = history, _under("best", tensors)


def optimizer_for(model: nn.Module, settings: Optimizer, recorded_on: torch.device | None = None) -> torch.optim.Optimizer:
    """Return the optimizer over all weights that are not frozen; only kernels and matrices decay.

    Args:
        model: What is trained.
        settings: How.
        recorded_on: The GPU on which steps are replayed: the learning rate is a tensor there, which a replay reads; None for other steps.
    """
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [one for one in free if one.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [one for one in free if one.ndim <= 1], "weight_decay": 0.0},
    ]
    lr = settings.lr if recorded_on is None else torch.tensor(settings.lr, device=recorded_on)
    fused = recorded_on is not None
    match settings.method:
        case "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=settings.momentum, nesterov=settings.momentum > 0, fused=fused)
        case "adam":
            return torch.optim.Adam(groups, lr=lr, capturable=fused, fused=fused)
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, capturable=fused, fused=fused)


def set_lr_(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all groups, where it lies."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


@torch.no_grad()
def average_(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `averaged` towards `model`: decay x old + (1 - decay) x new; decay 0 copies bit for bit. Counters are copied."""
    for old, new in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if decay > 0 and old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)


def digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model's weights, 64 hexadecimal digits."""
    sha = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def _same_run(saved: dict[str, object], own: dict[str, object], path: Path) -> None:
    differ = sorted(name for name in saved.keys() | own.keys() if saved.get(name) != own.get(name))
    if differ:
        told = ", ".join(_difference(name, saved.get(name), own.get(name)) for name in differ if name != "spec" or differ == ["spec"])
        raise ModelError("the interrupted training was another one", f"{path}: {told}", "train without --resume, or give the same options")


def _difference(name: str, old: object, new: object) -> str:
    """Say what changed, the innermost values only."""
    if isinstance(old, dict) and isinstance(new, dict):
        both = cast("dict[str, object]", old), cast("dict[str, object]", new)
        changed = [key for key in both[0] if both[0][key] != both[1].get(key)]
        return ", ".join(_difference(key, both[0][key], both[1].get(key)) for key in changed)
    if name == "spec":
        return "the model's input, labels or history"
    return f"{name} {old!s:.20} became {new!s:.20}"


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> State:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> State:
    return {name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def _momenta(tensors: Mapping[str, Tensor]) -> dict[int, State]:
    momenta: dict[int, State] = {}
    for key, tensor in _under("optimizer", tensors).items():
        index, _, name = key.partition(".")
        momenta.setdefault(int(index), {})[name] = tensor
    return momenta
