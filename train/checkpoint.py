"""Checkpoints: one `.safetensors` file that rebuilds its model, never a pickle.

The tensors are the model's `state_dict`. The header's metadata holds what the model is: `edgerec` (the spec), `architecture` (a name of the
registry with its settings) or `factory` (the user's own function, by name), and `plan` (what pruning kept).
Format: https://github.com/huggingface/safetensors#format
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import cast

import torch
from torch import nn

from ..runtime.errors import ConfigError, ModelError
from ..runtime.spec import METADATA_KEY, ModelSpec
from .models import Architecture, create, load_factory
from .plan import PruningPlan, apply_plan
from .tensors import read_tensors, write_tensors
from .weights import check_fit, load_strictly_


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model together with everything that rebuilds it.

    Attributes:
        model: The model with its weights; the plan is already applied.
        spec: What it expects and where it comes from.
        architecture: What it was built from, for a model of the registry.
        factory: `package.module:function` that builds it, for a user's own model.
        plan: What pruning kept of the built model; None for a whole one.
    """

    model: nn.Module
    spec: ModelSpec
    architecture: Architecture | None = None
    factory: str | None = None
    plan: PruningPlan | None = None


def fresh_checkpoint(model: Architecture | str, spec: ModelSpec, *, seed: int = 0) -> Checkpoint:
    """Build an untrained model whose first weights depend on the seed alone.

    Args:
        model: What the registry builds, or the user's own `package.module:function`.
        spec: What the model expects; the versions of torch and edgerec are added to its provenance.
        seed: Of the first weights. The caller's random state is left as it was.

    Raises:
        ConfigError: The registry has no such model.
        ModelError: The user's factory cannot be used.
    """
    versions = {**spec.provenance.versions, "edgerec": version("edgerec"), "torch": str(torch.__version__)}
    spec = replace(spec, provenance=replace(spec.provenance, versions=versions))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(model, str):
            return Checkpoint(load_factory(model)(), spec, factory=model)
        return Checkpoint(create(model), spec, architecture=model)


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; the same checkpoint gives the same bytes.

    Raises:
        ConfigError: The path does not end in `.safetensors`, or the checkpoint does not say how its model is built.
        OutputError: The file cannot be written; an old one is left as it was.
    """
    if path.suffix != ".safetensors":
        raise ConfigError("a checkpoint's name ends in .safetensors", path, f"write {path.with_suffix('.safetensors').name}")
    if (checkpoint.architecture is None) == (checkpoint.factory is None):
        raise ConfigError(
            "a checkpoint needs either an architecture or a factory",
            f"{checkpoint.architecture}, {checkpoint.factory}",
            "say how its model is built",
        )
    metadata = {METADATA_KEY: checkpoint.spec.to_json()}
    if checkpoint.architecture is not None:
        metadata["architecture"] = json.dumps(asdict(checkpoint.architecture), sort_keys=True)
    if checkpoint.factory is not None:
        metadata["factory"] = checkpoint.factory
    if checkpoint.plan is not None:
        metadata["plan"] = checkpoint.plan.to_json()
    write_tensors(checkpoint.model.state_dict(), metadata, path)


def load_checkpoint(path: Path, factory: str | None = None) -> Checkpoint:
    """Rebuild a checkpoint's model: build it, apply the plan, load the weights.

    Args:
        path: A file that `save_checkpoint` wrote.
        factory: `package.module:function`, for a model of the user's own; it must be what the file says. A file alone never makes us import code.

    Returns:
        The checkpoint; its model is on the CPU, in evaluation mode.

    Raises:
        ModelError: The file is missing, damaged, not a checkpoint, of another model, or its factory was not given or is another.
    """
    tensors, metadata = read_tensors(path)
    if METADATA_KEY not in metadata or not {"architecture", "factory"} & metadata.keys():
        raise ModelError(
            "this file is not an edgerec checkpoint",
            path,
            "give a file that edgerec wrote, or build the model by package.module:function and load this file with --weights",
        )
    spec = ModelSpec.from_json(metadata[METADATA_KEY])
    architecture = _architecture(metadata["architecture"], path) if "architecture" in metadata else None
    plan = PruningPlan.from_json(metadata["plan"]) if "plan" in metadata else None
    # A few bytes can describe a model of terabytes, so one of the registry is only sketched before the file's own tensors fit it.
    with torch.device("cpu" if architecture is None else "meta"):
        model = _rebuilt(architecture, metadata.get("factory"), factory, path)
    model = model if plan is None else apply_plan(model, plan)
    check_fit(model, tensors, path)
    if architecture is not None:
        model = _zeros(model)
    load_strictly_(model, tensors, path)
    return Checkpoint(model.eval(), spec, architecture, metadata.get("factory"), plan)


def _rebuilt(architecture: Architecture | None, stored: str | None, given: str | None, path: Path) -> nn.Module:
    # Weights are replaced anyway; the caller's random state shall not depend on how many files were loaded.
    with torch.random.fork_rng(devices=[]):
        if architecture is not None:
            if given is not None:
                raise ModelError("this checkpoint's model is of the registry", f"{path} ({architecture.name})", "load it without a factory")
            try:
                return create(architecture)
            except ConfigError as error:
                raise ModelError("this checkpoint's model cannot be built", f"{path}: {error}", "update edgerec") from error
        if given is None:
            raise ModelError(
                "this checkpoint's model is built by your own code, which is not imported because a file says so",
                f"{path} ({stored})",
                f"give it again: --factory {stored}",
            )
        if given != stored:
            raise ModelError("this checkpoint was made with another factory", f"{given}, the file says {stored}", f"give {stored}")
        return load_factory(given)()


def _zeros(model: nn.Module) -> nn.Module:
    model = model.to_empty(device="cpu")
    for tensor in model.state_dict().values():
        tensor.zero_()
    return model


def _architecture(text: str, path: Path) -> Architecture:
    try:
        raw = cast("Mapping[str, object]", json.loads(text))
        known = {f.name for f in fields(Architecture)}
        if isinstance(blocks := raw.get("blocks", []), list):
            raw = {**raw, "blocks": tuple(cast("list[int]", blocks))}  # JSON has no tuples; files of older versions have no blocks
        return Architecture(**{name: value for name, value in raw.items() if name in known})  # pyright: ignore[reportArgumentType]  # it checks itself
    except (ConfigError, ValueError, TypeError, AttributeError) as error:
        raise ModelError("the checkpoint's architecture is damaged", f"{path}: {text[:80]}", "train or prune it again") from error
