"""One folder for everything that can be computed or downloaded again.

Optional by design: when the folder is read-only, full or absent, work takes longer and nothing else changes.
Writers rename finished files into place, so that any number of processes may share the folder. Somebody may point it at a folder with
other files in it: only what was written by us, as the names tell, is ever listed or removed.
"""

import contextlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError, EdgerecError
from .files import replacing

FOLDER_VARIABLE = "EDGEREC_CACHE"
LIMIT_VARIABLE = "EDGEREC_CACHE_LIMIT_MB"
DEFAULT_LIMIT_MB = 4096

DOWNLOADS = "data"  # written by data/download.py, under their own names
KINDS = (DOWNLOADS, "teacher-logits", "kernel-times", "peak", "optimised-graphs", "file-hashes", "auto")

STORED = re.compile(r"[0-9a-f]{32}")  # the names that `path_of` gives


@dataclass(frozen=True, slots=True)
class Entry:
    """One cached file: what it is for, its path, its size and when it was last used (seconds since the epoch)."""

    kind: str
    path: Path
    size_bytes: int
    used_at: float


def cache_folder() -> Path:
    """Return the cache folder (it may not exist): `EDGEREC_CACHE`, else the platform's place for caches.

    The same places as platformdirs' `user_cache_dir("edgerec", appauthor=False)`; written out here because the runtime has no dependency
    but numpy and onnxruntime.
    """
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "edgerec" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "edgerec"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgerec"


def path_of(kind: str, key: str) -> Path:
    """Return where the entry `key` of `kind` lies, existing or not; any text may be a key.

    Raises:
        ConfigError: There is no such kind, so that nothing would ever list or remove the entry.
    """
    import hashlib  # here and in the modules beside: 7 ms with OpenSSL, which a start without a cache saves

    return folder_of(kind) / hashlib.sha256(key.encode()).hexdigest()[:32]


def folder_of(kind: str) -> Path:
    """Return the folder of a kind; it may not exist.

    Raises:
        ConfigError: There is no such kind.
    """
    _check(kind)
    return cache_folder() / kind


def load(kind: str, key: str) -> bytes | None:
    """Return what was stored, or None."""
    path = path_of(kind, key)
    try:
        data = path.read_bytes()
        os.utime(path)  # marks the entry as used, for the eviction below
    except OSError:
        return None
    return data


def store(kind: str, key: str, data: bytes) -> None:
    """Keep `data` for later; a cache that cannot be written is no error.

    Raises:
        ConfigError: There is no such kind.
    """
    path = path_of(kind, key)
    with contextlib.suppress(OSError, EdgerecError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(data)
        evict()


def entries() -> list[Entry]:
    """Return every cached file, the longest unused first; no locks, unfinished files, or files of others."""
    found: list[Entry] = []
    for kind in KINDS:
        for path in _files(kind):
            with contextlib.suppress(OSError):  # another process may remove it while we look
                stat = path.stat()
                found.append(Entry(kind, path, stat.st_size, stat.st_mtime))
    return sorted(found, key=lambda entry: entry.used_at)


def evict(limit_mb: float | None = None) -> int:
    """Remove the longest unused computed entries until they are within the limit; return the bytes freed.

    Downloads neither count nor go: only `clear` removes what may need hours, or a network that is not there, to come back.
    """
    limit_bytes = (limit_mb if limit_mb is not None else _limit_mb()) * 1e6
    found = [entry for entry in entries() if entry.kind != DOWNLOADS]
    excess = sum(entry.size_bytes for entry in found) - limit_bytes
    freed = 0
    for entry in found:
        if freed >= excess:
            break
        freed += _remove(entry)
    return freed


def clear(kind: str | None = None) -> int:
    """Remove all entries, or those of one kind; return the bytes freed.

    Raises:
        ConfigError: There is no such kind.
    """
    if kind is not None:
        _check(kind)
    return sum(_remove(entry) for entry in entries() if kind in (None, entry.kind))


def lock_of(path: Path) -> Path:
    """Return the lock file of a download; it lies beside it, and stays."""
    return path.with_name(f".{path.name}.lock")


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise ConfigError("the cache has no such kind", repr(kind), f"choose one of {', '.join(KINDS)}")


def _files(kind: str) -> list[Path]:
    """Return the files of a kind that are ours: stored ones by the form of their names, downloads by the locks beside them."""
    folder = cache_folder() / kind
    if kind == DOWNLOADS:
        return [path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file() and lock_of(path).is_file()]
    return [path for path in folder.glob("*") if path.is_file() and STORED.fullmatch(path.name)]


def _remove(entry: Entry) -> int:
    try:
        entry.path.unlink()
    except OSError:
        return 0
    return entry.size_bytes


def _limit_mb() -> float:
    text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_LIMIT_MB))
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"{LIMIT_VARIABLE} is not a number", repr(text), "give megabytes, such as 4096") from error
