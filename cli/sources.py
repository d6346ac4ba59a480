"""Where a command's model comes from: a checkpoint, the registry, or the user's own code."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.cores import usable_cores
from ..runtime.errors import ConfigError, ModelError
from ..runtime.spec import ModelSpec

if TYPE_CHECKING:
    from ..data.splits import DataSet
    from ..train.augment import Policy
    from ..train.checkpoint import Checkpoint


def use_threads(threads: int | None) -> int:
    """Give torch this many threads, or every core this process may use; return the number."""
    import torch

    count = threads or usable_cores()
    torch.set_num_threads(count)
    return count


def is_main() -> bool:
    """Whether this process speaks for the run: the first one that `torchrun` started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def choose_policy(named: str | None, data: str) -> "Policy":
    """Return the augmentation that was asked for, or the one for the data set.

    Raises:
        ConfigError: No policy has this name.
    """
    from ..train.augment import POLICIES, policy_for

    if named is not None and named not in POLICIES:
        raise ConfigError("no augmentation policy has this name", repr(named), f"choose one of {', '.join(POLICIES)}")
    return policy_for(named or data)


def is_factory(text: str) -> bool:
    """Whether a text names the user's own code, as `package.module:function`."""
    return ":" in text and not Path(text).exists() and not text.endswith((".safetensors", ".onnx"))


def data_spec(data: "DataSet", step: str, **settings: object) -> ModelSpec:
    """Return the spec of a model that is made for a data set."""
    spec = ModelSpec((data.input,), labels=data.labels)
    provenance = spec.provenance.after(step, data=data.name, **settings)
    return ModelSpec(spec.inputs, spec.labels, provenance=type(provenance)(data_fingerprint=data.fingerprint, history=provenance.history))


def new_checkpoint(model: str, spec: ModelSpec, *, width: float = 1.0, seed: int = 0, weights: Path | None = None) -> "Checkpoint":
    """Build a model of the registry, or the user's own, for a spec.

    Raises:
        ConfigError: No such model, or the input is not square and the registry's models need that.
        ModelError: The user's factory or the weights cannot be used.
    """
    from ..train.checkpoint import fresh_checkpoint
    from ..train.models import Architecture
    from ..train.weights import load_weights

    if is_factory(model):
        checkpoint = fresh_checkpoint(model, spec, seed=seed)
    else:
        image = spec.input
        if image.height != image.width:
            raise ConfigError("the registry's models take square images", f"{image.height}x{image.width}", "give a square --input-size")
        checkpoint = fresh_checkpoint(Architecture(model, max(len(spec.labels), 1), image.channels, image.height, width), spec, seed=seed)
    if weights is not None:
        load_weights(checkpoint.model, weights)
    return checkpoint


def open_checkpoint(path: Path, factory: str | None) -> "Checkpoint":
    """Load a checkpoint, and say so when it is an ONNX file instead."""
    from ..train.checkpoint import load_checkpoint

    if path.suffix == ".onnx":
        raise ModelError("this command needs a checkpoint, not an ONNX file", path, "give the .safetensors file that it was exported from")
    return load_checkpoint(path, factory)
