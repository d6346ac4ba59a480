"""`edgerec train`: images to a checkpoint."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, training
from .console import print_json, progress_bar, say

if TYPE_CHECKING:
    from ..data.splits import DataSet
    from ..train.augment import Policy
    from ..train.checkpoint import Checkpoint
    from ..train.settings import Settings

EXAMPLE = "Example: edgerec train --model resnet20 --data fashion-mnist -o base.safetensors"


def train(
    model: Annotated[
        str,
        typer.Option(
            "--model", help="A model of the registry, such as resnet20, your own package.module:function, or a checkpoint to go on from."
        ),
    ],
    data: options.Data,
    output: options.Output,
    epochs: training.Epochs = None,
    batch: training.Batch = None,
    optimizer: training.Optimizer = None,
    lr: training.LearningRate = None,
    schedule: training.Schedule = None,
    label_smoothing: training.LabelSmoothing = None,
    ema: training.Ema = None,
    precision: training.Precision = None,
    recorded: training.Recorded = False,
    augment: training.AugmentName = None,
    mixup: training.Mixup = None,
    width: Annotated[float | None, typer.Option("--width", help="Factor on the registry model's channels.")] = None,
    blocks: training.Blocks = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Start from these weights: .safetensors, .pt or .pth.")] = None,
    factory: options.Factory = [],  # noqa: B006  # Typer copies list defaults
    input_size: options.InputSize = None,
    resume: training.Resume = False,
    skip_bad: options.SkipBad = False,
    seed: options.Seed = 0,
    threads: options.Threads = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a model; `torchrun --nproc-per-node N -m edgerec train ...` spreads one run over N processes."""
    from ..runtime.errors import ConfigError
    from ..train.batches import cross_entropy
    from ..train.evaluation import evaluate
    from ..train.loop import fit
    from ..train.output import Output
    from .sources import check_images, is_main, open_images, tell_skipped, use_threads

    options.check_output(output, Path(model))
    count, quiet = use_threads(threads), quiet or not is_main()
    images = open_images(data, skip_bad=skip_bad, quiet=quiet)
    policy = training.choose_policy(augment, images.name, mixup)
    changes = training.Changes(epochs, batch, optimizer, lr, schedule, label_smoothing, ema, precision, recorded)
    if model.endswith(".safetensors"):
        if width is not None or blocks is not None or weights is not None or input_size:
            raise ConfigError("a checkpoint brings its own width, blocks, weights and input size", model, "leave these options out")
        start, settings = _continued(Path(model), images, factory, changes, seed)
    else:
        start, settings = _new(model, images, policy, changes, seed, input_size=input_size, width=width, blocks=blocks, weights=weights)
    check_images((images.train, images.validation, images.test), quiet=quiet)
    with progress_bar("train", None, quiet=quiet) as bar:
        trained = fit(
            start.model,
            images,
            cross_entropy(settings.label_smoothing),
            settings,
            spec=start.spec,
            policy=policy,
            output=Output(output, start.architecture, start.factory, start.plan, resume=resume),
            progress=training.follow(bar, quiet=quiet),
        )
    if not is_main():
        return
    test = evaluate(trained.model, images.test, start.spec)
    skipped = tell_skipped(images.train, images.validation, images.test, quiet=quiet)
    told = f"test top-1 {test.top1:.2%} ({test.low:.2%} to {test.high:.2%}, {test.images} images)"
    say(f"{told}, best of {len(trained.history)} epochs: {output}", quiet=quiet)
    if json:
        known = {"model": model, "epochs": len(trained.history), "threads": count, "skipped": skipped, "output": str(output)}
        print_json({**known, "validation_top1": trained.best.top1, "test": asdict(test)})


def _continued(path: Path, images: "DataSet", factories: list[str], changes: training.Changes, seed: int) -> "tuple[Checkpoint, Settings]":
    """Return a checkpoint to train further, and its model's recipe."""
    from ..train.recipes import recipe_for
    from .sources import continued

    start = continued(path, images, factories)
    return start, changes.over(recipe_for(start.architecture.name if start.architecture else start.factory or ""), seed)


def _new(
    model: str,
    images: "DataSet",
    policy: "Policy",
    changes: training.Changes,
    seed: int,
    *,
    input_size: str | None,
    width: float | None,
    blocks: str | None,
    weights: Path | None,
) -> "tuple[Checkpoint, Settings]":
    """Return a fresh model for a data set, and its recipe."""
    from ..train.recipes import recipe_for
    from .sources import data_spec, new_checkpoint

    settings = changes.over(recipe_for(model), seed)
    spec = data_spec(images, "train", model=model, augment=asdict(policy), **asdict(settings))
    if input_size:
        spec = replace(spec, inputs=(options.Foreign(input_size).over(spec.input),))
    return new_checkpoint(model, spec, width=width, blocks=training.parse_blocks(blocks), seed=seed, weights=weights), settings
