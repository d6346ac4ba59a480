"""Where a training run is kept: its checkpoints, its metrics, and what resumes it; the result appears only when the run is finished."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from ..runtime.errors import ConfigError
from ..runtime.files import check_writable, write_text
from ..runtime.spec import ModelSpec
from .checkpoint import Checkpoint, save_checkpoint
from .models import Architecture
from .plan import PruningPlan
from .run import Epoch


@dataclass(frozen=True, slots=True)
class Output:
    """Where a run is kept, and how its files say the model is built.

    While it trains, `name.best.safetensors` is the best epoch's checkpoint, `name.last.safetensors` the latest epoch's,
    `name.metrics.jsonl` has one JSON record an epoch, and from `name.resume.safetensors` an interrupted run continues. When it is finished
    the best becomes `name.safetensors`, and what resumes it goes: an interrupted run leaves an older `name.safetensors` as it was.

    Attributes:
        path: The result's file, `.safetensors`.
        architecture: What the model was built from, for a model of the registry.
        factory: What builds it, for a user's own.
        plan: What pruning kept of it.
        resume: Continue an interrupted run, or start one where there is neither a result nor a kept epoch. A result that no interrupted
            run lies beside is not trained over.
    """

    path: Path
    architecture: Architecture | None = None
    factory: str | None = None
    plan: PruningPlan | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        """Refuse a name that no checkpoint can have.

        Raises:
            ConfigError: The path does not end in `.safetensors`.
        """
        if self.path.suffix != ".safetensors":
            raise ConfigError("a checkpoint's name ends in .safetensors", self.path, f"write {self.path.with_suffix('.safetensors').name}")

    @property
    def best(self) -> Path:
        """The best epoch's checkpoint, until the run is finished."""
        return self.path.with_suffix(".best.safetensors")

    @property
    def last(self) -> Path:
        """The latest epoch's checkpoint."""
        return self.path.with_suffix(".last.safetensors")

    @property
    def resumable(self) -> Path:
        """What an interrupted run continues from."""
        return self.path.with_suffix(".resume.safetensors")

    @property
    def metrics(self) -> Path:
        """One JSON record an epoch."""
        return self.path.with_suffix(".metrics.jsonl")

    def check(self) -> None:
        """Find out before hours of work that the run cannot be kept here.

        Raises:
            OutputError: The folder is missing or read-only.
            ConfigError: The run shall be resumed, but there is only a result.
        """
        for path in (self.path, self.best, self.last, self.resumable, self.metrics):
            check_writable(path)
        if self.resume and self.path.exists() and not self.resumable.exists():
            raise ConfigError(
                "there is nothing to resume",
                f"{self.path} is there, {self.resumable.name} is not: the run is finished, or was stopped in its first epoch",
                "train without --resume to replace the file when the new run is finished",
            )

    def write(self, model: nn.Module, spec: ModelSpec, history: tuple[Epoch, ...], *, best: bool) -> None:
        """Write an epoch's checkpoints and the metrics so far.

        Raises:
            OutputError: A file cannot be written; the old ones are left as they were.
        """
        for path in (self.best, self.last) if best else (self.last,):
            self._save(model, spec, path)
        write_text(self.metrics, "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history))

    def publish(self, model: nn.Module, spec: ModelSpec) -> None:
        """Write the finished run's result, then remove what only an unfinished one needs.

        A run that is killed in between still has what resumes it, and publishes again.

        Raises:
            OutputError: The file cannot be written; an old one is left as it was.
        """
        self._save(model, spec, self.path)
        for path in (self.best, self.resumable):
            path.unlink(missing_ok=True)

    def _save(self, model: nn.Module, spec: ModelSpec, path: Path) -> None:
        save_checkpoint(Checkpoint(model, spec, self.architecture, self.factory, self.plan), path)
