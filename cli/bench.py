"""`edgerec bench`: accuracy against latency, for several files side by side."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .bench_table import show_document
from .console import progress_bar, tell_placement
from .gating import Baseline, FailIf, Force, Gate
from .history import HistoryFolder, add_run, show_folder, show_history

if TYPE_CHECKING:
    from ..benchmarks.bench import Beside, Images, Row
    from ..benchmarks.configurations import Configuration
    from ..benchmarks.document import Document, Failed
    from ..benchmarks.rounds import Schedule
    from ..data.splits import DataSet
    from ..runtime.errors import EdgerecError
    from .report import Reports

EXAMPLE = "Example: edgerec bench base.safetensors base.onnx small.int8.onnx --data fashion-mnist --provider cpu --threads 1"


def bench(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="ONNX files; a checkpoint is measured in eager PyTorch. Speed-ups are against the first. May be left out with --history.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    data: Annotated[
        str | None,
        typer.Option("--data", help="What accuracy is measured on, as for `train`; without it only time and memory, on random numbers."),
    ] = None,
    provider: Annotated[list[str], typer.Option("--provider", help="Execution provider; may be given more than once.")] = ["cpu"],  # noqa: B006
    provider_option: options.ProviderOption = [],  # noqa: B006  # Typer copies list defaults
    profile: options.Profile = "latency",
    min_on_provider: options.MinOnProvider = 0.9,
    allow_fallback: options.AllowFallback = False,
    threads: Annotated[
        list[int], typer.Option("--threads", min=1, help="Threads; may be given more than once. By default what the profile says.")
    ] = [],  # noqa: B006
    batch: Annotated[list[int], typer.Option("--batch", min=1, help="Images in a call; may be given more than once.")] = [1],  # noqa: B006
    starts: Annotated[
        int, typer.Option("--starts", min=1, help="How often each process is started anew: fewer is quicker, and less sure.")
    ] = 10,
    scenario: Annotated[
        list[str], typer.Option("--scenario", help="Run MLPerf's single-stream, multi-stream or offline, too, for --scenario-s seconds.")
    ] = [],  # noqa: B006
    scenario_s: Annotated[float, typer.Option("--scenario-s", min=0.1, help="How long a scenario runs; MLPerf's own take 600.")] = 10.0,
    mlperf: Annotated[bool, typer.Option("--mlperf", help="Run all three scenarios by MLPerf's rules: half an hour a row.")] = False,
    frames_per_s: Annotated[
        float | None, typer.Option("--frames-per-s", min=0.1, help="Measure the CPU time of a frame, too, at this many frames a second.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Images to score: test, validation, calibration or train.")] = "test",
    image: Annotated[
        Path | None, typer.Option("--image", help="Picture whose way from file to label is timed; by default the split's first, as PNG.")
    ] = None,
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
    corruptions: Annotated[bool, typer.Option("--corruptions", help="Score images with noise, blur, JPEG and brightness, too.")] = False,
    baseline: Baseline = None,
    fail_if: FailIf = [],  # noqa: B006
    force: Force = False,
    history: HistoryFolder = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a report: one page, nothing to fetch.")] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Write each chart of the report as PNG and SVG into this folder.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the rows as CSV.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the rows as a Markdown table.")] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure size, accuracy with its interval, latency percentiles, memory and throughput; each row in processes of its own."""
    from ..benchmarks.bench import Beside, Images
    from ..benchmarks.configurations import Configuration
    from ..benchmarks.corruptions import Corruptions
    from ..benchmarks.history import check_history
    from ..benchmarks.measuring import Extras
    from ..benchmarks.rounds import Schedule
    from ..benchmarks.scenarios import NAMES, Rules
    from ..runtime.providers import parse_options
    from .report import Reports
    from .sources import open_images, tell_skipped

    reports, gate = Reports(html, png, csv, markdown), Gate(baseline, tuple(fail_if), force)
    reports.check()
    if not files:
        given = {"--data": data, "--baseline": baseline, "--fail-if": fail_if, "--force": force, "--csv": csv, "--markdown": markdown}
        show_folder(history, reports, next((name for name, one in given.items() if one), ""), json=json, quiet=quiet)
        return
    gate.check(files)
    if history:
        check_history(history)
    extras = Extras(image, tuple(NAMES) if mlperf else tuple(scenario), Rules() if mlperf else Rules(scenario_s))
    images = open_images(data, skip_bad=skip_bad, quiet=quiet) if data else None
    foreign = options.Foreign(input_size, mean, std, scale, color, layout, labels, scores)
    start = Configuration(
        files[0],
        options=parse_options(provider_option),
        profile=profile,
        allow_fallback=allow_fallback,
        min_on_provider=min_on_provider,
    )
    opened = open_rows(_matrix(start, files, provider, threads, batch, factory), foreign, images, factory, quiet=quiet)
    chosen = Images(images.split(split), split, images.fingerprint) if images else None
    beside = Beside(extras, Corruptions() if corruptions else None, frames_per_s, reports.has_charts or json)
    document = _run(opened, chosen, Schedule(starts=starts), beside, quiet=quiet)
    if chosen:
        tell_skipped(chosen.split, quiet=quiet)
    finished = reports.finish(document, images.labels if images else ())
    _tell(finished, reports, gate, history, json=json, quiet=quiet)


def _tell(document: "Document", reports: "Reports", gate: Gate, folder: Path | None, *, json: bool, quiet: bool) -> None:
    """Print and write what was found, and end with the exit code that goes with it.

    Raises:
        GateError: The run is worse than its baseline.
        ModelError: Nothing could be measured.
        Exit: It was interrupted, or a row failed.
    """
    from ..runtime.errors import ModelError

    show_document(document, quiet=quiet or json)
    earlier = add_run(document, folder, quiet=quiet) if folder and document.records else None
    if earlier:
        stream = sys.stderr if json else sys.stdout
        if not quiet:
            print(file=stream)
        show_history(earlier, quiet=quiet, stream=stream)
    reports.write(document, earlier)
    if json:
        print(document.to_json())
    if document.partial:
        raise typer.Exit(130)
    if document.failures and not document.records:
        raise ModelError("no file could be measured", f"{len(document.failures)} failed", "the lines above say why")
    gate.judge(document, json=json, quiet=quiet)
    if document.failures:
        raise typer.Exit(1)


@dataclass(slots=True)
class Opened:
    """Rows that can be measured, and why others cannot."""

    rows: "list[Row]" = field(default_factory=list["Row"])
    failures: "list[Failed]" = field(default_factory=list["Failed"])
    errors: "list[EdgerecError]" = field(default_factory=list["EdgerecError"])


def open_rows(
    configurations: "Sequence[Configuration]", foreign: options.Foreign, images: "DataSet | None", factories: Sequence[str], *, quiet: bool
) -> Opened:
    """Load every model once, and check that it fits the images.

    Raises:
        EdgerecError: No model is left: what is wrong with the first.
    """
    from ..benchmarks.bench import Row, failed
    from ..runtime.errors import EdgerecError

    opened, known = Opened(), dict[tuple[Path, str], "Row | EdgerecError"]()
    for one in configurations:
        key = one.file, one.provider
        if key not in known:
            try:
                known[key] = open_one(one, foreign, images, factories, quiet=quiet)
            except EdgerecError as error:
                known[key] = error
                opened.errors.append(error)
        found = known[key]
        if isinstance(found, Row):
            opened.rows.append(Row(one, found.candidate))
        else:
            opened.failures.append(failed(one, found))
    if not opened.rows:
        raise opened.errors[0]
    return opened


def open_one(
    configuration: "Configuration", foreign: options.Foreign, images: "DataSet | None", factories: Sequence[str], *, quiet: bool
) -> "Row":
    """Load one model."""
    from ..benchmarks.bench import Row, open_row
    from ..runtime.spec import ModelSpec
    from .eager import PROVIDER, eager_candidate
    from .sources import check_labels

    if configuration.provider == PROVIDER:
        row = Row(configuration, eager_candidate(configuration.file, configuration.threads, factories))
    else:
        # Nothing needs to be said about pictures where there are none: arrays go in as they are, and so do random numbers.
        default = None if images and images.inputs else ModelSpec(())
        row = open_row(
            configuration,
            lambda known: foreign.fill(known, configuration.file.name) or default,
            lambda session: tell_placement(session, quiet=quiet),
        )
    if images:
        check_labels(row.candidate.spec, images, configuration.file.name)
    return row


def _matrix(
    start: "Configuration",
    files: Sequence[Path],
    providers: Sequence[str],
    threads: Sequence[int],
    batches: Sequence[int],
    factories: Sequence[str],
) -> "list[Configuration]":
    """Return every combination; a checkpoint has no provider, so it stands there once for all of them."""
    from ..benchmarks.configurations import matrix
    from .eager import eager_configuration

    found = matrix(start, files=files, providers=providers, threads=list(threads) or [None], batches=batches, profiles=[start.profile])
    rows = [eager_configuration(one, factories) if one.file.suffix == ".safetensors" else one for one in found]
    return [one for at, one in enumerate(rows) if one not in rows[:at]]


def _run(opened: Opened, images: "Images | None", schedule: "Schedule", beside: "Beside", *, quiet: bool) -> "Document":
    """Measure, with a bar that says what is being done."""
    from ..benchmarks.bench import bench_files
    from .eager import launch

    with progress_bar("bench", None, quiet=quiet) as bar:
        document = bench_files(
            opened.rows, images, schedule, beside, progress=lambda stage, done, total: bar.show(done, total, stage), command=launch
        )
    return replace(document, failures=(*opened.failures, *document.failures))
