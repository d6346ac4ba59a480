"""`edgerec distill`: a small model learns from a big one."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from . import options, training
from .console import print_json, progress_bar, say

EXAMPLE = "Example: edgerec distill small.safetensors --teacher base.safetensors --data fashion-mnist -o small-kd.safetensors"


def distill(
    student: Annotated[Path, typer.Argument(help="The checkpoint that learns.")],
    teacher: Annotated[Path, typer.Option("--teacher", help="What it learns from: a checkpoint or an ONNX file.")],
    data: options.Data,
    output: options.Output,
    temperature: Annotated[float, typer.Option("--temperature", help="Softens both models' answers.")] = 4.0,
    alpha: Annotated[float, typer.Option("--alpha", help="Share of the teacher's answers in the loss; the labels have the rest.")] = 0.9,
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
    factory: options.Factory = [],  # noqa: B006  # Typer copies list defaults
    resume: training.Resume = False,
    skip_bad: options.SkipBad = False,
    seed: options.Seed = 0,
    threads: options.Threads = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a student on its teacher's answers as well as on the labels."""
    from ..compress.distillation import Distillation, distill
    from ..train.evaluation import evaluate
    from ..train.output import Output
    from ..train.recipes import recipe_for
    from .sources import check_images, check_labels, is_main, open_checkpoint, open_images, tell_skipped, use_threads

    options.check_output(output, student, teacher)
    use_threads(threads)
    quiet = quiet or not is_main()
    config = Distillation(temperature=temperature, alpha=alpha)
    images = open_images(data, skip_bad=skip_bad, quiet=quiet)
    start = open_checkpoint(student, factory)
    check_labels(start.spec, images, student)
    changes = training.Changes(epochs, batch, optimizer, lr, schedule, label_smoothing, ema, precision, recorded)
    settings = changes.over(recipe_for(start.architecture.name if start.architecture else start.factory or ""), seed)
    policy = training.choose_policy(augment, images.name, mixup)
    source = teacher if teacher.suffix == ".onnx" else open_checkpoint(teacher, factory)
    check_images((images.train, images.validation, images.test), quiet=quiet)
    with progress_bar("distil", None, quiet=quiet) as bar:
        result = distill(
            start,
            source,
            images,
            config,
            settings,
            policy=policy,
            output=Output(output, start.architecture, start.factory, start.plan, resume=resume),
            progress=training.follow(bar, quiet=quiet),
        )
    if not is_main():
        return
    test = evaluate(result.model.model, images.test, result.model.spec)
    skipped = tell_skipped(images.train, images.validation, images.test, quiet=quiet)
    say(f"test top-1 {test.top1:.2%} ({test.low:.2%} to {test.high:.2%}, {test.images} images): {output}", quiet=quiet)
    if json:
        print_json({"report": asdict(result.report), "test": asdict(test), "skipped": skipped, "output": str(output)})
