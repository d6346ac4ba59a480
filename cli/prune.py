"""`edgerec prune`: fewer channels."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from . import options
from .console import print_json, print_table, say

EXAMPLE = "Example: edgerec prune base.safetensors --speedup 2 -o small.safetensors"


def prune(
    checkpoint: Annotated[Path, typer.Argument(help="A trained checkpoint.")],
    output: options.Output,
    speedup: Annotated[float | None, typer.Option("--speedup", help="Multiply-accumulates before over after, such as 2.")] = None,
    ratio: Annotated[float | None, typer.Option("--ratio", help="Fraction of the channels to remove from every layer instead.")] = None,
    apply: Annotated[Path | None, typer.Option("--apply", help="Apply this plan (JSON) instead of ranking channels.")] = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="Also write the plan as JSON, to review or re-apply.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Labelled images: print the validation accuracy before and after.")] = None,
    factory: options.Factory = [],  # noqa: B006  # Typer copies list defaults
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Remove the weakest channels of a trained model; distil it afterwards, or train it on, to win the accuracy back."""
    from ..compress.pruning import ChannelPruning, apply_to, prune
    from ..runtime.errors import ConfigError
    from ..runtime.files import check_writable, write_text
    from ..train.checkpoint import save_checkpoint
    from ..train.evaluation import evaluate
    from ..train.plan import PruningPlan
    from .sources import open_checkpoint, open_images

    options.check_output(output, checkpoint)
    if [speedup, ratio, apply].count(None) != 2:
        raise ConfigError(
            "pruning needs exactly one target",
            "none" if speedup is ratio is apply else "several",
            "give one of --speedup 2, --ratio 0.5, --apply plan.json",
        )
    if plan:
        check_writable(plan)
    images = open_images(data, quiet=quiet).validation if data else None
    before = open_checkpoint(checkpoint, factory)
    result = (
        apply_to(before, PruningPlan.from_json(options.read_text(apply)))
        if apply
        else prune(before, ChannelPruning(speedup=speedup, ratio=ratio))
    )
    save_checkpoint(result.model, output)
    if plan and result.model.plan:
        write_text(plan, result.model.plan.to_json())
    report = result.report
    rows = [[layer, str(report.widths[layer]), str(kept)] for layer, kept in report.kept.items()]
    print_table("output channels", ["layer", "before", "after"], rows, quiet=quiet or json)
    say(
        f"{report.macs_before / 1e6:.2f} -> {report.macs_after / 1e6:.2f} million MACs (not milliseconds), "
        f"{report.parameters_before:,} -> {report.parameters_after:,} parameters: {output}",
        quiet=quiet,
    )
    accuracy = {}
    if images:
        accuracy = {name: evaluate(one.model, images, one.spec).top1 for name, one in (("before", before), ("after", result.model))}
        say(f"validation top-1 {accuracy['before']:.2%} -> {accuracy['after']:.2%}", quiet=quiet)
    if json:
        print_json({**asdict(report), "validation_top1": accuracy, "output": str(output)})
