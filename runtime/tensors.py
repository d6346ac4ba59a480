"""What a model takes and gives, as ONNX Runtime declares it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


class _NodeArg(Protocol):
    name: str
    shape: list[int | str | None]
    type: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a model: its name, its shape (a text is a free dimension), its type as ONNX Runtime writes it."""

    name: str
    shape: tuple[int | str | None, ...]
    type: str


def tensors(declared: Iterable[_NodeArg]) -> tuple[Tensor, ...]:
    """Return the records of ONNX Runtime's own descriptions."""
    return tuple(Tensor(one.name, tuple(one.shape), one.type) for one in declared)
