"""Named tensors in a `.safetensors` file with the same bytes each time."""

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..runtime.errors import ModelError
from ..runtime.files import replacing


def write_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> None:
    """Write tensors and metadata; equal input gives equal bytes.

    Tensors that share memory (tied weights) are written once each.

    Raises:
        OutputError: The file cannot be written; an old one is left as it was.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(_with_metadata(safetensors.torch.save(plain), metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a file's tensors, on the CPU, and its metadata.

    Raises:
        ModelError: The file is missing, cut off, damaged, or of another format.
    """
    if not path.is_file():
        raise ModelError("the file does not exist", path, "check the path")
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            # The tensors that safetensors gives map the file, and Windows lets nobody replace a mapped file.
            return {name: file.get_tensor(name).clone() for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError("this is not a whole .safetensors file", f"{path} ({error})", "copy or train it again") from error


def _with_metadata(serialized: bytes, metadata: Mapping[str, str]) -> bytes:
    # safetensors keeps metadata in a hash map: with several keys its own writer gives other bytes each time.
    size = int.from_bytes(serialized[:8], "little")
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items())), **json.loads(serialized[8 : 8 + size])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the tensors to 8 bytes
    return len(text).to_bytes(8, "little") + text + serialized[8 + size :]
