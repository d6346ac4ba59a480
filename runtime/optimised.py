"""Optimised graphs, kept for the next start: ONNX Runtime's rewriting done once, the weights mapped from disk rather than read.

An entry is three files in the cache: a manifest under the entry's key, and under random names the graph and its weights. The manifest is
renamed into place last, so that processes may race: each writes files of its own, and whoever comes last is found. Weights lie in a file of
their own because ONNX Runtime maps it: at 11 M parameters a session opens in 2 ms instead of 36 to 150. The ORT format opens as fast, but
maps weights without alignment: 3 to 6 % slower runs (docs/log.md).
"""

import contextlib
import itertools
import json
import os
import platform
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import cache

KIND = "optimised-graphs"
HASHES = "file-hashes"
SMALLEST_BYTES = 100_000
EXTERNAL_BYTES = 1024  # tensors from this size on go into the mapped file

_FORMAT = 1
_CHUNK = 1 << 15  # 64-bit words: 256 kB stay in the second-level cache
_SETTLED_NS = 2_000_000_000  # a file changed more recently may change again within the same tick of its clock
_EXTERNAL = b"\x0a\x08location"  # how ONNX spells the path of weights outside the file
_HASH = re.compile(rb"([0-9a-f]{64})?")
_CPUINFO = ("vendor_id", "cpu family", "model", "flags", "features", "cpu implementer", "cpu architecture", "cpu variant", "cpu part")


@dataclass(frozen=True, slots=True)
class Entry:
    """A graph found in the cache: its path, and the placement of the nodes when it was made."""

    graph: Path
    nodes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry in the making: its key, and where ONNX Runtime writes the graph and the weights."""

    key: str
    graph: Path
    weights: Path


def key_of(file: Path, options: Mapping[str, str], onnxruntime: str) -> str | None:
    """Return what an optimised graph of this file depends on, as text; None where caching it is not worth it or not safe.

    Args:
        file: The model; it exists.
        options: Options of the CPU provider.
        onnxruntime: Version of ONNX Runtime.

    Returns:
        None for files below `SMALLEST_BYTES`, where looking an entry up costs what it saves, and for files whose weights lie outside.
    """
    try:
        if file.stat().st_size < SMALLEST_BYTES:
            return None
        found = file_hash(file.resolve())
    except OSError:
        return None
    parts = [_FORMAT, found, "CPUExecutionProvider", sorted(options.items()), onnxruntime, processor()]
    return json.dumps(parts) if found else None


def is_usable() -> bool:
    """Return whether entries may be read from the cache and written to it; the folder is made where it is missing."""
    folder = cache.folder_of(KIND)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return _is_ours(folder, folder=True) and os.access(folder, os.W_OK | os.X_OK)


def find(key: str) -> Entry | None:
    """Return an entry that is whole; None when there is none, or it is damaged or written by somebody else."""
    path = cache.path_of(KIND, key)
    if not (_is_ours(path.parent, folder=True) and _is_ours(path) and (text := cache.load(KIND, key))):
        return None
    folder = path.parent.resolve()  # ONNX Runtime refuses weights behind a link
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, OSError):
        manifest = json.loads(text)
        nodes = {str(name): int(count) for name, count in manifest["nodes"].items()}
        if manifest["key"] == key and all(_is_whole(folder / name, told) for name, told in manifest["files"].items()):
            return Entry(folder / str(manifest["graph"]), nodes)
    return None


def draft(key: str) -> Draft:
    """Return where to write an entry."""
    folder = cache.folder_of(KIND)
    return Draft(key, folder.resolve() / os.urandom(16).hex(), folder.resolve() / os.urandom(16).hex())


def publish(made: Draft, nodes: Mapping[str, int]) -> None:
    """Let other sessions find what was written."""
    files = [path for path in (made.graph, made.weights) if path.is_file()]
    try:
        told = {path.name: [path.stat().st_size, _checksum(path)] for path in files}
    except OSError:
        return discard(made)
    old = _files_of(made.key)
    cache.store(KIND, made.key, json.dumps({"key": made.key, "graph": made.graph.name, "files": told, "nodes": dict(nodes)}).encode())
    for path in old:  # whoever has them mapped keeps them: a name goes, not the content
        with contextlib.suppress(OSError):
            path.unlink()
    return None


def discard(made: Draft) -> None:
    """Remove what was written."""
    for path in (made.graph, made.weights):
        with contextlib.suppress(OSError):
            path.unlink()


def _files_of(key: str) -> list[Path]:
    """Return the graph and weights of the present entry, damaged or not."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        manifest = json.loads(cache.load(KIND, key) or b"")
        return [cache.path_of(KIND, key).parent / name for name in manifest["files"] if cache.STORED.fullmatch(name)]
    return []


def _is_whole(path: Path, told: list[Any]) -> bool:
    size, checksum = told
    if not (cache.STORED.fullmatch(path.name) and _is_ours(path) and path.stat().st_size == size and _checksum(path) == checksum):
        return False
    with contextlib.suppress(OSError):
        os.utime(path)  # the eviction removes what was not used for long
    return True


def _is_ours(path: Path, *, folder: bool = False) -> bool:
    """Return whether nobody else could have put this here: a graph runs native code on what its file says.

    A link in place of an entry is refused. The folder may be a link, as people move caches to larger disks, if what it leads to is theirs.
    """
    try:
        found = path.stat() if folder else path.lstat()
    except OSError:
        return False
    right = stat.S_ISDIR(found.st_mode) if folder else stat.S_ISREG(found.st_mode)
    if not hasattr(os, "geteuid"):
        return right
    return right and found.st_uid == os.geteuid() and not found.st_mode & stat.S_IWOTH


def _checksum(path: Path) -> str:
    """Return a checksum that finds any damage, at the speed of memory: SHA-256 over the sums of every 256 kB.

    A tenth of the time of SHA-256 over everything, which would cost 26 of the 140 ms that an entry of 47 MB saves.
    """
    import hashlib

    content, digest = bytearray(_CHUNK * 8), hashlib.sha256()
    words, view = np.frombuffer(content, np.uint64), memoryview(content)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(view):
            view[count : count + -count % 8] = bytes(-count % 8)
            digest.update(words[: -(-count // 8)].sum(dtype=np.uint64).tobytes() + count.to_bytes(4, "little"))
    return digest.hexdigest()


def file_hash(file: Path) -> str:
    """Return the SHA-256 of a file, from the cache if nothing about the file has changed; empty for one whose weights lie outside."""
    known = file.stat()
    key = json.dumps([str(file), known.st_size, known.st_mtime_ns, known.st_ctime_ns, known.st_ino, known.st_dev])
    if _is_ours(cache.path_of(HASHES, key)) and (stored := cache.load(HASHES, key)) is not None and _HASH.fullmatch(stored):
        return stored.decode()
    found = _sha256_of_whole(file)
    if time.time_ns() - max(known.st_mtime_ns, known.st_ctime_ns) > _SETTLED_NS:
        cache.store(HASHES, key, found.encode())
    return found


def _sha256_of_whole(file: Path) -> str:
    """Return the SHA-256 of a file that names no other files; empty for one that may (by chance only costs time)."""
    import hashlib

    digest, end = hashlib.sha256(), b""
    with file.open("rb") as opened:
        while part := opened.read(1 << 20):
            if _EXTERNAL in end + part:
                return ""
            digest.update(part)
            end = part[-len(_EXTERNAL) :]
    return digest.hexdigest()


def processor() -> str:
    """Return what decides which kernels and layouts ONNX Runtime picks: a graph made for AVX-512 must not run on another processor."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            lines = [line.partition(":") for line in itertools.takewhile(str.strip, file)]  # the first processor's
    except OSError:
        lines = []
    told = {key.strip().lower(): value.strip() for key, _, value in lines}
    # Where there is no such file: on Linux this call would start a process.
    name = "" if told else platform.processor()
    return json.dumps([platform.machine(), name, {key: told[key] for key in _CPUINFO if key in told}], sort_keys=True)
