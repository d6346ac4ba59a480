"""`edgerec bench`: accuracy against latency, for several files side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .console import print_table, progress_bar, say, tell_placement

if TYPE_CHECKING:
    from ..benchmarks.comparison import Candidate
    from ..benchmarks.records import Record

EXAMPLE = "Example: edgerec bench base.safetensors base.onnx small.int8.onnx --data fashion-mnist --provider cpu --threads 1"
COLUMNS = ["model", "on", "kB", "top-1", "95 % interval", "p50 ms", "p90 ms", "p99 ms", "images/s", "speed-up (interval)"]


def bench(
    files: Annotated[
        list[Path], typer.Argument(help="ONNX files; a checkpoint is measured in eager PyTorch. Speed-ups are against the first.")
    ],
    data: options.Data,
    provider: Annotated[list[str], typer.Option("--provider", help="Execution provider; may be given more than once.")] = ["cpu"],  # noqa: B006
    provider_option: options.ProviderOption = [],  # noqa: B006  # Typer copies list defaults
    profile: options.Profile = "latency",
    min_on_provider: options.MinOnProvider = 0.9,
    allow_fallback: options.AllowFallback = False,
    frames_per_s: Annotated[
        float | None, typer.Option("--frames-per-s", min=0.1, help="Measure the CPU time of a frame, too, at this many frames a second.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Images to score: test, validation, calibration or train.")] = "test",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images in a call of the throughput run.")] = 32,
    factory: options.Factory = [],  # noqa: B006
    input_size: options.InputSize = None,
    mean: options.Mean = None,
    std: options.Std = None,
    scale: options.Scale = None,
    color: options.Color = None,
    layout: options.Layout = None,
    labels: options.Labels = None,
    scores: options.ScoresOption = None,
    skip_bad: options.SkipBad = False,
    threads: options.Threads = None,
    corruptions: Annotated[bool, typer.Option("--corruptions", help="Score images with noise, blur, JPEG and brightness, too.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a report: one page, nothing to fetch.")] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Write each chart of the report as PNG and SVG into this folder.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the rows as CSV.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the rows as a Markdown table.")] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure size, accuracy with its interval, latency percentiles and throughput."""
    from ..benchmarks.comparison import as_candidate, compare
    from ..benchmarks.corruptions import Corruptions
    from ..benchmarks.scoring import count_answers
    from ..runtime.providers import parse_options
    from ..runtime.session import open_session
    from ..runtime.spec import ModelSpec
    from .report import Reports
    from .sources import check_labels, open_images, tell_skipped

    reports = Reports(html, png, csv, markdown)
    reports.check()
    images = open_images(data, skip_bad=skip_bad, quiet=quiet)
    foreign = options.Foreign(input_size, mean, std, scale, color, layout, labels, scores)
    fed_by_name = None if images.inputs else ModelSpec(())

    def filled(name: str) -> "Callable[[ModelSpec | None], ModelSpec | None]":
        return lambda known: foreign.fill(known, name) or fed_by_name

    settings = parse_options(provider_option)
    candidates: list[Candidate] = []
    for file in files:
        if file.suffix == ".safetensors":
            candidates.append(eager_candidate(file, threads, factory))
            continue
        for name in provider:
            session = open_session(
                file,
                provider=name,
                profile=profile,
                threads=threads,
                options=settings,
                allow_fallback=allow_fallback,
                min_on_provider=min_on_provider,
            )
            tell_placement(session, quiet=quiet)
            candidates.append(as_candidate(file, session, filled(file.name)))
    for one in candidates:
        check_labels(one.spec, images, one.path.name)
    chosen = images.split(split)
    disturbed = Corruptions() if corruptions else None
    with progress_bar("score", count_answers(candidates, chosen, disturbed), quiet=quiet) as bar:
        records = compare(
            candidates,
            chosen,
            batch=batch,
            frames_per_s=frames_per_s,
            split=split,
            data_fingerprint=images.fingerprint,
            corruptions=disturbed,
            done=bar.advance,
        )
    tell_skipped(chosen, quiet=quiet)
    show_records(records, quiet=quiet or json)
    document = reports.document(records, candidates, images.labels)
    reports.write(document)
    if json:
        print(document.to_json())


def show_records(records: "Sequence[Record]", *, quiet: bool = False) -> None:
    """Print the table, and on which machine it was measured."""
    print_table("", COLUMNS, [row_of(record) for record in records], quiet=quiet)
    show_duty_cycles(records, quiet=quiet)
    first = records[0]
    told = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    wide = ", ".join(first.machine.instructions)
    scored = f"scored on {first.accuracy.images:,} {first.split} images; " if first.accuracy else ""
    timed = f"{first.threads} thread(s), one image for p50 to p99, {first.batch} for images/s, speed-up of p50"
    say(f"{scored}{timed}; {first.machine.cpu}, {first.machine.cores} cores ({wide}); {told}", quiet=quiet)


def show_duty_cycles(records: "Sequence[Record]", *, quiet: bool = False) -> None:
    """Print what a frame costs at a fixed pace, where that was measured."""
    paced = [(record, record.duty_cycle) for record in records if record.duty_cycle]
    if not paced or quiet:
        return
    print()
    columns = ["model", "on", "profile", "CPU ms a frame", "p50 ms", "late frames"]
    rows = [
        [one.file, one.provider, one.profile, f"{duty.cpu_ms:.3f}", f"{duty.p50_ms:.3f}", f"{duty.late} of {duty.frames}"]
        for one, duty in paced
    ]
    print_table(f"at {paced[0][1].frames_per_s:g} frames/s", columns, rows)


def row_of(record: "Record") -> list[str]:
    """Return one line of the table."""
    accuracy, latency, speedup = record.accuracy, record.latency, record.speedup
    return [
        record.file,
        record.provider,
        f"{record.size_bytes / 1e3:.1f}",
        f"{accuracy.top1:.2%}" if accuracy else "no labels",
        f"{accuracy.low:.2%} to {accuracy.high:.2%}" if accuracy else "",
        f"{latency.p50_ms:.3f}",
        f"{latency.p90_ms:.3f}",
        f"{latency.p99_ms:.3f}",
        f"{record.throughput_images_per_s:,.0f}" if record.throughput_images_per_s else "",
        f"{speedup.ratio:.2f}x ({speedup.low:.2f} to {speedup.high:.2f})" if speedup else "",
    ]


def eager_candidate(path: Path, threads: int | None, factories: "Sequence[str]" = ()) -> "Candidate":
    """Load a checkpoint for measuring in eager PyTorch."""
    import torch

    from ..benchmarks.comparison import Candidate, Feeds
    from ..train.evaluation import predict_fn
    from .sources import open_checkpoint, use_threads

    count = use_threads(threads)
    checkpoint = open_checkpoint(path, factories)
    model = checkpoint.model.eval()

    def timed(feeds: Feeds) -> object:
        # What a user writes by hand: no conversion, no gradient, nothing else inside the clock.
        with torch.inference_mode():
            return model(*(torch.from_numpy(array) for array in feeds.values()))

    return Candidate(path, checkpoint.spec, predict_fn(model), timed, "torch", count)
