"""`edgerec train`: images to a checkpoint."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .console import Bar, print_json, progress_bar, say

if TYPE_CHECKING:
    from ..train.loop import Progress
    from ..train.settings import Settings

EXAMPLE = "Example: edgerec train --model resnet20 --data fashion-mnist -o base.safetensors"


def train(
    model: Annotated[
        str, typer.Option("--model", help="A model of the registry, such as cnn or resnet20, or your own package.module:function.")
    ],
    data: options.Data,
    output: options.Output,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the images; the model's recipe by default.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Images a step, over all processes; the model's recipe by default.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Highest learning rate; the model's recipe by default.")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")] = None,
    width: Annotated[float, typer.Option("--width", help="Factor on the model's channels.")] = 1.0,
    weights: Annotated[Path | None, typer.Option("--weights", help="Start from these weights: .safetensors, .pt or .pth.")] = None,
    augment: Annotated[
        str | None, typer.Option("--augment", help="A named augmentation policy, or none; the data set's own by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run of the same command.")] = False,
    input_size: options.InputSize = None,
    skip_bad: options.SkipBad = False,
    seed: options.Seed = 0,
    threads: options.Threads = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a model; `torchrun --nproc-per-node N -m edgerec train ...` spreads one run over N processes."""
    from ..data import open_data
    from ..runtime.files import check_writable
    from ..train.batches import cross_entropy
    from ..train.evaluate import evaluate
    from ..train.loop import fit
    from ..train.output import Output
    from ..train.recipes import recipe_for
    from .sources import choose_policy, data_spec, is_main, new_checkpoint, use_threads

    check_writable(output)
    count = use_threads(threads)
    images = open_data(data, seed=seed, skip_bad=skip_bad)
    settings = changed(recipe_for(model), epochs, batch, lr, precision, seed)
    policy = choose_policy(augment, images.name)
    spec = data_spec(images, "train", model=model, augment=augment or images.name, **asdict(settings))
    if input_size:
        spec = replace(spec, inputs=options.required(options.Foreign(input_size).over(spec), input_size).inputs)
    start = new_checkpoint(model, spec, width=width, seed=seed, weights=weights)
    quiet = quiet or not is_main()
    kept = Output(output, start.architecture, start.factory, resume=resume)
    with progress_bar(f"train {model}", None, quiet=quiet) as bar:
        trained = fit(
            start.model,
            images,
            cross_entropy(settings.label_smoothing),
            settings,
            spec=start.spec,
            policy=policy,
            output=kept,
            progress=follow(bar, quiet=quiet),
        )
    if not is_main():
        return
    test = evaluate(trained.model, images.test, start.spec)
    say(
        f"test top-1 {test.top1:.2%} ({test.low:.2%} to {test.high:.2%}, {test.images} images), best of {len(trained.history)} epochs: {output}",
        quiet=quiet,
    )
    if json:
        print_json(
            {
                "model": model,
                "epochs": len(trained.history),
                "threads": count,
                "validation_top1": trained.best.top1,
                "test": asdict(test),
                "output": str(output),
            }
        )


def follow(bar: Bar, *, quiet: bool) -> "Progress":
    """Return what draws a training: the bar moves with every step, every epoch is a line."""
    from ..train.loop import Step

    def show(event: object) -> None:
        if isinstance(event, Step):
            bar.show(event.step, event.steps, f"loss {event.loss:.3f}")
        else:
            epoch = asdict(event)  # type: ignore[call-overload]  # the other kind of event
            say(
                f"epoch {epoch['epoch']}: loss {epoch['loss']:.4f}, validation top-1 {epoch['top1']:.2%}, {epoch['images_per_s']:.0f} images/s",
                quiet=quiet,
            )

    return show


def changed(settings: "Settings", epochs: int | None, batch: int | None, lr: float | None, precision: str | None, seed: int) -> "Settings":
    """Return the recipe with what the command line says instead."""
    given = {"epochs": epochs, "batch_size": batch, "precision": precision, "seed": seed}
    if lr is not None:
        settings = replace(settings, optimizer=replace(settings.optimizer, lr=lr))
    return replace(settings, **{name: value for name, value in given.items() if value is not None})
