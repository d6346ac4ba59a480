"""The user's own code, named as `package.module:function`: one importer for data sets and models.

A file never decides which code runs: the name comes from the command line or the caller, never from a checkpoint.
"""

import contextlib
import importlib
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType

from .errors import EdgerecError

HOW = "write package.module:function"


def names_function(text: str) -> bool:
    """Whether a text has the form `package.module:function`; nothing is imported to find out."""
    module, _, function = text.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), function))


def find_function(text: str, error: type[EdgerecError]) -> Callable[[], object]:
    """Import the function that a text means; it is not called yet.

    Modules of the current folder are found too, after all installed ones: no file beside the user's shadows an installed package.

    Args:
        text: `package.module:function`; the function takes no arguments.
        error: What to raise: DataError for data, ModelError for models.

    Returns:
        A function that calls the user's, and raises `error` when that one raises anything that is no error of ours.

    Raises:
        EdgerecError: Of the class `error`: the text has another form, there is no such module or function, or its module cannot be
            imported.
    """
    if not names_function(text):
        raise error("this names no function", repr(text), HOW)
    module_name, _, name = text.partition(":")
    module = _import(module_name, text, error)
    function = getattr(module, name, None)
    if not callable(function):
        problem = f"the module {module_name} has no function {name}" if function is None else f"{name} is not a function"
        raise error(problem, text, _functions_of(module))

    def call() -> object:
        with _blaming(text, "the function", error):
            return function()

    return call


def _import(module_name: str, text: str, error: type[EdgerecError]) -> ModuleType:
    with _blaming(text, "importing the module", error):
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as missing:
            # What the module itself imports in vain is the module's fault, and told as such.
            if missing.name is None or not f"{module_name}.".startswith(f"{missing.name}."):
                raise
            where = f"run from the folder that holds it ({Path.cwd()}), put that folder on PYTHONPATH, or install it"
            raise error(f"no module is named {missing.name}", text, where) from missing


@contextlib.contextmanager
def _blaming(text: str, what: str, error: type[EdgerecError]) -> Generator[None]:
    """Run the user's code, which may raise anything, with the current folder importable."""
    try:
        with _current_folder_importable():
            yield
    except EdgerecError:
        raise
    except Exception as raised:
        raise error(f"{what} raised {type(raised).__name__}: {raised}", text, "correct it, then try again") from raised


@contextlib.contextmanager
def _current_folder_importable() -> Generator[None]:
    folder = str(Path.cwd())
    importlib.invalidate_caches()
    if folder in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code may have taken it away
            sys.path.remove(folder)


def _functions_of(module: ModuleType) -> str:
    # Its own: what it imports is of no interest.
    own = [name for name, value in vars(module).items() if callable(value) and getattr(value, "__module__", "") == module.__name__]
    names = [name for name in own if not name.startswith("_")]
    return f"it has {', '.join(sorted(names))}" if names else "it has no functions"
