"""The user's own data: `package.module:function`."""

import importlib
import re
from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt

from ..runtime.errors import DataError, EdgerecError
from .arrays import from_arrays
from .splits import DataSet

PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
RETURNS = "return an edgerec.data.DataSet, or (images, labels): uint8 (N, H, W) or (N, H, W, 3), and integers (N,) or None"


def open_factory(text: str, seed: int = 0) -> DataSet:
    """Call the function and take what it returns.

    Args:
        text: `package.module:function`; the function takes no arguments and returns a `DataSet` or `(images, labels)`.
        seed: Same seed, same splits, for `(images, labels)`.

    Raises:
        DataError: The function is not there, raises, or returns something else.
    """
    function = _find(text)
    try:
        made = function()
    except EdgerecError:
        raise
    except Exception as error:
        raise DataError(
            "the data function raised", f"{text}: {type(error).__name__}: {error}", "it is called without arguments; mend it"
        ) from error
    if isinstance(made, DataSet):
        return made
    if isinstance(made, tuple) and _is_pair(cast("tuple[object, ...]", made)):
        images, labels = cast("tuple[npt.NDArray[np.generic], npt.NDArray[np.generic] | None]", made)
        return from_arrays(text.partition(":")[2], {"train": (images, labels)}, seed=seed)
    raise DataError("the data function returned something else", f"{text}: {type(made).__name__}", RETURNS)


def _find(text: str) -> Callable[[], object]:
    module, _, name = text.partition(":")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # importing runs the user's code, which may raise anything
        raise DataError(
            "the module with the data function cannot be imported",
            f"{text}: {type(error).__name__}: {error}",
            "check its name; install it, or put its folder on PYTHONPATH",
        ) from error
    if not callable(found):
        problem = "the module has no such function" if found is None else "this is not a function"
        raise DataError(problem, text, f"write package.module:function; it must {RETURNS}")
    return cast("Callable[[], object]", found)


def _is_pair(made: tuple[object, ...]) -> bool:
    return len(made) == 2 and isinstance(made[0], np.ndarray) and (made[1] is None or isinstance(made[1], np.ndarray))
