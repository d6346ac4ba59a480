"""What `--data` takes, and what it says to everything else."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgerec.data import open_data
from edgerec.runtime.errors import DataError


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEREC_DATA", str(tmp_path / "empty"))
    return tmp_path


def flat_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    for number in range(5):
        Image.new("RGB", (8, 8)).save(path / f"{number}.png")
    return path


def test_a_name() -> None:
    assert open_data("mnist-8k").name == "mnist-8k"


def test_a_name_with_its_place(workplace: Path) -> None:
    embedded = open_data("mnist-8k")
    images = np.zeros((20, 28, 28), np.uint8)
    np.savez(workplace / "few.npz", x_train=images, y_train=np.arange(20) % 10)
    data = open_data("mnist=few.npz")
    assert (data.name, data.input) == ("mnist", embedded.input)


def test_a_folder_and_a_file(workplace: Path) -> None:
    assert open_data(str(flat_folder(workplace / "mnist"))).name == "folder"  # the folder's own name stays at home
    np.savez(workplace / "mine.npz", images=np.zeros((20, 5, 5), np.uint8))
    assert open_data("mine.npz").name == "npz"


def test_a_name_wins_over_a_folder_of_that_name(workplace: Path) -> None:
    flat_folder(workplace / "mnist-8k")
    assert len(open_data("mnist-8k").test) == 2000
    assert len(open_data("./mnist-8k").test) == 1


def test_a_folder_with_an_equals_sign_is_a_folder(workplace: Path) -> None:
    assert open_data(str(flat_folder(workplace / "run=3"))).name == "folder"


def test_seeds_reach_every_kind(workplace: Path) -> None:
    flat_folder(workplace / "photos")
    np.savez(workplace / "mine.npz", images=np.zeros((50, 5, 5), np.uint8))
    for text in ("mnist-8k", "photos", "mine.npz"):
        ids = [open_data(text, seed=seed).train.ids for seed in (0, 0, 1)]
        assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mnits", r"unknown data set: 'mnits'; did you mean mnist\? known names are mnist-8k, mnist, fashion-mnist, cifar10"),
        ("imagenet", r"unknown data set: 'imagenet'; known names are mnist-8k"),
        ("CIFAR10", r"did you mean cifar10\?"),
        ("", r"unknown data set: ''"),
        ("mnsit=some.npz", r"unknown data set: 'mnsit'; did you mean mnist\?"),
        ("mnist=", r"unknown data set: 'mnist='"),
        ("./missing", r"data does not exist: \./missing; check the path"),
        ("some/where", r"data does not exist: some/where"),
        ("missing.npz", r"data does not exist: missing\.npz"),
        ("notes.txt", r"single file of this kind.*mnist=notes\.txt"),
        ("no_such_module:load", r"no module is named no_such_module: no_such_module:load"),
        ("a\0b", r"unknown data set"),
        ("x" * 5000, r"data cannot be read"),
    ],
)
def test_what_is_refused(workplace: Path, text: str, message: str) -> None:
    (workplace / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=message):
        open_data(text)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions work otherwise there")
def test_a_folder_that_may_not_be_read(workplace: Path) -> None:
    folder = flat_folder(workplace / "locked")
    folder.chmod(0)
    try:
        if not list_is_refused(folder):
            pytest.skip("this user may read everything")
        with pytest.raises(DataError, match="data cannot be read"):
            open_data("locked")
    finally:
        folder.chmod(0o700)


def list_is_refused(folder: Path) -> bool:
    try:
        list(folder.iterdir())
    except PermissionError:
        return True
    return False


def test_reading_data_needs_no_torch_and_no_onnxruntime() -> None:
    code = (
        "import sys; from edgerec.data import open_data; d = open_data('mnist-8k'); next(d.test.batches(4, d.inputs)); print(*sys.modules)"
    )
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    loaded = {module.partition(".")[0] for module in out.stdout.split()}
    assert loaded.isdisjoint({"torch", "onnxruntime", "onnx", "PIL"})
