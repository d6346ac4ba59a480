"""`edgerec predict`: what is in this picture."""

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .console import print_json, print_table, tell_placement

EXAMPLE = "Example: edgerec predict small.int8.onnx photo.jpg --top 3"
PORTION = 32  # images in memory at a time


def predict(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    top: Annotated[int, typer.Option("--top", min=1, help="How many labels an image gets.")] = 5,
    replay: Annotated[
        bool, typer.Option("--replay", help="First let a packed file prove itself on the image that it brings along.")
    ] = False,
    provider: options.Provider = "cpu",
    provider_option: options.ProviderOption = [],  # noqa: B006  # Typer copies list defaults
    profile: options.Profile = "latency",
    min_on_provider: options.MinOnProvider = 0.9,
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    input_size: options.InputSize = None,
    mean: options.Mean = None,
    std: options.Std = None,
    scale: options.Scale = None,
    color: options.Color = None,
    layout: options.Layout = None,
    labels: options.Labels = None,
    scores: options.ScoresOption = None,
    json: options.Json = False,
) -> None:
    """Print labels and scores of images."""
    from ..runtime.packed import replay as replay_golden
    from ..runtime.providers import parse_options
    from ..runtime.recognizer import Recognizer
    from ..runtime.session import open_session

    session = open_session(
        model,
        provider=provider,
        profile=profile,
        threads=threads,
        options=parse_options(provider_option),
        allow_fallback=allow_fallback,
        min_on_provider=min_on_provider,
    )
    tell_placement(session)
    spec = options.Foreign(input_size, mean, std, scale, color, layout, labels, scores).fill(session.spec, model.name)
    recognizer = Recognizer(session, spec, top=top)
    if replay:
        replay_golden(session, recognizer.spec)
    portions = (images[at : at + PORTION] for at in range(0, len(images), PORTION))
    found = ((path, best) for portion in portions for path, best in zip(portion, recognizer.predict_batch(portion), strict=True))
    if json:
        print_json([{"image": str(path), "predictions": [one._asdict() for one in best]} for path, best in found])
        return
    for path, best in found:
        print_table(str(path), ["label", "score"], [[one.label, f"{one.score:.1%}"] for one in best])
