"""`edgerec export`: a checkpoint, or your own model, to ONNX."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..runtime.errors import ConfigError
from . import options
from .console import print_json, say
from .inputs import inputs_spec, open_program, random_tensors, read_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from ..export import Exported, Program
    from ..runtime.spec import InputSpec, ModelSpec
    from ..runtime.tensors import Tensor
    from ..train.checkpoint import Checkpoint

EXAMPLE = (
    "Example: edgerec export mypkg.models:build --weights w.pth --input-size 3x224x224 -o model.onnx; "
    "edgerec export model.pt2 --precision fp16 -o model.onnx; "
    "edgerec export mypkg.models:two --input image=3x32x32 --input ids=int64:6 -o two.onnx"
)

IMAGES = 16  # for the parity gate

_BY_FUNCTION = "write package.module:function, and give a .pth or .pt as --weights; a torch.export program's name ends in .pt2"


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A checkpoint, your own package.module:function, a torch.export program (.pt2), or a model of the registry (with --weights)."
        ),
    ],
    output: options.Output,
    data: Annotated[str | None, typer.Option("--data", help="Real images for the parity gate; random ones without it.")] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Weights of your own model: .safetensors, .pt or .pth.")] = None,
    factory: options.Factory = [],  # noqa: B006  # Typer copies list defaults
    exporter: Annotated[
        str, typer.Option("--exporter", help="auto, dynamo or torchscript; auto tries the second where the first fails or is wrong.")
    ] = "auto",
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="The only number of images the file takes; by default any.")] = None,
    dynamic_size: Annotated[
        bool, typer.Option("--dynamic-size", help="The file takes images of any height and width; two other sizes are compared as well.")
    ] = False,
    inputs: Annotated[
        list[str],
        typer.Option("--input", help="name=3x32x32 for an image, name=16 or name=int64:16 for numbers; once an input, in forward's order."),
    ] = [],  # noqa: B006  # Typer copies list defaults
    precision: Annotated[
        str, typer.Option("--precision", help="fp32; fp16 for GPUs, inputs and outputs stay float32; fp16-io turns those too.")
    ] = "fp32",
    input_size: options.InputSize = None,
    mean: options.Mean = None,
    std: options.Std = None,
    scale: options.Scale = None,
    color: options.Color = None,
    layout: options.Layout = None,
    labels: options.Labels = None,
    scores: options.ScoresOption = None,
    skip_bad: options.SkipBad = False,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write an ONNX file, after it has given PyTorch's answers to the same images at two batch sizes."""
    from ..export import Program, to_onnx
    from ..export.programs import inputs_of

    options.check_output(output, Path(model))
    foreign = options.Foreign(input_size, mean, std, scale, color, layout, labels, scores)
    source, tensors, order = _opened(model, weights, factory, inputs, foreign)
    count = max(IMAGES, 2 * (inputs_of(source.program)[0].shape[0] if isinstance(source, Program) else batch or 0))
    feeds = parity_images(source.spec, data, seed, skip_bad=skip_bad, count=count) | random_tensors(tensors, seed, count)
    exported = to_onnx(
        source,
        output,
        feeds,
        exporter=exporter,  # type: ignore[arg-type]  # it checks the words
        batch=batch,
        size="free" if dynamic_size else "fixed",
        precision=precision,  # type: ignore[arg-type]
        order=order,
    )
    _tell(exported, "real images" if data else "random images (give --data for real ones)", quiet=quiet)
    if json:
        told = {
            "exporter": exported.exporter,
            "failed": dict(exported.failed),
            "cautions": list(exported.cautions),
            "notes": exported.notes,
        }
        parity = asdict(exported.parity)
        print_json({"parity": parity, "parity_images": "real" if data else "random", "output": str(output), **told})


def _opened(
    model: str, weights: Path | None, factory: "Sequence[str]", texts: "Sequence[str]", foreign: options.Foreign
) -> "tuple[Checkpoint | Program, Sequence[Tensor], Sequence[str] | None]":
    """Return what is exported, its inputs that are no images, and the order of all (None for the spec's)."""
    from .sources import new_checkpoint, open_checkpoint

    if model.endswith(".pt2"):
        if weights is not None:
            raise ConfigError("a program brings its own weights", weights, "leave --weights out")
        program, inputs = open_program(model, texts, foreign)
        return program, inputs.tensors, inputs.order
    if model.endswith((".py", ".pth", ".pt")):
        raise ConfigError("a model is named by its function, not by a file", model, _BY_FUNCTION)
    if model.endswith((".safetensors", ".onnx")):
        if weights is not None:
            raise ConfigError(
                "a checkpoint brings its own weights", weights, "leave --weights out, or give package.module:function instead"
            )
        if texts:
            raise ConfigError("a checkpoint says itself what it takes", ", ".join(texts), "leave --input out")
        known = open_checkpoint(Path(model), factory)
        return replace(known, spec=options.required(foreign.fill(known.spec, model), model)), (), None
    if weights is None:
        say("no --weights were given: these are random weights")
    if texts:
        inputs = read_inputs(texts, foreign)
        return new_checkpoint(model, inputs_spec(inputs, foreign), weights=weights), inputs.tensors, inputs.order
    return new_checkpoint(model, options.required(foreign.fill(None, model), model), weights=weights), (), None


def _tell(exported: "Exported", images: str, *, quiet: bool) -> None:
    for name, reason in exported.failed.items():
        say(f"{name} was tried first: {reason}", quiet=quiet)
    for caution in exported.cautions:
        say(f"the exporter froze a Python value: {caution}", quiet=quiet)
    for note in exported.notes:
        say(note, quiet=quiet)
    if exported.batch is not None:
        say(f"the file takes batches of {exported.batch} only", quiet=quiet)
    parity = exported.parity
    say(
        f"largest difference {parity.max_abs:.1e} on {parity.images} {images}, top-1 agrees on {parity.top1_agreement:.0%}: {exported.path}",
        quiet=quiet,
    )


def parity_images(
    spec: "ModelSpec", data: str | None, seed: int, *, skip_bad: bool = False, count: int = IMAGES
) -> "dict[str, np.ndarray]":
    """Return images for the gate: of the training split, or random ones that are smooth enough to look like some."""
    if data and spec.inputs:
        from .sources import check_labels, open_images

        images = open_images(data, skip_bad=skip_bad)
        check_labels(spec, images, "model")
        # Of the training images, which even the smallest set has enough of; nothing is fitted to them.
        return next(images.train.batches(count, spec.inputs)).feeds
    return {one.name: _random_images(one, seed, count) for one in spec.inputs}


def _random_images(spec: "InputSpec", seed: int, count: int) -> "np.ndarray":
    import numpy as np

    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, spec.channels), np.uint8)
    rows, columns = np.arange(spec.height) * 4 // spec.height, np.arange(spec.width) * 4 // spec.width
    return coarse[:, rows][:, :, columns]  # (N, H, W, C): flat patches rather than noise, which saturates no layer
