"""Programs of `torch.export`: what they take, and how they are run and exported without the module that they were made from."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from ..runtime.errors import ModelError
from ..runtime.spec import ModelSpec
from .archive import check_archive


@dataclass(frozen=True, slots=True)
class Program:
    """A program of `torch.export`, and what its images are.

    Attributes:
        program: As `torch.export.export` or `load_program` gives it.
        spec: What it expects; an input of the spec has the name of the program's own.
    """

    program: ExportedProgram
    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class ProgramInput:
    """One tensor that a program takes.

    Attributes:
        name: Of forward's argument.
        shape: Of the example; the first dimension counts images.
        free: The dimensions that may have other sizes.
        dtype: numpy's name of its type.
    """

    name: str
    shape: tuple[int, ...]
    free: frozenset[int]
    dtype: str

    def image_shape(self, layout: str) -> tuple[int, int, int] | None:
        """Return (channels, height, width) where this can be an image: four dimensions, float32, one or three channels."""
        if len(self.shape) != 4 or self.dtype != "float32":
            return None
        channels, height, width = self.shape[1:] if layout == "NCHW" else (self.shape[3], *self.shape[1:3])
        return (channels, height, width) if channels in (1, 3) else None


def load_program(path: Path) -> ExportedProgram:
    """Load what `torch.export.save` wrote, after a look at what it holds: torch's loader unpickles and evaluates whatever it is given.

    Raises:
        ModelError: The file is something else, damaged, or could run code while it is loaded.
    """
    check_archive(path)
    try:
        with _silent(), path.open("rb") as file:
            return torch.export.load(file)
    # A damaged program raises whatever its JSON happens to say.
    except Exception as error:
        told = f"{path} ({type(error).__name__}: {str(error).strip()[:100]})"
        raise ModelError("torch cannot load the program", told, f"save it again with torch {torch.__version__.split('+')[0]}") from error


def inputs_of(program: ExportedProgram) -> tuple[ProgramInput, ...]:
    """Return what a program takes, in its order.

    Raises:
        ModelError: It keeps no example inputs, or takes something else than tensors.
    """
    if program.example_inputs is None:
        raise ModelError("the program has no example inputs", "none were saved with it", "export it again with torch.export.export")
    flat = cast("list[object]", pytree.tree_leaves(program.example_inputs))
    names = program.graph_signature.user_inputs
    odd = [type(one).__name__ for one in flat if not isinstance(one, Tensor)]
    if odd or len(flat) != len(names):
        raise ModelError("the program takes something else than tensors", ", ".join(odd), "export it with tensors as its only arguments")
    if any(isinstance(one, Tensor) and not one.ndim for one in flat) or not flat:
        raise ModelError("an input of the program has no batch", ", ".join(map(str, names)), "let every tensor start with the batch")
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    return tuple(_input(str(name), cast("Tensor", one), values.get(str(name))) for name, one in zip(names, flat, strict=True))


def _input(name: str, example: Tensor, traced: object) -> ProgramInput:
    sizes = traced.shape if isinstance(traced, Tensor) else example.shape
    free = frozenset(at for at, size in enumerate(sizes) if isinstance(size, torch.SymInt))
    return ProgramInput(name, tuple(example.shape), free, str(example.dtype).removeprefix("torch."))


class RunsProgram(nn.Module):
    """A program as a module that takes its tensors one after the other.

    Its guards are left out: they refuse sizes other than the example's where the graph takes them, and the parity gate finds out which it does.
    """

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        assert program.call_spec.in_spec is not None  # torch.export always writes it
        self._structure = program.call_spec.in_spec
        # Hidden from nn.Module: a program's module refuses `eval()`, being always as it was exported.
        self._hidden = (program.module(check_guards=False),)

    def forward(self, *inputs: Tensor) -> object:
        given, named = pytree.tree_unflatten(list(inputs), self._structure)
        return self._hidden[0](*given, **named)


@contextmanager
def _silent() -> Generator[None]:
    """Keep torch's log from printing a traceback where an error of ours tells the same."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
