"""The user's own models, named as `package.module:function`.

A file never decides which code runs: the name comes from the command line or the caller, never from a checkpoint.
"""

import importlib
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from torch import nn

from ...runtime.errors import ConfigError, ModelError


def load_factory(name: str) -> Callable[[], nn.Module]:
    """Import the function that `name` means; it is not called yet.

    Modules are looked for in the current folder too, as `python` does.

    Args:
        name: `package.module:function`; the function takes no arguments and returns the model.

    Returns:
        A function that builds the model and raises ModelError when the user's function raises or returns something else.

    Raises:
        ConfigError: The name has another form, or there is no such module or function.
        ModelError: The module raises while it is imported.
    """
    module_name, _, function_name = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), function_name)):
        raise ConfigError("this does not name a model factory", repr(name), "write package.module:function")
    module = _import(module_name, name)
    factory = getattr(module, function_name, None)
    if not callable(factory):
        raise ConfigError(f"the module {module_name} has no function {function_name}", name, _functions_of(module))

    def build() -> nn.Module:
        return _call(factory, name)

    return build


def _import(module_name: str, name: str) -> ModuleType:
    try:
        with _current_folder_importable():
            return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"no module is named {error.name}", name, f"run from the folder that holds it ({Path.cwd()}), or install it"
            ) from error
        raise _raised("importing the module of a model factory", error, name) from error
    except Exception as error:
        raise _raised("importing the module of a model factory", error, name) from error


def _call(factory: Callable[[], object], name: str) -> nn.Module:
    try:
        with _current_folder_importable():
            model = factory()
    except Exception as error:
        raise _raised("the model factory", error, name) from error
    if not isinstance(model, nn.Module):
        raise ModelError(
            "the model factory did not return a torch.nn.Module", f"{name} returned {type(model).__name__}", "return the model"
        )
    return model


def _raised(what: str, error: Exception, name: str) -> ModelError:
    return ModelError(f"{what} raised {type(error).__name__}: {error}", name, "correct it, then try again")


def _functions_of(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
    return f"it has {', '.join(sorted(names))}" if names else "it has no functions"


@contextmanager
def _current_folder_importable() -> Generator[None]:
    """Put the current folder first on the search path, where `python script.py` would have put the script's."""
    folder = str(Path.cwd())
    importlib.invalidate_caches()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
