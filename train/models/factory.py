"""The user's own models, named as `package.module:function`."""

from collections.abc import Callable

from torch import nn

from ...runtime.errors import ModelError
from ...runtime.factory import find_function


def load_factory(name: str) -> Callable[[], nn.Module]:
    """Import the function that `name` means; it is not called yet.

    Modules are looked for in the current folder too.

    Args:
        name: `package.module:function`; the function takes no arguments and returns the model.

    Returns:
        A function that builds the model and raises ModelError when the user's function raises or returns something else.

    Raises:
        ModelError: The name has another form, there is no such module or function, or the module raises while it is imported.
    """
    factory = find_function(name, ModelError)

    def build() -> nn.Module:
        model = factory()
        if not isinstance(model, nn.Module):
            raise ModelError(
                "the model factory did not return a torch.nn.Module", f"{name} returned {type(model).__name__}", "return the model"
            )
        return model

    return build
