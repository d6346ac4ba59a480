"""`package.module:function`: found, called, and believed only when it returns data."""

import sys
from pathlib import Path

import numpy as np
import pytest

from edgerec.data.factory import open_factory
from edgerec.data.splits import DataSet
from edgerec.runtime.errors import DataError, ModelError
from edgerec.runtime.factory import find_function, names_function

MODULE = """
import numpy as np
from edgerec.data import from_arrays
from edgerec.runtime.errors import DataError

IMAGES = np.arange(20 * 9, dtype=np.uint8).reshape(20, 3, 3)
NUMBER = 3

def pair(): return IMAGES, np.arange(20) % 2
def unlabelled(): return IMAGES, None
def data_set(): return from_arrays("made", {"train": pair()})
def raises(): return 1 / 0
def refuses(): raise DataError("the disk is at home", "disk", "fetch it")
def wrong(): return [1, 2]
def triple(): return IMAGES, IMAGES, IMAGES
def floats(): return IMAGES / 255, np.arange(20) % 2
def needs(path): return path
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edgerec_test_own.py").write_text(MODULE)
    (tmp_path / "edgerec_test_broken.py").write_text("import numpy.nothing\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_what_it_may_return() -> None:
    data = open_factory("edgerec_test_own:pair")
    assert (data.name, data.labels, len(data.test)) == ("function", ("0", "1"), 4)
    assert open_factory("edgerec_test_own:unlabelled").test.labels is None
    assert open_factory("edgerec_test_own:data_set").name == "made"
    assert isinstance(open_factory("edgerec_test_own:data_set"), DataSet)


def test_the_seed_reaches_pairs() -> None:
    ids = [open_factory("edgerec_test_own:pair", seed).train.ids for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("edgerec_test_absent:f", r"no module is named edgerec_test_absent.*PYTHONPATH"),
        ("edgerec_test_broken:f", r"importing the module raised ModuleNotFoundError.*numpy\.nothing"),
        ("edgerec_test_own:absent", r"no function absent: edgerec_test_own:absent; it has data_set, floats"),
        ("edgerec_test_own:NUMBER", "NUMBER is not a function"),
        ("edgerec_test_own:raises", "the function raised ZeroDivisionError: .*: edgerec_test_own:raises"),
        ("edgerec_test_own:needs", r"raised TypeError.*path"),
        ("edgerec_test_own:refuses", "the disk is at home: disk; fetch it"),
        ("edgerec_test_own:wrong", r"returned something else: edgerec_test_own:wrong: list; return"),
        ("edgerec_test_own:triple", r"returned something else: edgerec_test_own:triple: tuple"),
        ("edgerec_test_own:floats", "must be uint8"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_factory(text)


def test_images_arrive_unchanged() -> None:
    data = open_factory("edgerec_test_own:pair")
    batch = next(data.train.batches(3, data.inputs))
    rows = [int(one.partition("/")[2]) for one in batch.ids]
    assert (batch.feeds["input"][..., 0] == np.arange(180, dtype=np.uint8).reshape(20, 3, 3)[rows]).all()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a:b", True),
        ("a.b_1.c:d", True),
        ("a", False),
        ("a:", False),
        (":b", False),
        ("a..b:c", False),
        (r"C:\data", False),
        ("./a:b", False),
    ],
)
def test_what_names_a_function(text: str, wanted: bool) -> None:
    assert names_function(text) is wanted


def test_the_current_folder_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # One module lies on the search path and in the current folder, the other in the current folder alone.
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "edgerec_test_both.py").write_text("def where(): return 'installed'")
    (here / "edgerec_test_both.py").write_text("def where(): return 'here'")
    (here / "edgerec_test_late.py").write_text(
        "import edgerec_test_later as later\ndef where(): import edgerec_test_latest; return later.X"
    )
    (here / "edgerec_test_later.py").write_text("X = 'here'")
    (here / "edgerec_test_latest.py").write_text("")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    path = list(sys.path)
    assert find_function("edgerec_test_both:where", ModelError)() == "installed"
    assert find_function("edgerec_test_late:where", ModelError)() == "here"
    assert sys.path == path


def test_finding_does_not_call() -> None:
    call = find_function("edgerec_test_own:raises", ModelError)
    with pytest.raises(ModelError, match="ZeroDivisionError") as caught:
        call()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
