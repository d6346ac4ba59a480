"""What an exported file is asked: PyTorch's answers to batches of several lengths, and on request to images of several sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.export import ExportedProgram

from ..runtime.errors import ConfigError, ModelError
from ..runtime.preprocess import prepare_feeds
from ..runtime.spec import InputSpec, ModelSpec
from ..train.checkpoint import Checkpoint
from ..train.evaluation import check_model
from .answers import Flat, Outputs, ask_torch, name_outputs, run_torch
from .programs import Program, RunsProgram, inputs_of
from .sizes import ask_at_sizes, free_sides
from .tracing import TRACED_BATCH, cause

Array = npt.NDArray[np.generic]
Axes = Mapping[str, Mapping[int, str]]

_FEWEST_IMAGES = 3  # one alone, and two together


@dataclass(frozen=True, slots=True)
class Question:
    """What every exporter is given, and what its file must answer.

    Attributes:
        module: The model; its outputs are a plain tuple where there are several.
        program: The program to export in its place.
        example: What an exporter runs the model on.
        batches: What the file is asked.
        expected: PyTorch's answers.
        free: Per input, the axes that may have any size, and their names.
    """

    module: nn.Module
    program: ExportedProgram | None
    example: Mapping[str, Array]
    batches: tuple[dict[str, Array], ...]
    expected: tuple[Outputs, ...]
    free: Axes

    @property
    def batch(self) -> int | None:
        """The only number of images that the file takes; None for any."""
        return None if any(0 in axes for axes in self.free.values()) else len(next(iter(self.example.values())))

    @property
    def is_classifier(self) -> bool:
        """Whether the first output is one row for each image, as logits are."""
        return next(iter(self.expected[0].values())).ndim == 2

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in their order."""
        return list(self.expected[0])


def ask_checkpoint(
    checkpoint: Checkpoint, feeds: Mapping[str, Array], batch: int | None, *, free_size: bool, order: Sequence[str] | None
) -> Question:
    """Return what a model's file is asked.

    Args:
        checkpoint: The model; it is not changed.
        feeds: Images by input name, uint8 or prepared, and other tensors as they are.
        batch: The only number of images, or None for any.
        free_size: Whether images may have any height and width.
        order: Names of all inputs in the order of forward's arguments; None for the spec's.

    Raises:
        ModelError: The model refuses its input, or another batch, or another size.
        ConfigError: Fewer than three images, or inputs that the spec does not name.
    """
    model, spec = checkpoint.model, checkpoint.spec
    if free_size and not spec.inputs:
        raise ConfigError("only images have a free height and width", "the model takes no image", "leave --dynamic-size out")
    prepared = _prepared(feeds, spec, order)
    parts = _portions(min(map(len, prepared.values())), batch)
    rank = _rank(model, prepared, batch)
    # Without labels, anything but rows may be what the model is for: a mask, or a feature map.
    classifies = spec.task == "classification" and (rank == 2 or (rank is not None and spec.labels))
    if classifies and batch is None and list(prepared) == [one.name for one in spec.inputs]:
        check_model(model, spec)
    free: dict[str, dict[int, str]] = {name: {} if batch else {0: "batch"} for name in prepared}
    if free_size:
        for name, sides in free_sides(spec).items():
            free[name] |= sides
    return _asked(model, None, prepared, parts, free, flat=rank is None)


def ask_program(program: Program, feeds: Mapping[str, Array], batch: int | None, *, free_size: bool) -> Question:
    """Return what a program's file is asked; which of its axes are free, the program says itself.

    Raises:
        ModelError: The program takes something else than tensors, or refuses its own input.
        ConfigError: A batch or a free size is asked for that the program does not have, or the images do not fit it.
    """
    inputs = inputs_of(program.program)
    prepared = _prepared(feeds, program.spec, [one.name for one in inputs])
    for one in inputs:
        if (found := prepared[one.name].shape[1:]) != one.shape[1:]:
            raise ConfigError("the images have another shape than the program's example", f"{one.name}: {found}", f"give {one.shape[1:]}")
    fixed = None if all(0 in one.free for one in inputs) else inputs[0].shape[0]
    if batch not in (None, fixed):
        own = "any batch" if fixed is None else f"a batch of {fixed}"
        raise ConfigError("a program says itself which batch it takes", f"--batch {batch}, it takes {own}", "leave --batch out")
    named = free_sides(program.spec)
    free = {one.name: _axes(one.free, named.get(one.name, {}), one.name) for one in inputs}
    if free_size and not all(sides.keys() <= free[name].keys() for name, sides in named.items()):
        raise ConfigError(
            "the program takes one image size only",
            ", ".join(f"{one.name} {one.shape}" for one in inputs),
            "make it with dynamic_shapes for height and width, or leave --dynamic-size out",
        )
    parts = _portions(min(map(len, prepared.values())), fixed)
    module = RunsProgram(program.program)
    return _asked(module, program.program, prepared, parts, free, flat=_rank(module, prepared, fixed) is None)


def _axes(free: frozenset[int], sides: Mapping[int, str], name: str) -> dict[int, str]:
    return {at: "batch" if at == 0 else sides.get(at, f"{name}_{at}") for at in sorted(free)}


def _asked(
    model: nn.Module, program: ExportedProgram | None, prepared: Mapping[str, Array], parts: Sequence[slice], free: Axes, *, flat: bool
) -> Question:
    batches = [{name: array[part] for name, array in prepared.items()} for part in parts]
    expected = [ask_torch(model, one) for one in batches]
    # As many as the file takes, or two of any number.
    example = {name: array[:TRACED_BATCH] if 0 in free[name] else array for name, array in batches[-1].items()}
    for one, answers in ask_at_sizes(model, example, free):
        batches.append(one)
        expected.append(answers)
    return Question(Flat(model) if flat else model, program, example, tuple(batches), tuple(expected), free)


def _portions(count: int, batch: int | None) -> list[slice]:
    """Return one image and all others; with a fixed batch, as many whole ones as there are."""
    if batch is None:
        return [slice(1), slice(1, count)]
    if not 1 <= batch <= count:
        raise ConfigError("the fixed batch needs that many images for the gate", f"--batch {batch}, {count} images", f"give 1 to {count}")
    return [slice(at, at + batch) for at in range(0, count - batch + 1, batch)]


def _rank(model: nn.Module, prepared: Mapping[str, Array], batch: int | None) -> int | None:
    """Return the number of dimensions that forward gives, or None where it gives several tensors; what it raises is told."""
    given = ", ".join(f"{name} {array.shape[1:]}" for name, array in prepared.items())
    try:
        result = run_torch(model, {name: array[: batch or TRACED_BATCH] for name, array in prepared.items()})
    except Exception as error:  # a user's forward may raise anything
        fix = (
            f"forward takes other arguments than {', '.join(prepared)}"
            if isinstance(error, TypeError)
            else "check --input-size and the model"
        )
        raise ModelError("the model refuses its input", f"{given} ({cause(error)})", fix) from error
    if isinstance(result, torch.Tensor):
        return result.ndim
    name_outputs(result)  # raises where there are no tensors
    return None


def _prepared(feeds: Mapping[str, Array], spec: ModelSpec, order: Sequence[str] | None) -> dict[str, Array]:
    """Return the arrays in the order of `forward`'s arguments."""
    images = {one.name: one for one in spec.inputs}
    names = list(images) if order is None else list(order)
    if sorted(feeds) != sorted(names) or not names or not set(images) <= set(names):
        own = "" if order is None else f"; the spec names {', '.join(images)}"
        told = f"{', '.join(feeds) or 'none'}{own}"
        raise ConfigError("the images do not fit the model's inputs", told, f"give arrays named {', '.join(names)}")
    prepared = prepare_feeds({name: feeds[name] for name in names}, spec)
    for name, one in images.items():
        if prepared[name].shape[1:] != one.shape:
            raise ConfigError("the images have another shape than the model's input", f"{name}: {prepared[name].shape}", _shaped(one))
    if min(len(array) for array in prepared.values()) < _FEWEST_IMAGES:
        raise ConfigError("the parity gate needs at least three images", min(map(len, feeds.values())), "give a batch of real images")
    return prepared


def _shaped(image: InputSpec) -> str:
    return f"give (N, {image.shape})"
