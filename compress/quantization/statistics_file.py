"""Statistics in one file: computed once, read by any range method, added up from several machines.

A line with the format and its version, the SHA-256 of the rest, then an npz: `about` is JSON (key, images, tensor names, axes and numbers of
channels), `counts` has one row a tensor, `low` and `high` hold all channels one after the other. Equal statistics give equal bytes.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ...runtime.errors import DataError
from ...runtime.files import replacing
from .statistics import Key, Statistics, TensorStatistics

_MAGIC = b"edgerec statistics "
_VERSION = b"1\n"  # also of what is in them: another sampling or another number of bins is another version
_HASH_BYTES = 32
_ARRAYS = ("about", "low", "high", "counts")


def save_statistics(statistics: Statistics, path: Path) -> None:
    """Write statistics; a killed process leaves the old file or none.

    Raises:
        OutputError: The folder is missing or read-only, or the disk is full.
    """
    tensors = statistics.tensors
    about = {
        "key": asdict(statistics.key),
        "images": statistics.images,
        "tensors": [[name, one.axis, len(one.channel_low)] for name, one in tensors.items()],
    }
    packed = io.BytesIO()
    np.savez_compressed(
        packed,
        about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        low=np.concatenate([one.channel_low for one in tensors.values()]),
        high=np.concatenate([one.channel_high for one in tensors.values()]),
        counts=np.stack([one.counts for one in tensors.values()]),
    )
    content = packed.getvalue()
    with replacing(path) as temporary:
        temporary.write_bytes(_MAGIC + _VERSION + hashlib.sha256(content).digest() + content)


def load_statistics(path: Path, key: Key | None = None) -> Statistics:
    """Read statistics that `save_statistics` wrote.

    Args:
        path: The file.
        key: What they must belong to; where it leaves `data` empty, any data will do.

    Raises:
        DataError: The file is missing, damaged or something else, of another version, of another key, or of some shards only.
    """
    try:
        found = _read(_content(path))
    except FileNotFoundError as error:
        raise DataError("the file of statistics does not exist", path, "calibrate first, with data") from error
    except OSError as error:
        raise DataError("the file of statistics cannot be read", f"{path} ({error.strerror or error})", "check the path") from error
    except (ValueError, LookupError, TypeError) as error:
        raise DataError("the file of statistics is damaged", path, "calibrate again, with data") from error
    if key is not None:
        _check_key(found.key, key, path)
    return found


def _content(path: Path) -> bytes:
    """Return the npz inside.

    Raises:
        DataError: It is something else, or of another version.
        ValueError: It is damaged.
    """
    whole = path.read_bytes()
    if not whole.startswith(_MAGIC):
        raise DataError("this is no file of statistics", path, "give a file that calibration wrote")
    if not whole.startswith(_MAGIC + _VERSION):
        raise DataError("the statistics were written by another version of edgerec", path, "calibrate again, with data")
    start = len(_MAGIC + _VERSION)
    digest, content = whole[start : start + _HASH_BYTES], whole[start + _HASH_BYTES :]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("the hash is another")
    return content


def _read(content: bytes) -> Statistics:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        arrays: Mapping[str, np.ndarray] = {name: stored[name] for name in _ARRAYS}
    about = json.loads(arrays["about"].tobytes())
    names, axes, channels = zip(*about["tensors"], strict=True)
    ends = np.cumsum(channels)[:-1]
    rows = zip(names, axes, np.split(arrays["low"], ends), np.split(arrays["high"], ends), arrays["counts"], strict=True)
    tensors = {name: TensorStatistics(low, high, counts, axis) for name, axis, low, high, counts in rows}
    key = about["key"]
    done = tuple(key["done"])
    return Statistics(tensors, about["images"], Key(key["model"], key["preprocessing"], key["data"], key["shards"], done))


def _check_key(found: Key, wanted: Key, path: Path) -> None:
    if found.shards > 1:
        raise DataError("the statistics are of some shards only", f"{path}: {found.done} of {found.shards}", "merge all shards")
    if difference := found.difference(Key(wanted.model, wanted.preprocessing, wanted.data or found.data)):
        raise DataError("the statistics belong to something else", f"{path}: {difference}", "calibrate again, with data")
