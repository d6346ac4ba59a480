"""Every test has its own cache folder, so that none depends on what ran before on this machine."""

import os
from pathlib import Path

import pytest

# The models here are tiny: threads would wait for each other longer than they compute, most of all beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EDGEREC_CACHE", str(folder))
    return folder
