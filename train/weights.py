"""Loading weights into a model: strictly, from formats that cannot run code, with a message that says what does not fit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ..runtime.errors import ModelError
from .tensors import read_tensors

_WRAPPERS = ("state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")  # DistributedDataParallel's and torch.compile's


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """What was loaded, and what had to be taken off to make the names fit.

    Attributes:
        tensors: How many tensors were loaded.
        wrapper: Key under which the file kept its state dict, or "".
        prefix: Prefix that was stripped from every name, or "".
    """

    tensors: int
    wrapper: str = ""
    prefix: str = ""


def load_weights(model: nn.Module, path: Path) -> LoadedWeights:
    """Load a user's weights into `model`, in place; every tensor must fit.

    Args:
        model: The model.
        path: `.safetensors`, or `.pt`/`.pth` with a plain state dict, possibly inside {"state_dict": ...} or {"model": ...}.
            A pickle that holds anything else is refused, never executed.

    Raises:
        ModelError: The file is missing, damaged, not a plain state dict, or of another model.
    """
    if path.suffix == ".safetensors":
        tensors, wrapper = read_tensors(path)[0], ""
    elif path.suffix in (".pt", ".pth"):
        tensors, wrapper = _unwrap(_unpickle(path), path)
    else:
        raise ModelError("weights of an unknown format", path, "give a .safetensors, .pt or .pth file")
    prefix = "".join(_strip_(tensors, prefix) for prefix in _PREFIXES)
    load_strictly_(model, tensors, path)
    return LoadedWeights(len(tensors), wrapper, prefix)


def load_strictly_(model: nn.Module, tensors: Mapping[str, Tensor], source: object) -> None:
    """Copy tensors into a model that has exactly these names and shapes.

    Raises:
        ModelError: A name is missing or unexpected, or a shape differs; the message counts them and names the first. Nothing was copied.
    """
    check_fit(model, tensors, source)
    # Files from before torch 0.4.1 have no such counters, and others drop them: evaluation does not read them.
    counters = {name: tensor for name, tensor in model.state_dict().items() if _is_counter(name)}
    model.load_state_dict(counters | dict(tensors))


def check_fit(model: nn.Module, tensors: Mapping[str, Tensor], source: object) -> None:
    """Compare names and shapes with a model's; it may lie on the `meta` device, where a model of any size takes no memory.

    Raises:
        ModelError: A name is missing or unexpected, or a shape differs; the message counts them and names the first.
    """
    own = cast("dict[str, Tensor]", model.state_dict())
    problems = [
        _listed("missing", [name for name in own if name not in tensors and not _is_counter(name)]),
        _listed("unexpected", [name for name in tensors if name not in own]),
        _listed(
            "other shapes",
            [_shapes(name, tensors[name], own[name]) for name in own if name in tensors and tensors[name].shape != own[name].shape],
        ),
    ]
    if any(problems):
        raise ModelError(
            "the weights are of another model", f"{source}: {'; '.join(filter(None, problems))}", "build the model they were made with"
        )


def _unpickle(path: Path) -> object:
    if not path.is_file():
        raise ModelError("the file does not exist", path, "check the path")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # A damaged pickle raises whatever its bytes happen to say: UnpicklingError, RuntimeError, EOFError, KeyError, UnicodeDecodeError ...
    except Exception as error:
        raise ModelError(
            "this is not a plain state dict, and anything else in a pickle could run code",
            f"{path} ({type(error).__name__})",
            "save it with torch.save(model.state_dict(), path)",
        ) from error


def _unwrap(loaded: object, path: Path) -> tuple[dict[str, Tensor], str]:
    wrapper = ""
    if isinstance(loaded, Mapping):
        wrapper = next((key for key in _WRAPPERS if isinstance(loaded.get(key), Mapping)), "")
        loaded = loaded[wrapper] if wrapper else loaded
    plain = isinstance(loaded, Mapping) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items())
    if not plain or not loaded:
        raise ModelError("this is not a plain state dict", path, "save it with torch.save(model.state_dict(), path)")
    return dict(cast("Mapping[str, Tensor]", loaded)), wrapper


def _strip_(tensors: dict[str, Tensor], prefix: str) -> str:
    if not all(name.startswith(prefix) for name in tensors):
        return ""
    renamed = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    tensors.clear()
    tensors.update(renamed)
    return prefix


def _is_counter(name: str) -> bool:
    return name.endswith(".num_batches_tracked")


def _shapes(name: str, given: Tensor, wanted: Tensor) -> str:
    return f"{name} {tuple(given.shape)} instead of {tuple(wanted.shape)}"


def _listed(what: str, names: Iterable[str]) -> str:
    names = list(names)
    return f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
