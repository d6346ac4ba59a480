"""The cache: found again, bounded, and never in the way."""

import os
import sys
from pathlib import Path

import platformdirs
import pytest

from edgerec.runtime import cache
from edgerec.runtime.errors import ConfigError

KIND = "teacher-logits"


def write(path: Path, size_bytes: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size_bytes))
    return path


def test_round_trip_and_clear() -> None:
    assert cache.load(KIND, "a") is None
    cache.store(KIND, "a", b"123")
    cache.store(KIND, "b", b"45")
    assert cache.load(KIND, "a") == b"123"
    assert [entry.kind for entry in cache.entries()] == [KIND, KIND]
    assert cache.clear("data") == 0
    assert cache.clear(KIND) == 5
    assert cache.entries() == []


def test_the_longest_unused_goes_first() -> None:
    for age, key in enumerate(["new", "middle", "old"]):
        cache.store(KIND, key, bytes(1000))
        os.utime(cache.path_of(KIND, key), (1e9 - age, 1e9 - age))
    assert cache.evict(limit_mb=0.002) == 1000
    assert cache.load(KIND, "old") is None
    assert cache.load(KIND, "middle") is not None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("a file where the folder should be")
    monkeypatch.setenv("EDGEREC_CACHE", str(blocker))
    cache.store(KIND, "a", b"123")
    assert cache.load(KIND, "a") is None
    assert cache.entries() == []


def test_default_place_is_platformdirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEREC_CACHE")
    if sys.platform.startswith("linux"):
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.cache_folder() == Path(platformdirs.user_cache_dir("edgerec", appauthor=False))


def test_a_wrong_limit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEREC_CACHE_LIMIT_MB", "much")
    with pytest.raises(ConfigError, match="4096"):
        cache.evict()


def test_nothing_foreign_is_listed_or_removed(own_cache: Path) -> None:
    # Somebody's project folder, which has folders named like ours.
    foreign = [
        write(own_cache / name)
        for name in ("notes.txt", "data/table.csv", "data/deep/er/x.gz", f"{KIND}/readme", f"{KIND}/sub/{'a' * 32}", f"photos/{'b' * 32}")
    ]
    in_flight = [
        write(own_cache / "data" / "set.gz.part"),
        write(own_cache / "data" / ".set.gz.lock", 0),
        write(own_cache / KIND / f".{'c' * 32}.k3x"),
    ]
    cache.store(KIND, "a", b"123")
    assert [entry.size_bytes for entry in cache.entries()] == [3]
    assert cache.evict(limit_mb=0) == 3
    assert cache.clear() == 0
    assert all(path.is_file() for path in foreign + in_flight)


def test_downloads_go_only_when_asked(own_cache: Path) -> None:
    for name in ("set.npz", "several/part.gz"):
        path = write(own_cache / "data" / name)
        write(cache.lock_of(path), 0)
    cache.store(KIND, "a", bytes(10))
    assert cache.evict(limit_mb=0) == 10
    assert cache.clear(KIND) == 0
    assert cache.clear("data") == 200
    assert sorted(path.name for path in own_cache.rglob("*.*")) == [".part.gz.lock", ".set.npz.lock"]


def test_downloads_leave_the_limit_to_the_others(own_cache: Path) -> None:
    write(cache.lock_of(write(own_cache / "data" / "large.npz", 10_000)), 0)
    cache.store(KIND, "a", bytes(10))
    assert cache.evict(limit_mb=0.005) == 0


def test_an_unknown_kind_is_named() -> None:
    for call in (cache.clear, lambda kind: cache.load(kind, "a"), lambda kind: cache.store(kind, "a", b"")):
        with pytest.raises(ConfigError, match=r"no such kind: 'logitz'; choose one of data, teacher-logits"):
            call("logitz")
