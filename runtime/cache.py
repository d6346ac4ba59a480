"""One folder for everything that can be computed or downloaded again.

Optional by design: when the folder is read-only, full or absent, work takes longer and nothing else changes.
Writers rename finished files into place, so that any number of processes may share the folder.
"""

import contextlib
import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError, EdgerecError
from .files import replacing

FOLDER_VARIABLE = "EDGEREC_CACHE"
LIMIT_VARIABLE = "EDGEREC_CACHE_LIMIT_MB"
DEFAULT_LIMIT_MB = 4096


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
    """Return where the entry `key` of `kind` lies, existing or not; any text may be a key."""
    return cache_folder() / kind / hashlib.sha256(key.encode()).hexdigest()[:32]


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
    """Keep `data` for later; a cache that cannot be written is no error."""
    path = path_of(kind, key)
    with contextlib.suppress(OSError, EdgerecError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(data)
        evict()


def entries() -> list[Entry]:
    """Return every cached file, the longest unused first."""
    found: list[Entry] = []
    for path in cache_folder().glob("*/**/*"):
        with contextlib.suppress(OSError):  # another process may remove it while we look
            if path.is_file():
                stat = path.stat()
                found.append(Entry(path.relative_to(cache_folder()).parts[0], path, stat.st_size, stat.st_mtime))
    return sorted(found, key=lambda entry: entry.used_at)


def evict(limit_mb: float | None = None) -> int:
    """Remove the longest unused entries until the folder is within its limit; return the bytes freed."""
    limit_bytes = (limit_mb if limit_mb is not None else _limit_mb()) * 1e6
    found = entries()
    excess = sum(entry.size_bytes for entry in found) - limit_bytes
    freed = 0
    for entry in found:
        if freed >= excess:
            break
        freed += _remove(entry)
    return freed


def clear(kind: str | None = None) -> int:
    """Remove all entries, or those of one kind; return the bytes freed."""
    return sum(_remove(entry) for entry in entries() if kind in (None, entry.kind))


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
