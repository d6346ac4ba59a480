"""The cache: found again, bounded, and never in the way."""

import os
import sys
from pathlib import Path

import platformdirs
import pytest

from edgerec.runtime import cache
from edgerec.runtime.errors import ConfigError


def test_round_trip_and_clear() -> None:
    assert cache.load("logits", "a") is None
    cache.store("logits", "a", b"123")
    cache.store("kernels", "a", b"45")
    assert cache.load("logits", "a") == b"123"
    assert cache.clear("logits") == 3
    assert [entry.kind for entry in cache.entries()] == ["kernels"]


def test_the_longest_unused_goes_first() -> None:
    for age, key in enumerate(["new", "middle", "old"]):
        cache.store("logits", key, bytes(1000))
        os.utime(cache.path_of("logits", key), (1e9 - age, 1e9 - age))
    assert cache.evict(limit_mb=0.002) == 1000
    assert cache.load("logits", "old") is None
    assert cache.load("logits", "middle") is not None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("a file where the folder should be")
    monkeypatch.setenv("EDGEREC_CACHE", str(blocker))
    cache.store("logits", "a", b"123")
    assert cache.load("logits", "a") is None
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
