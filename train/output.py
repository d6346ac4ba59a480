"""Where a training run is kept: best and last checkpoint, metrics, and what resumes it."""

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

    Beside `name.safetensors`, the best epoch's checkpoint, lie `name.last.safetensors`, the latest epoch's, `name.metrics.jsonl` with one
    JSON record an epoch, and `name.resume.safetensors`, from which an interrupted run continues.

    Attributes:
        path: The best checkpoint's file, `.safetensors`.
        architecture: What the model was built from, for a model of the registry.
        factory: What builds it, for a user's own.
        plan: What pruning kept of it.
        resume: Continue an interrupted run; it starts from the beginning when none was kept.
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
        """Find out before hours of work that the files cannot be written.

        Raises:
            OutputError: The folder is missing or read-only.
        """
        for path in (self.path, self.last, self.resumable, self.metrics):
            check_writable(path)

    def write(self, model: nn.Module, spec: ModelSpec, history: tuple[Epoch, ...], *, best: bool) -> None:
        """Write an epoch's checkpoints and the metrics so far.

        Raises:
            OutputError: A file cannot be written; the old ones are left as they were.
        """
        checkpoint = Checkpoint(model, spec, self.architecture, self.factory, self.plan)
        for path in (self.path, self.last) if best else (self.last,):
            save_checkpoint(checkpoint, path)
        write_text(self.metrics, "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history))
