"""`edgerec distill`: a small model learns from a big one."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from . import options
from .console import print_json, progress_bar, say

EXAMPLE = "Example: edgerec distill small.safetensors --teacher base.safetensors --data fashion-mnist -o small-kd.safetensors"


def distill(
    student: Annotated[Path, typer.Argument(help="The checkpoint that learns.")],
    teacher: Annotated[Path, typer.Option("--teacher", help="What it learns from: a checkpoint or an ONNX file.")],
    data: options.Data,
    output: options.Output,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the images; the student's recipe by default.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Images a step; the student's recipe by default.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Highest learning rate; the student's recipe by default.")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")] = None,
    temperature: Annotated[float, typer.Option("--temperature", help="Softens both models' answers.")] = 4.0,
    alpha: Annotated[float, typer.Option("--alpha", help="Share of the teacher's answers in the loss; the labels have the rest.")] = 0.9,
    augment: Annotated[
        str | None, typer.Option("--augment", help="A named augmentation policy, or none; the data set's own by default.")
    ] = None,
    factory: options.Factory = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run of the same command.")] = False,
    skip_bad: options.SkipBad = False,
    seed: options.Seed = 0,
    threads: options.Threads = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a student on its teacher's answers as well as on the labels."""
    from ..compress.distillation import Distillation, distill
    from ..data import open_data
    from ..runtime.files import check_writable
    from ..train.evaluate import evaluate
    from ..train.output import Output
    from ..train.recipes import recipe_for
    from .sources import choose_policy, is_main, open_checkpoint, use_threads
    from .train import changed, follow

    check_writable(output)
    use_threads(threads)
    images = open_data(data, seed=seed, skip_bad=skip_bad)
    start = open_checkpoint(student, factory)
    settings = changed(recipe_for(start.architecture.name if start.architecture else ""), epochs, batch, lr, precision, seed)
    quiet = quiet or not is_main()
    with progress_bar(f"distil {student.name}", None, quiet=quiet) as bar:
        result = distill(
            start,
            teacher if teacher.suffix == ".onnx" else open_checkpoint(teacher, None),
            images,
            Distillation(temperature=temperature, alpha=alpha),
            settings,
            policy=choose_policy(augment, images.name),
            output=Output(output, start.architecture, start.factory, start.plan, resume=resume),
            progress=follow(bar, quiet=quiet),
        )
    if not is_main():
        return
    test = evaluate(result.model.model, images.test, result.model.spec)
    say(f"test top-1 {test.top1:.2%} ({test.low:.2%} to {test.high:.2%}, {test.images} images): {output}", quiet=quiet)
    if json:
        print_json({"report": asdict(result.report), "test": asdict(test), "output": str(output)})
