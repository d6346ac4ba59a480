"""Known data sets: where they are found, in which order, and in which formats."""

import functools
import gzip
import hashlib
import http.server
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgerec.data.named import NAMED, Download, open_named, search_path
from edgerec.runtime import cache
from edgerec.runtime.errors import DataError

COUNT = 40


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reaches the network or this machine's own data."""
    monkeypatch.setenv("EDGEREC_DATA", str(tmp_path / "empty"))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there


def images(level: int, *shape: int) -> np.ndarray:
    return np.full((COUNT, *shape), level, np.uint8)


def write_npz(path: Path, level: int, *shape: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.arange(COUNT, dtype=np.uint8) % 10
    np.savez(path, x_train=images(level, *shape), y_train=labels, x_test=images(level, *shape), y_test=labels)
    return path


def write_idx(folder: Path, level: int) -> Path:
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        pixels = struct.pack(">HBB3I", 0, 8, 3, COUNT, 28, 28) + images(level, 28, 28).tobytes()
        labels = struct.pack(">HBBI", 0, 8, 1, COUNT) + bytes(number % 10 for number in range(COUNT))
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return folder


def level(name: str, given: Path | None = None) -> int:
    data = open_named(name, given)
    return int(next(data.test.batches(1, data.inputs)).feeds["input"].max())


def test_the_embedded_set() -> None:
    data = open_named("mnist-8k")
    assert [len(data.split(name)) for name in ("train", "calibration", "validation", "test")] == [5100, 300, 600, 2000]
    assert np.bincount(data.test.labels).tolist() == [200] * 10
    assert np.bincount(data.calibration.labels).tolist() == [30] * 10
    assert data.labels == tuple("0123456789")
    batch = next(data.test.batches(16, data.inputs))
    assert batch.feeds["input"].shape == (16, 28, 28, 1)
    assert batch.feeds["input"].max() > 200


def test_test_images_are_never_in_another_split() -> None:
    data = open_named("mnist-8k")
    others = {one for name in ("train", "calibration", "validation") for one in data.split(name).ids}
    assert others.isdisjoint(data.test.ids)
    assert len(others) == 6000


def test_the_order_of_places(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("EDGEREC_DATA", f"{first}{os.pathsep}{second}")
    write_idx(second / "mnist", 4)
    assert level("mnist") == 4
    write_npz(first / "mnist" / "mnist.npz", 3, 28, 28)
    assert level("mnist") == 3
    write_npz(own_cache / "data" / "mnist.npz", 2, 28, 28)
    assert level("mnist") == 2
    assert level("mnist", write_npz(tmp_path / "other.npz", 1, 28, 28)) == 1


def test_idx_files_count_only_in_their_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # MNIST and Fashion-MNIST have the same file names: a folder must say which one it holds.
    folder = write_idx(tmp_path / "somewhere" / "fashion-mnist", 5)
    monkeypatch.setenv("EDGEREC_DATA", str(folder))
    assert level("fashion-mnist") == 5
    with pytest.raises(DataError, match="mnist is not on this machine"):
        open_named("mnist")
    assert level("mnist", folder) == 5  # an explicit path is believed


@pytest.mark.parametrize("place", ["cifar10.npz", "cifar10/cifar10.npz"])
def test_cifar10_as_npz(tmp_path: Path, place: str) -> None:
    write_npz(tmp_path / place, 9, 32, 32, 3)
    assert level("cifar10", tmp_path) == 9


def test_cifar10_as_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        (folder / name).write_bytes(bytes([3, *([7] * 3072)]) * 8)
    assert level("cifar10", tmp_path) == level("cifar10", folder) == 7
    assert open_named("cifar10", tmp_path).labels[3] == "cat"


def test_one_fingerprint_in_every_format(tmp_path: Path) -> None:
    from_npz = open_named("mnist", write_npz(tmp_path / "mnist.npz", 6, 28, 28))
    from_idx = open_named("mnist", write_idx(tmp_path / "idx", 6))
    assert from_npz.fingerprint == from_idx.fingerprint
    assert from_npz.train.ids == from_idx.train.ids


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Put `fashion-mnist` on a server on loopback; yields the files that it has."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    files = sorted(write_idx(tmp_path / "served", 8).iterdir())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "served"))) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        pins = tuple(
            Download(f"{url}/{file.name}", hashlib.sha256(file.read_bytes()).hexdigest(), f"fashion-mnist/{file.name}") for file in files
        )
        monkeypatch.setitem(NAMED, "fashion-mnist", replace(NAMED["fashion-mnist"], downloads=pins))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield files
        server.shutdown()
        thread.join()


def test_a_missing_set_is_downloaded_into_the_cache(served: list[Path], own_cache: Path) -> None:
    assert level("fashion-mnist") == 8
    for file in served:
        assert (own_cache / "data" / "fashion-mnist" / file.name).read_bytes() == file.read_bytes()
        file.unlink()
    assert level("fashion-mnist") == 8


def test_only_what_was_downloaded_can_be_cleared(served: list[Path], own_cache: Path) -> None:
    own = write_npz(own_cache / "data" / "cifar10.npz", 5, 32, 32, 3)
    assert level("fashion-mnist") == 8
    assert sorted(entry.path.name for entry in cache.entries()) == [file.name for file in served]
    assert cache.evict(limit_mb=0) == 0
    assert cache.clear("data") == sum(file.stat().st_size for file in served)
    assert own.is_file()
    assert level("fashion-mnist") == 8  # fetched again


def test_a_download_of_several_files_goes_on_with_the_missing_ones(served: list[Path], own_cache: Path) -> None:
    folder = own_cache / "data" / "fashion-mnist"
    folder.mkdir(parents=True)
    served[0].rename(folder / served[0].name)
    assert level("fashion-mnist") == 8


def test_a_cache_that_cannot_be_written_only_costs_time(served: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("EDGEREC_CACHE", str(tmp_path / "file"))
    assert [level("fashion-mnist") for _ in range(2)] == [8, 8]


def test_offline_says_what_to_do() -> None:
    for name in ("mnist", "fashion-mnist", "cifar10"):
        with pytest.raises(
            DataError, match=rf"{name} is not on this machine, and cannot download.*check the network.*{name}=PATH.*EDGEREC_DATA"
        ):
            open_named(name)


def test_places_that_do_not_hold_the_set(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"place of mnist does not exist.*nowhere"):
        open_named("mnist", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"does not hold mnist.*train-images-idx3-ubyte"):
        open_named("mnist", tmp_path)
    with pytest.raises(DataError, match=r"file does not hold mnist.*photo\.jpg"):
        open_named("mnist", tmp_path / "photo.jpg")
    with pytest.raises(DataError, match=r"another shape.*\(40, 28, 28\).*\(N, 32, 32, 3\)"):
        open_named("cifar10", write_npz(tmp_path / "c.npz", 1, 28, 28))
    np.savez(tmp_path / "empty.npz", other=np.zeros(3))
    with pytest.raises(DataError, match=r"npz does not hold mnist.*x_train"):
        open_named("mnist", tmp_path / "empty.npz")


def test_labels_outside_the_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", x_train=images(0, 28, 28), y_train=np.arange(COUNT))
    with pytest.raises(DataError, match=r"labels outside the classes.*label 10 at row 10"):
        open_named("mnist", tmp_path)


def test_the_search_path_has_debians_folder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEREC_DATA")
    assert Path("/usr/share/datasets") in search_path()


def test_pins_are_whole() -> None:
    for known in NAMED.values():
        assert len(known.labels) == 10
        for one in known.downloads:
            assert len(bytes.fromhex(one.sha256)) == 32
