"""What a model takes, as `edgerec export` is told: `--input name=3x32x32`, or the program's own example; and random arrays for it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.errors import ConfigError
from ..runtime.random_feeds import random_feeds
from ..runtime.spec import InputSpec, ModelSpec
from ..runtime.tensors import Tensor
from .options import Foreign, read_labels

if TYPE_CHECKING:
    import numpy as np

    from ..export import Program

_FORM = re.compile(r"(?P<name>[^=\s]+)=(?:(?P<dtype>[a-z]+[0-9]*):)?(?P<shape>\d+(?:x\d+)*)?")
# numpy's names of what a graph's input may be, and ONNX Runtime's.
_TYPES = {
    "float32": "float",
    "float16": "float16",
    "float64": "double",
    **{name: name for name in ("int64", "int32", "int16", "int8", "uint32", "uint8", "bool")},
}
_EXAMPLE = "write name=3x32x32 for an image, name=16 for numbers, or name=int64:16 for another type"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a model takes.

    Attributes:
        images: Those that are prepared from pixels.
        tensors: The others; the first dimension is "batch".
        order: All names, as forward takes them.
    """

    images: tuple[InputSpec, ...]
    tensors: tuple[Tensor, ...]
    order: tuple[str, ...]


def read_inputs(texts: Sequence[str], foreign: Foreign) -> Inputs:
    """Return what `--input` says, once an input, in the order of forward's arguments.

    Three sizes of which the first is 1 or 3 are an image, channels x height x width; with a type, or any other shape, they are plain numbers.

    Raises:
        ConfigError: A text has another form, a name comes twice, a type is unknown, or `--input-size` is given as well.
    """
    if foreign.input_size is not None:
        raise ConfigError("--input says all sizes", f"--input-size {foreign.input_size}", "leave --input-size out")
    found = [_read(text, foreign) for text in texts]
    return inputs_in_order(found)


def inputs_in_order(found: Sequence[InputSpec | Tensor]) -> Inputs:
    """Return the inputs by kind, and their names in this order.

    Raises:
        ConfigError: A name comes twice.
    """
    names = tuple(one.name for one in found)
    if len(set(names)) != len(names):
        raise ConfigError("two inputs have the same name", ", ".join(names), "give every input a name of its own")
    images = tuple(one for one in found if isinstance(one, InputSpec))
    return Inputs(images, tuple(one for one in found if isinstance(one, Tensor)), names)


def _read(text: str, foreign: Foreign) -> InputSpec | Tensor:
    match = _FORM.fullmatch(text)
    if match is None:
        raise ConfigError("--input needs a name and a shape without the batch", repr(text), _EXAMPLE)
    name, dtype, shape = match["name"], match["dtype"], tuple(int(size) for size in (match["shape"] or "").split("x") if size)
    if 0 in shape:
        raise ConfigError("an input's sizes are 1 or more", repr(text), _EXAMPLE)
    if dtype is None and len(shape) == 3 and shape[0] in (1, 3):
        return _image(name, shape, foreign)
    if (kind := _TYPES.get(dtype or "float32")) is None:
        raise ConfigError("an input of an unknown type", repr(text), f"choose one of {', '.join(_TYPES)}")
    return Tensor(name, ("batch", *shape), f"tensor({kind})")


def _image(name: str, shape: tuple[int, ...], foreign: Foreign) -> InputSpec:
    return replace(replace(foreign, input_size="x".join(map(str, shape))).over(InputSpec(224, 224)), name=name)


def open_program(path: str, texts: Sequence[str], foreign: Foreign) -> "tuple[Program, Inputs]":
    """Load a `torch.export` program; its example says what it takes.

    Raises:
        ModelError: The file is something else.
        ConfigError: Options say the inputs as well.
    """
    from ..export import Program, load_program
    from ..export.programs import inputs_of

    if texts or foreign.input_size is not None:
        raise ConfigError("a program says itself what it takes", path, "leave --input and --input-size out")
    program = load_program(Path(path))
    found: list[InputSpec | Tensor] = []
    for one in inputs_of(program):
        shape = one.image_shape(foreign.layout or "NCHW")
        kind = _TYPES.get(one.dtype, one.dtype)
        found.append(_image(one.name, shape, foreign) if shape else Tensor(one.name, ("batch", *one.shape[1:]), f"tensor({kind})"))
    inputs = inputs_in_order(found)
    return Program(program, inputs_spec(inputs, foreign)), inputs


def inputs_spec(inputs: Inputs, foreign: Foreign) -> ModelSpec:
    """Return the spec of a model that takes these; numbers stand in the graph alone."""
    return ModelSpec(inputs.images, labels=read_labels(foreign.labels), scores=foreign.scores or "logits")  # type: ignore[arg-type]  # it checks itself


def random_tensors(tensors: Sequence[Tensor], seed: int, count: int) -> "dict[str, np.ndarray]":
    """Return arrays for the inputs that are no images; wide integers are 0 or 1, which every table has."""
    return random_feeds([replace(one, shape=(count, *one.shape[1:])) for one in tensors], seed=seed)
