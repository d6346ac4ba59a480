"""`edgerec pack`: one file for a device, images in, labels and scores out."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .console import print_json, say

if TYPE_CHECKING:
    from ..export.ort_format import OrtFormat
    from ..export.packing import PackedFile

EXAMPLE = "Example: edgerec pack small.int8.onnx --golden photo.png -o device.onnx"


def pack(
    model: Annotated[Path, typer.Argument(help="An ONNX file that takes float tensors, as export and quantize write it.")],
    output: options.Output,
    top: Annotated[int, typer.Option("--top", min=1, help="How many of the best classes it gives; all scores come as well.")] = 5,
    size: Annotated[
        str, typer.Option("--size", help="any: it resizes images itself; fixed: it takes them in the model's size; auto: any where exact.")
    ] = "auto",
    golden: Annotated[
        Path | None,
        typer.Option("--golden", help="An image to prove the file with; a small copy stays inside. A drawn test card without it."),
    ] = None,
    ort: Annotated[bool, typer.Option("--ort", help="Write it in ORT format as well, and the operator lists for a reduced build.")] = False,
    input_size: options.InputSize = None,
    mean: options.Mean = None,
    std: options.Std = None,
    scale: options.Scale = None,
    color: options.Color = None,
    layout: options.Layout = None,
    labels: options.Labels = None,
    scores: options.ScoresOption = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Put preprocessing, softmax, labels and a test of itself into the file: it then takes uint8 images, from any language."""
    from ..export.ort_format import write_ort
    from ..export.packing import Packing
    from ..export.packing import pack as pack_file
    from ..graph.file import load_onnx, read_spec
    from ..runtime.preprocess import decode

    options.check_output(output, model)
    foreign = options.Foreign(input_size, mean, std, scale, color, layout, labels, scores)
    spec = options.required(foreign.fill(read_spec(load_onnx(model)), model.name), model)
    settings = Packing(size=size, top=top, photo=decode(golden) if golden else None)  # type: ignore[arg-type]  # the record checks it
    packed = pack_file(model, output, settings, spec=spec)
    _tell(packed, golden, quiet=quiet)
    reduced = write_ort(output) if ort else None
    if reduced:
        _tell_reduced(reduced, quiet=quiet)
    if json:
        print_json(_record(packed, golden, reduced))


def _tell(packed: "PackedFile", golden: Path | None, *, quiet: bool) -> None:
    kept = packed.spec.packed
    assert kept is not None  # it was just packed
    one = packed.spec.input
    images = f"{packed.parity.images - 1} cuts of {golden.name}" if golden else "drawn test cards (give --golden for a photo)"
    if kept.size == "any":
        assert packed.resized is not None
        say(f"takes images of any size: its resize is at most {kept.resize_max_levels} of 255 grey levels off Pillow's,", quiet=quiet)
        say(f"  which moved a score by at most {packed.resized.max_abs:.1e} on {images}", quiet=quiet)
    else:
        say(f"takes images of {one.height}x{one.width} pixels only{': ' + kept.reason if kept.reason else ''}", quiet=quiet)
    told = {
        "none": "the pixels are the first integers",
        "folded": "done by the first quantization, every integer the same",
        "float": "in float",
    }
    say(f"normalisation: {told[kept.normalisation]}", quiet=quiet)
    say(f"scores from the same pixels differ by at most {packed.parity.max_abs:.1e} on {images}: {packed.path}", quiet=quiet)


def _tell_reduced(reduced: "OrtFormat", *, quiet: bool) -> None:
    say(f"ORT format: {reduced.path}", quiet=quiet)
    say(f"operators: {reduced.operators.name}; with their types: {reduced.types.name}", quiet=quiet)
    say(f"an ONNX Runtime that runs just these, in its checkout:\n  {reduced.build}", quiet=quiet)


def _record(packed: "PackedFile", golden: Path | None, reduced: "OrtFormat | None") -> dict[str, object]:
    kept = packed.spec.packed
    assert kept is not None
    return {
        "output": str(packed.path),
        "images": "golden" if golden else "test cards",
        "parity": asdict(packed.parity),
        "resized": asdict(packed.resized) if packed.resized else None,
        "packed": asdict(kept),
        "ort": {key: str(value) for key, value in asdict(reduced).items()} if reduced else None,
    }
