"""Options that mean the same on every command, and how the ones for foreign files become a spec."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from ..runtime.errors import ConfigError
from ..runtime.files import check_writable
from ..runtime.spec import InputSpec, ModelSpec
from .console import say

Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="mnist-8k, mnist, fashion-mnist, cifar10 (or NAME=PATH); a folder of images; an .npz file; or package.module:function.",
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of weights, order and augmentation; the splits of the data do not depend on it.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads; by default every core this process may use.")]
Provider = Annotated[
    str, typer.Option("--provider", help="Execution provider: cpu, cuda, openvino ..., ONNX Runtime's own name, plugin:NAME=PATH, or auto.")
]
Profile = Annotated[
    str, typer.Option("--profile", help="How a session uses the machine: latency, throughput, camera (sleeps between frames), low-memory.")
]
MinOnProvider = Annotated[
    float, typer.Option("--min-on-provider", min=0, max=1, help="Smallest share of nodes that the provider must run, 0 to 1.")
]
AllowFallback = Annotated[bool, typer.Option("--allow-fallback", help="Accept that nodes run on the CPU instead of the provider.")]
ProviderOption = Annotated[
    list[str], typer.Option("--provider-option", help="key=value, passed to the provider; may be given more than once.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be decoded, and count them.")]
Factory = Annotated[
    list[str],
    typer.Option("--factory", help="package.module:function that builds your own model, for its checkpoint; may be given more than once."),
]
InputSize = Annotated[
    str | None, typer.Option("--input-size", help="For a file that does not say it: channels x height x width, such as 3x224x224.")
]
Mean = Annotated[
    str | None,
    typer.Option("--mean", help="For a file that does not say it: per channel, after --scale. ImageNet's by default, 0 for grey."),
]
Std = Annotated[
    str | None,
    typer.Option("--std", help="For a file that does not say it: per channel. ImageNet's by default, 1 for grey."),
]
Scale = Annotated[
    float | None,
    typer.Option(
        "--scale", help="For a file that does not say it: factor on the pixels; 1 for models that take 0..255, then mean is 0 and std 1."
    ),
]
Color = Annotated[str | None, typer.Option("--color", help="For a file that does not say it: rgb, bgr or grey.")]
Layout = Annotated[str | None, typer.Option("--layout", help="For a file that does not say it: NCHW or NHWC.")]
Labels = Annotated[Path | None, typer.Option("--labels", help="Instead of the file's: a text file with one class name a line.")]
ScoresOption = Annotated[str | None, typer.Option("--scores", help="Instead of what the file says: its output is logits or probabilities.")]


def read_labels(path: Path | None) -> tuple[str, ...]:
    """Return the lines of a label file; empty without one.

    Raises:
        ConfigError: The file cannot be read, or names no class.
    """
    if path is None:
        return ()
    labels = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not labels:
        raise ConfigError("the label file is empty", path, "give a text file with one class name a line")
    return labels


@dataclass(frozen=True, slots=True)
class Foreign:
    """What the options say instead of a file; the fields are the options' own texts."""

    input_size: str | None = None
    mean: str | None = None
    std: str | None = None
    scale: float | None = None
    color: str | None = None
    layout: str | None = None
    labels: Path | None = None
    scores: str | None = None

    def fill(self, known: ModelSpec | None, name: str) -> ModelSpec | None:
        """Return what a file says; where it says nothing, what the options say.

        One rule for every command: what is not said does not follow from the data, so calibration, bench and device agree. A file that
        knows its input is believed, and that is said aloud, because a wrong option would cost points of accuracy unseen.

        Args:
            known: The file's own spec; None when it has none.
            name: What the file is called.

        Returns:
            None when neither the file nor `--input-size` describes the input.

        Raises:
            ConfigError: An option is malformed or does not fit the others.
        """
        labels = read_labels(self.labels) or (known.labels if known else ())
        scores = self.scores or (known.scores if known else "logits")
        if known is None and self.input_size is None:
            return None
        given = any(one is not None for one in (self.input_size, self.mean, self.std, self.scale, self.color, self.layout))
        if known and given:
            say(f"{name} says itself how its images are prepared; --input-size, --mean and the like are for files that do not")
        inputs = known.inputs if known else (self.over(InputSpec(224, 224)),)
        return replace(known or ModelSpec(()), inputs=inputs, labels=labels, scores=scores)  # type: ignore[arg-type]  # checked by the record

    def over(self, start: InputSpec) -> InputSpec:
        """Return an input with what the options say instead."""
        channels, height, width = parse_size(self.input_size) if self.input_size else (start.channels, start.height, start.width)
        same = channels == start.channels
        # Another scale or number of channels makes the known mean and std meaningless.
        plain = not same or self.scale is not None
        return replace(
            start,
            height=height,
            width=width,
            color=self.color or (start.color if same else "grey" if channels == 1 else "rgb"),  # type: ignore[arg-type]
            layout=self.layout or start.layout,  # type: ignore[arg-type]
            scale=start.scale if self.scale is None else self.scale,
            mean=_values("--mean", self.mean) if self.mean else (0.0,) * channels if plain else start.mean,
            std=_values("--std", self.std) if self.std else (1.0,) * channels if plain else start.std,
        )


def required(spec: ModelSpec | None, given: object) -> ModelSpec:
    """Return the spec, or say how to give one.

    Raises:
        ConfigError: There is none.
    """
    if spec is None:
        raise ConfigError(
            "the model does not say what it expects",
            given,
            "give --input-size, such as 3x224x224, and --mean, --std or --scale where they are not ImageNet's",
        )
    return spec


def check_output(output: Path, *inputs: Path) -> None:
    """Find out before any work that the output cannot be written, or would replace an input.

    Raises:
        ConfigError: The output is one of the inputs.
        OutputError: It cannot be written.
    """
    if output.resolve() in [one.resolve() for one in inputs]:
        raise ConfigError("the output would replace the input", output, "give another name")
    check_writable(output)


def read_text(path: Path) -> str:
    """Return a small text file.

    Raises:
        ConfigError: It is missing or not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("the file cannot be read", f"{path} ({error})", "check the path") from error


def parse_size(text: str) -> tuple[int, int, int]:
    """Turn `3x224x224`, or `1x28x28`, into (channels, height, width)."""
    try:
        channels, height, width = (int(part) for part in text.lower().replace(",", "x").split("x"))
    except ValueError as error:
        raise ConfigError("--input-size needs channels x height x width", repr(text), "for example 3x224x224") from error
    if channels not in (1, 3) or min(height, width) < 1:
        raise ConfigError("--input-size takes 1 or 3 channels and at least one pixel", repr(text), "for example 1x28x28")
    return channels, height, width


def _values(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{option} needs numbers with commas between them", repr(text), "for example 0.485,0.456,0.406") from error
