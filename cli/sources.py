"""Where a command's images and model come from: data sets, checkpoints, the registry, or the user's own code."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.cores import usable_cores
from ..runtime.errors import ConfigError, DataError, ModelError
from ..runtime.factory import names_function
from ..runtime.spec import ModelSpec, Provenance
from .console import progress_bar, say

if TYPE_CHECKING:
    from ..data.splits import DataSet, Split
    from ..train.checkpoint import Checkpoint


def use_threads(threads: int | None) -> int:
    """Give torch this many threads, or this process's share of the cores it may use; return the number."""
    import torch

    count = threads or max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    torch.set_num_threads(count)
    return count


def is_main() -> bool:
    """Whether this process speaks for the run: the first one that `torchrun` started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def open_images(text: str, *, skip_bad: bool = False, quiet: bool = False) -> "DataSet":
    """Open a data set, with a bar while it is downloaded.

    How it is carved into splits is the same for every command, whatever their `--seed`: another carving would train on images that a
    later `bench` takes for test images.
    """
    from ..data import open_data

    with progress_bar("download", None, quiet=quiet) as bar:
        return open_data(text, skip_bad=skip_bad, progress=lambda present, total: bar.show(present, total or present))


def check_images(splits: "Sequence[Split]", *, quiet: bool = False) -> None:
    """Decode every image once, so that a damaged one is named before hours of training."""
    with progress_bar("check images", sum(len(split) for split in splits), quiet=quiet) as bar:
        for split in splits:
            split.check(bar.advance)


def tell_skipped(*splits: "Split", quiet: bool = False) -> int:
    """Say how many damaged images were left out, and which; return the number."""
    names = [name for split in splits for name in split.skipped]
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        say(f"left out {len(names)} damaged images: {', '.join(names[:3])}{more}", quiet=quiet)
    return len(names)


def check_labels(spec: ModelSpec, data: "DataSet", name: object) -> None:
    """Refuse images of other classes than the model's.

    Raises:
        DataError: Both name their classes, and differently.
    """
    if spec.labels and data.labels and spec.labels != data.labels:
        own, theirs = (", ".join(labels[:5]) + (" ..." if len(labels) > 5 else "") for labels in (spec.labels, data.labels))
        raise DataError(
            "the images have other classes than the model", f"{name}: {own}; the data: {theirs}", "use the data this model was made for"
        )


def data_spec(data: "DataSet", step: str, **settings: object) -> ModelSpec:
    """Return the spec of a model that is made for a data set."""
    provenance = Provenance(data_fingerprint=data.fingerprint).after(step, data=data.name, **settings)
    return ModelSpec((data.input,), labels=data.labels, provenance=provenance)


def new_checkpoint(
    model: str, spec: ModelSpec, *, width: float | None = None, blocks: tuple[int, ...] = (), seed: int = 0, weights: Path | None = None
) -> "Checkpoint":
    """Build a model of the registry, or the user's own, for a spec.

    Raises:
        ConfigError: No such model, or options that do not fit it.
        ModelError: The user's factory or the weights cannot be used.
    """
    from ..train.checkpoint import fresh_checkpoint
    from ..train.models import Architecture
    from ..train.weights import load_weights

    if names_function(model):
        if width is not None:
            raise ConfigError(
                "--width is for the registry's models", f"{model}, width {width}", "leave it out; your function decides the width"
            )
        if blocks:
            raise ConfigError("--blocks is for the registry's ResNets", model, "leave it out; your function decides the depth")
        checkpoint = fresh_checkpoint(model, spec, seed=seed)
    else:
        image = spec.input
        if image.height != image.width:
            raise ConfigError("the registry's models take square images", f"{image.height}x{image.width}", "give a square --input-size")
        if not spec.labels:
            raise ConfigError(
                "the registry's models need to know their classes", model, "give --labels, a text file with one class name a line"
            )
        architecture = Architecture(model, len(spec.labels), image.channels, image.height, width or 1.0, blocks)
        checkpoint = fresh_checkpoint(architecture, spec, seed=seed)
    if weights is not None:
        load_weights(checkpoint.model, weights)
    return checkpoint


def open_checkpoint(path: Path, factories: Sequence[str] = ()) -> "Checkpoint":
    """Load a checkpoint, and say so when it is an ONNX file instead.

    Args:
        path: The file.
        factories: What `--factory` gave; a file of the registry needs none, another the one that it names.
    """
    from ..train.checkpoint import load_checkpoint

    if path.suffix == ".onnx":
        raise ModelError("this command needs a checkpoint, not an ONNX file", path, "give the .safetensors file that it was exported from")
    stored = _stored_factory(path)
    return load_checkpoint(path, (stored if stored in factories else factories[0]) if stored and factories else None)


def continued(path: Path, data: "DataSet", factories: Sequence[str], **settings: object) -> "Checkpoint":
    """Load a checkpoint to train it further on a data set."""
    known = open_checkpoint(path, factories)
    check_labels(known.spec, data, path)
    provenance = known.spec.provenance.after("train", data=data.name, **settings)
    return replace(known, spec=replace(known.spec, provenance=replace(provenance, data_fingerprint=data.fingerprint)))


def _stored_factory(path: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return (file.metadata() or {}).get("factory")
    except (SafetensorError, OSError):
        return None  # loading it says what is wrong
