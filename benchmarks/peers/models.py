"""The models that the tools are compared on: where each comes from, and how its float file is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...data.named import NAMED
from ...runtime.errors import ConfigError, DataError, ModelError
from ...runtime.files import replacing, sha256, write_text
from ...runtime.spec import InputSpec
from .commands import EDGEREC, Limits, run_command

PIXELS = "pixels"  # stands for a data set: images of nothing, made here
PIXEL_IMAGES = 1024
FASHION_MODELS = ("mobilenet_v3_small", "vit_tiny", "attention", "rnn", "efficientnet_lite0", "efficientnet_lite0_silu")
_COARSE = 8  # pixels of one flat patch

_CIFAR_ORIGIN = "github.com/akamaster/pytorch_resnet_cifar10 (BSD-2-Clause style), weights as safetensors"
_TINY_ORIGIN = "github.com/mlcommons/tiny, image classification reference, converted to ONNX (Apache-2.0)"


@dataclass(frozen=True, slots=True)
class Case:
    """A model and the data it is measured on.

    Attributes:
        files: Names that its file may have, the first found counts; with the SHA-256 of one that was published, else an empty text.
        origin: Where the file comes from, for people.
        data: A named data set, or `pixels`.
        input: What the model expects, where its file does not say.
        export: Arguments of `edgerec export` that make the float file, without its output; `{file}` stands for the found file and `{labels}`
            for a file with the class names. An `.onnx` that was found is taken as it is.
        is_trained: It recognises something, so that its accuracy says something.
        test_images: How many it is measured on at most; None takes all.
    """

    files: dict[str, str]
    origin: str
    data: str
    input: InputSpec | None = None
    export: tuple[str, ...] = ()
    is_trained: bool = True
    test_images: int | None = None


def _cifar(depth: int, digest: str) -> Case:
    name = f"resnet{depth}"
    files = {f"c10-{name}.onnx": "", f"cifar10-{name}.onnx": "", f"cifar10-{name}.safetensors": digest}
    how = (name, "--weights", "{file}", "--labels", "{labels}", "--input-size", "3x32x32", "--data", "cifar10")
    return Case(files, _CIFAR_ORIGIN, "cifar10", export=how)


def _fashion(name: str) -> Case:
    files = {f"fm-{name}.onnx": "", f"{name}.onnx": "", f"{name}.safetensors": ""}
    return Case(files, f"edgerec train --model {name} --data fashion-mnist", "fashion-mnist", export=("{file}", "--data", "fashion-mnist"))


def _large(name: str) -> Case:
    how = (name, "--labels", "{labels}", "--input-size", "3x224x224")
    return Case({f"{name}-224.onnx": ""}, "random weights", "cifar10", export=how, is_trained=False, test_images=64)


CASES: dict[str, Case] = {
    "resnet20": _cifar(20, "05c405588c0a438af16d000449db4d4479a3e13062dcfe34bb61d8dab5792151"),
    "resnet56": _cifar(56, "0ffb1b30858ce2e0f1e7268ab3a379454eccdda10b6a43556628070a8f7c214b"),
    "mlperf-tiny-resnet8": Case(
        {"mlperf-tiny-resnet8.onnx": "4994a86a268375a0598e30c09e96f05e149da9d750415560448c4a3d96c434cc"},
        _TINY_ORIGIN,
        "cifar10",
        InputSpec(32, 32, scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    ),
    "mnist-cntk": Case(
        {"mnist-cntk-opset8.onnx": "2f06e72de813a8635c9bc0397ac447a601bdbfa7df4bebc278723b958831c9bf"},
        "github.com/onnx/models, validated/vision/classification/mnist, opset 8 (MIT)",
        "mnist",
        InputSpec(28, 28, color="grey", scale=1.0, mean=(0.0,), std=(1.0,)),
    ),
    "ppocr-cls": Case(
        {"ppocr-cls-opset11.onnx": "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c"},
        "rapidocr-onnxruntime on PyPI, the text line's orientation (Apache-2.0)",
        PIXELS,
        InputSpec(48, 192, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        is_trained=False,
    ),
    **{name: _fashion(name) for name in FASHION_MODELS},
    "efficientnet_lite0-224": _large("efficientnet_lite0"),
    "efficientnet_lite0_silu-224": _large("efficientnet_lite0_silu"),
}


def choose_cases(names: Sequence[str]) -> dict[str, Case]:
    """Return cases by name.

    Raises:
        ConfigError: There is no such case.
    """
    if unknown := [name for name in names if name not in CASES]:
        raise ConfigError("there is no such model", ", ".join(unknown), f"choose among {', '.join(CASES)}")
    return {name: CASES[name] for name in names}


def float_file(name: str, case: Case, models: Path, work: Path, data: str | None = None) -> Path:
    """Return a case's float ONNX file; it is exported into `work` where only weights are there, or none are needed.

    Args:
        name: Of the case.
        case: Its description.
        models: Where files lie.
        work: Where files are made.
        data: What `--data` is given instead of the data set's name.

    Raises:
        DataError: The file is missing, or is another one than was published.
        ModelError: The export fails.
    """
    found = next((models / one for one in case.files if (models / one).is_file()), None)
    needs_file = not case.export or any("{file}" in one for one in case.export)
    if found is None and needs_file:
        raise DataError("the model is not there", " or ".join(case.files), f"put it into {models}; it comes from {case.origin}")
    if found is not None:
        wanted, digest = case.files[found.name], sha256(found)
        if wanted and digest != wanted:
            raise DataError("this is another file than the published one", f"{found.name}, SHA-256 {digest}", f"get it from {case.origin}")
        if found.suffix == ".onnx":
            return found
    return _exported(name, case, found, work, data or case.data)


def foreign_options(spec: InputSpec | None) -> list[str]:
    """Return what `edgerec` must be told about a file that does not say what it expects."""
    if spec is None:
        return []
    values = {"--mean": spec.mean, "--std": spec.std}
    lists = [part for option, numbers in values.items() for part in (option, ",".join(str(one) for one in numbers))]
    return ["--input-size", f"{spec.channels}x{spec.height}x{spec.width}", "--scale", repr(spec.scale), *lists]


def make_pixels(path: Path, spec: InputSpec, count: int = PIXEL_IMAGES) -> None:
    """Write an `.npz` of images of flat patches with grain, uint8, shape (count, H, W, C): no data set, but no noise that saturates everything."""
    noise = np.random.default_rng(0)
    rows, columns = -(-spec.height // _COARSE), -(-spec.width // _COARSE)
    coarse = noise.integers(0, 256, (count, rows, columns, spec.channels), np.uint8)
    patches = coarse.repeat(_COARSE, axis=1).repeat(_COARSE, axis=2)[:, : spec.height, : spec.width]
    grain = noise.integers(-16, 17, patches.shape, np.int16)
    with replacing(path) as temporary:
        np.savez(temporary, images=np.clip(patches + grain, 0, 255).astype(np.uint8))


def _exported(name: str, case: Case, found: Path | None, work: Path, data: str) -> Path:
    """Run `edgerec export`, or return what it wrote earlier."""
    output, labels = work / f"{name}.float.onnx", work / f"{name}.labels.txt"
    classes = "\n".join(NAMED[case.data].labels) + "\n"
    origin, stamp = work / f"{name}.origin.txt", f"{sha256(found) if found else 'random weights'} {' '.join(case.export)}\n{classes}"
    if output.is_file() and origin.is_file() and origin.read_text(encoding="utf-8") == stamp:
        return output
    write_text(labels, classes)  # the data's own: `edgerec quantize` refuses other images
    arguments = [data if one == case.data else one.format(file=found, labels=labels) for one in case.export]
    run = run_command([*EDGEREC, "export", *arguments, "-o", str(output), "-q"], Limits(threads=None))
    if run.error:
        raise ModelError("the float file cannot be made", f"edgerec export {' '.join(arguments)}: {run.error}", "install edgerec[toolkit]")
    write_text(origin, stamp)
    return output
