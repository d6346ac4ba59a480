"""Checkpoints: damaged headers and tensors of a small network."""

import json
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path

from ...runtime.spec import InputSpec, ModelSpec
from .mutation import mutate, mutate_json

# Checkpoints live above this floor and need torch: only the process that damages them loads it, by name.
_TRAIN, _MODELS = "edgerec.train", "edgerec.train.models"
_HEAD = 4096  # bytes that are damaged: the header is less than a hundredth of a file


@cache
def samples() -> dict[str, bytes]:
    """Return an intact file."""
    train, models = import_module(_TRAIN), import_module(_MODELS)
    architecture = models.Architecture("resnet8", 2, size=8, width=0.25)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.safetensors"
        train.save_checkpoint(train.fresh_checkpoint(architecture, ModelSpec((InputSpec(8, 8),), labels=("a", "b"))), path)
        return {"resnet8": path.read_bytes()}


def damage(data: bytes, seed: int) -> bytes:
    """Return a checkpoint with damages to its first bytes, to the values of its header, or to those of our metadata inside, in turns."""
    if seed % 4 == 0:
        return mutate(data[:_HEAD], seed) + data[_HEAD:]
    end = 8 + int.from_bytes(data[:8], "little")  # safetensors: the header's length, the header as JSON, the tensors
    header = mutate_json(data[8:end], seed) if seed % 4 == 1 else _with_strange_metadata(data[8:end], seed)
    return len(header).to_bytes(8, "little") + header + data[end:]


def _with_strange_metadata(header: bytes, seed: int) -> bytes:
    """Damage one of our own texts: safetensors itself refuses most other headers."""
    told = json.loads(header)
    own = told["__metadata__"]
    key = sorted(own)[seed // 4 % len(own)]
    own[key] = mutate_json(own[key].encode(), seed).decode()
    return json.dumps(told).encode()


def attempt(name: str, data: bytes, folder: Path) -> None:
    """Load one damaged checkpoint.

    Raises:
        EdgerecError: It is refused.
    """
    del name
    path = folder / "model.safetensors"
    path.write_bytes(data)
    import_module(_TRAIN).load_checkpoint(path)
