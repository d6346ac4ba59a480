"""`edgerec export`: a checkpoint, or your own model, to ONNX."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .console import print_json, say

if TYPE_CHECKING:
    import numpy as np

    from ..runtime.spec import InputSpec, ModelSpec

EXAMPLE = "Example: edgerec export mypkg.models:build --weights w.pth --input-size 3x224x224 -o model.onnx"

IMAGES = 16  # for the parity gate


def export(
    model: Annotated[
        str,
        typer.Argument(help="A checkpoint, your own package.module:function, or a model of the registry (with --weights and --labels)."),
    ],
    output: options.Output,
    data: Annotated[str | None, typer.Option("--data", help="Real images for the parity gate; random ones without it.")] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Weights of your own model: .safetensors, .pt or .pth.")] = None,
    factory: options.Factory = [],  # noqa: B006  # Typer copies list defaults
    exporter: Annotated[
        str, typer.Option("--exporter", help="auto, dynamo or torchscript; auto tries the second where the first fails or is wrong.")
    ] = "auto",
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="The only number of images the file takes; by default any.")] = None,
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
    from ..export import to_onnx
    from ..runtime.errors import ConfigError
    from .sources import new_checkpoint, open_checkpoint

    options.check_output(output, Path(model))
    foreign = options.Foreign(input_size, mean, std, scale, color, layout, labels, scores)
    if model.endswith((".py", ".pth", ".pt")):
        raise ConfigError(
            "a model is named by its function, not by a file", model, "write package.module:function, and give a .pth or .pt as --weights"
        )
    if not model.endswith((".safetensors", ".onnx")):
        if weights is None:
            say("no --weights were given: these are random weights")
        checkpoint = new_checkpoint(model, options.required(foreign.fill(None, model), model), weights=weights)
    else:
        if weights is not None:
            raise ConfigError(
                "a checkpoint brings its own weights", weights, "leave --weights out, or give package.module:function instead"
            )
        known = open_checkpoint(Path(model), factory)
        checkpoint = replace(known, spec=options.required(foreign.fill(known.spec, model), model))
    images = parity_images(checkpoint.spec, data, seed, skip_bad=skip_bad, count=max(IMAGES, 2 * (batch or 0)))
    exported = to_onnx(checkpoint, output, images, exporter=exporter, batch=batch)  # type: ignore[arg-type]  # it checks the word
    for name, reason in exported.failed.items():
        say(f"{name} was tried first: {reason}", quiet=quiet)
    for caution in exported.cautions:
        say(f"the exporter froze a Python value: {caution}", quiet=quiet)
    where = "real images" if data else "random images (give --data for real ones)"
    parity = exported.parity
    say(
        f"largest difference {parity.max_abs:.1e} on {parity.images} {where}, top-1 agrees on {parity.top1_agreement:.0%}: {output}",
        quiet=quiet,
    )
    if json:
        told = {"exporter": exported.exporter, "failed": dict(exported.failed), "cautions": list(exported.cautions)}
        print_json({"parity": asdict(parity), "parity_images": "real" if data else "random", "output": str(output), **told})


def parity_images(
    spec: "ModelSpec", data: str | None, seed: int, *, skip_bad: bool = False, count: int = IMAGES
) -> "dict[str, np.ndarray]":
    """Return images for the gate: of the training split, or random ones that are smooth enough to look like some."""
    if data:
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
