"""The user's own data: `package.module:function`."""

from typing import cast

import numpy as np
import numpy.typing as npt

from ..runtime.errors import DataError
from ..runtime.factory import find_function
from .arrays import from_arrays
from .splits import DataSet

RETURNS = "return an edgerec.data.DataSet, or (images, labels): uint8 (N, H, W) or (N, H, W, 3), and integers (N,) or None"


def open_factory(text: str, seed: int = 0) -> DataSet:
    """Call the function and take what it returns.

    Args:
        text: `package.module:function`; the function takes no arguments and returns a `DataSet` or `(images, labels)`. A `DataSet` keeps
            its own name and splits; a pair is called `function`.
        seed: Same seed, same splits, for `(images, labels)`.

    Raises:
        DataError: The function is not there, raises, or returns something else.
    """
    made = find_function(text, DataError)()
    if isinstance(made, DataSet):
        return made
    if isinstance(made, tuple) and _is_pair(cast("tuple[object, ...]", made)):
        images, labels = cast("tuple[npt.NDArray[np.generic], npt.NDArray[np.generic] | None]", made)
        return from_arrays("function", {"train": (images, labels)}, seed=seed)
    raise DataError("the data function returned something else", f"{text}: {type(made).__name__}", RETURNS)


def _is_pair(made: tuple[object, ...]) -> bool:
    return len(made) == 2 and isinstance(made[0], np.ndarray) and (made[1] is None or isinstance(made[1], np.ndarray))
