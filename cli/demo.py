"""`edgerec demo`: the whole road on embedded real data, measured."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .bench_table import show_document, table_of
from .console import progress_bar, say
from .eager import eager_candidate, eager_configuration, launch

if TYPE_CHECKING:
    from ..benchmarks.document import Document
    from ..benchmarks.records import Record
    from ..data.splits import DataSet
    from ..train.checkpoint import Checkpoint
    from ..train.settings import Settings

EXAMPLE = "Example: edgerec demo --output my-demo"

MODEL = "resnet20"
DATA = "mnist-8k"
SPEEDUP_BAR = 6.0  # the int8 file against eager PyTorch, one thread, one image
DROP_BAR = 0.5  # points of top-1 on the test images
TRAIN_EPOCHS = 6
DISTIL_EPOCHS = 5
PRUNING_SPEEDUP = 1.5
GATE_IMAGES = 32
STARTS = 5  # of each measuring process
FILES = {
    "1-trained.safetensors": f"the {MODEL} that was trained, a checkpoint for PyTorch",
    "1-trained.onnx": "the same model as an ONNX file",
    "2-pruned.safetensors": "the same with its weakest channels removed; the accuracy suffers until it is trained again",
    "2-pruned.onnx": "the pruned model as an ONNX file",
    "3-distilled.safetensors": "the pruned model after it learned from the trained one",
    "3-distilled.onnx": "the same as an ONNX file",
    "4-int8.onnx": "the file for the device: 8-bit integers",
    "digit.png": "one image of the test set, for `edgerec predict 4-int8.onnx digit.png`",
    "results.json": "every measurement with its machine, versions and hashes",
    "plot.png": "accuracy against latency",
}


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for every file, the table and the plot; made if missing.")] = Path(
        "edgerec-demo"
    ),
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train, prune, distil, export, quantize and benchmark a ResNet on 8,000 real digits; under 3 minutes on 2 cores."""
    from ..benchmarks.plot import plot_tradeoff
    from ..data import open_data
    from ..runtime.files import write_text

    make_folder(output)
    images = open_data(DATA)
    save_digit(images, output / "digit.png")
    travel(images, output, seed, quiet=quiet)
    document = measure(images, output, quiet=quiet)
    write_text(output / "results.json", document.to_json() + "\n")
    show_document(document, quiet=quiet or json)
    if document.partial or document.failures:
        raise typer.Exit(130 if document.partial else 1)
    records = document.records
    plot_tradeoff(records, output / "plot.png", f"{MODEL} on {DATA}, one thread")
    write_text(output / "README.md", page(records))
    verdict = judge(records)
    say(verdict, quiet=quiet)
    say(f"everything is in {output}; try: edgerec predict {output / '4-int8.onnx'} {output / 'digit.png'}", quiet=quiet)
    if json:
        print(document.to_json())


def make_folder(path: Path) -> None:
    """Make the output folder; its parent must exist.

    Raises:
        OutputError: It cannot be made, is a file, or holds other files than an earlier demo's.
    """
    from ..runtime.errors import OutputError
    from ..runtime.files import check_writable

    try:
        path.mkdir(exist_ok=True)
        others = [one.name for one in path.iterdir() if one.name not in (*FILES, "README.md")]
    except OSError as error:
        raise OutputError(
            "the output folder cannot be made", f"{path} ({error.strerror})", "choose a folder whose parent exists and can be written"
        ) from error
    if others or ((path / "README.md").exists() and not (path / "results.json").exists()):
        raise OutputError(
            "the output folder holds files of somebody else",
            f"{path}: {', '.join(others[:3]) or 'README.md'}",
            "give a new or empty folder",
        )
    check_writable(path / "results.json")


def travel(images: "DataSet", folder: Path, seed: int, *, quiet: bool) -> None:
    """Walk the road: train, prune, distil, export each stage, quantize the last."""
    from ..compress.distillation import Distillation, distill
    from ..compress.pruning import ChannelPruning, prune
    from ..compress.quantization import Quantization
    from ..train.batches import cross_entropy
    from ..train.loop import fit
    from .quantize import quantize_file
    from .sources import data_spec, new_checkpoint, use_threads
    from .training import follow

    use_threads(None)
    start = new_checkpoint(MODEL, data_spec(images, "train", model=MODEL), seed=seed)
    with progress_bar(f"train {MODEL}", None, quiet=quiet) as bar:
        fitted = fit(
            start.model, images, cross_entropy(), recipe(TRAIN_EPOCHS, 0.2, seed), spec=start.spec, progress=follow(bar, quiet=True)
        )
    trained = replace(start, model=fitted.model)
    keep(trained, images, folder, "1-trained", quiet=quiet)
    pruned = prune(trained, ChannelPruning(speedup=PRUNING_SPEEDUP)).model
    keep(pruned, images, folder, "2-pruned", quiet=quiet)
    with progress_bar("distil the pruned model", None, quiet=quiet) as bar:
        learned = distill(pruned, trained, images, Distillation(), recipe(DISTIL_EPOCHS, 0.05, seed), progress=follow(bar, quiet=True))
    keep(learned.model, images, folder, "3-distilled", quiet=quiet)
    quantize_file(folder / "3-distilled.onnx", images, folder / "4-int8.onnx", Quantization(samples=len(images.calibration)), quiet=quiet)


def recipe(epochs: int, lr: float, seed: int) -> "Settings":
    """Return settings for a training of seconds: one cycle of the learning rate, no augmentation, which would need more epochs."""
    from ..train.settings import Optimizer, Schedule, Settings

    return Settings(epochs=epochs, batch_size=64, optimizer=Optimizer("sgd", lr), schedule=Schedule("one_cycle", warmup=0.3), seed=seed)


def keep(checkpoint: "Checkpoint", images: "DataSet", folder: Path, name: str, *, quiet: bool) -> None:
    """Write a stage as a checkpoint and as an ONNX file that gives the same answers."""
    from ..export import to_onnx
    from ..train.checkpoint import save_checkpoint

    save_checkpoint(checkpoint, folder / f"{name}.safetensors")
    batch = next(images.calibration.take(GATE_IMAGES).batches(GATE_IMAGES, checkpoint.spec.inputs))
    exported = to_onnx(checkpoint, folder / f"{name}.onnx", batch.feeds)
    say(f"{name}: ONNX agrees with PyTorch to {exported.parity.max_abs:.0e} on {exported.parity.images} images", quiet=quiet)


def measure(images: "DataSet", folder: Path, *, quiet: bool) -> "Document":
    """Measure every stage with one thread: eager PyTorch first, which the speed-ups are against."""
    from ..benchmarks.bench import Images, Row, bench_files, open_row
    from ..benchmarks.configurations import Configuration
    from ..benchmarks.rounds import Schedule

    checkpoint = folder / "1-trained.safetensors"
    rows = [Row(eager_configuration(Configuration(checkpoint, threads=1)), eager_candidate(checkpoint, threads=1))]
    rows += [open_row(Configuration(folder / f"{name}.onnx", threads=1)) for name in ("1-trained", "2-pruned", "3-distilled", "4-int8")]
    with progress_bar("measure", None, quiet=quiet) as bar:
        return bench_files(
            rows,
            Images(images.test, "test", images.fingerprint),
            Schedule(starts=STARTS),
            progress=lambda stage, done, total: bar.show(done, total, stage),
            command=launch,
        )


def judge(records: "Sequence[Record]") -> str:
    """Say whether the last row beats the first as promised.

    Raises:
        GateError: It does not, on a processor with 8-bit dot products.
    """
    from ..benchmarks.records import has_int8_dot
    from ..runtime.errors import GateError

    first, last = records[0], records[-1]
    assert first.accuracy is not None  # the data set has labels
    assert last.accuracy is not None
    assert last.speedup is not None  # there are several rows
    drop = 100 * (first.accuracy.top1 - last.accuracy.top1)
    told = f"int8 is {last.speedup.ratio:.1f}x as fast as eager PyTorch; top-1 {-drop:+.2f} points"
    if last.speedup.ratio >= SPEEDUP_BAR and drop <= DROP_BAR:
        return told
    if not has_int8_dot(first.machine):
        return (
            f"{told}. This processor has no 8-bit dot product (VNNI, AMX or ARM's dot product) that we know of: expect about the speed of the "
            f"float file. With one, {SPEEDUP_BAR:g}x or more is usual."
        )
    raise GateError(
        "the int8 file does not keep the demo's promise",
        told,
        f"expected {SPEEDUP_BAR:g}x or more and at most {DROP_BAR} points lost; is the machine busy? The files and the table are kept",
    )


def page(records: "Sequence[Record]") -> str:
    """Return the README of the output folder."""
    files = "\n".join(f"- `{name}`: {meaning}" for name, meaning in FILES.items())
    first = records[0]
    columns, rows = table_of(records)
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"""# edgerec demo

{MODEL} on {DATA}, {first.threads} thread, {first.machine.cpu}.

{table}

![accuracy against latency](plot.png)

{files}

Recognise a digit: `edgerec predict 4-int8.onnx digit.png`
"""


def save_digit(images: "DataSet", path: Path) -> None:
    """Write the first test image as a PNG."""
    from PIL import Image

    from ..runtime.files import replacing

    pixels = next(images.test.take(1).batches(1, images.inputs)).feeds[images.input.name][0]
    with replacing(path) as temporary:
        Image.fromarray(pixels[:, :, 0]).save(temporary)
