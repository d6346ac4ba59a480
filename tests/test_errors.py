"""One small tree; three parts; exit codes."""

import pickle

import pytest

from edgerec.runtime import errors


def leaves() -> list[type[errors.EdgerecError]]:
    return [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.EdgerecError)]


@pytest.mark.parametrize("kind", leaves())
def test_three_parts_survive_printing_and_pickling(kind: type[errors.EdgerecError]) -> None:
    error = kind("it is wrong", 3, "make it 4")
    assert str(error) == "it is wrong: 3; make it 4"
    copy = pickle.loads(pickle.dumps(error))  # errors cross process borders in training
    assert (type(copy), str(copy), copy.fix) == (kind, str(error), "make it 4")


def test_exit_codes() -> None:
    assert {kind.__name__: kind.exit_code for kind in leaves() if kind.exit_code != 1} == {"GateError": 3}
