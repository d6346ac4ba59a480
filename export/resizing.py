"""Resizing and cropping inside a graph, as `runtime.preprocess` does them with Pillow, and how far the two are apart.

ONNX Runtime's antialiased Resize on uint8 does Pillow's own fixed-point arithmetic: at most 1 grey level apart, 0 to 0.7 % of the pixels. In float
it is off by up to 23 levels for a bicubic kernel, and without `exclude_outside` at the borders for any. Both resize along the rows first; Pillow 13
along the columns where that is less work (high images), which a bicubic kernel's overshoot shows (up to 26 levels), a bilinear one not.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper

from ..graph.execution import open_model
from ..graph.file import IR_VERSION
from ..runtime.errors import DataError, ModelError
from ..runtime.preprocess import to_pixels
from ..runtime.spec import InputSpec
from .steps import Attributes, Steps

Pixels = npt.NDArray[np.uint8]

RESIZE_OPSET = 18  # the first whose Resize knows antialias
_ROWS, _COLUMNS = 1, 2  # axes of (N, H, W, C)
_ANTIALIAS: Attributes = {"antialias": 1, "exclude_outside": 1}
# Pillow's bicubic is Keys' with a = -0.5; ONNX's default is -0.75. Nearest is not here: Pillow adds up float64 positions, so that no formula gives
# its choice at every size (at 296 to 28 pixels it misses the exact one once).
_KERNELS: dict[tuple[str, bool], Attributes] = {
    ("bilinear", True): {"mode": "linear", **_ANTIALIAS},
    ("bilinear", False): {"mode": "linear"},
    ("bicubic", True): {"mode": "cubic", "cubic_coeff_a": -0.5, **_ANTIALIAS},
}


def has_kernel(spec: InputSpec) -> bool:
    """Tell whether ONNX has the spec's resize kernel."""
    return (spec.kernel, spec.antialias) in _KERNELS


def add_resize(steps: Steps, image: str, spec: InputSpec) -> str:
    """Append what brings uint8 images (N, H, W, C) of any size to (N, spec.height, spec.width, C)."""
    shape = steps.add("Shape", image)
    count, channels = _part(steps, shape, 0), _part(steps, shape, 3)
    wanted = steps.integers(spec.height), steps.integers(spec.width)
    size = _cover(steps, _part(steps, shape, _ROWS), _part(steps, shape, _COLUMNS), spec) if spec.fit == "crop" else wanted
    sizes = steps.add("Concat", count, *size, channels, attributes={"axis": 0})
    # It changes nothing, but says that these are four: before 1.24, ONNX Runtime took them for none and refused the file.
    sizes = steps.add("Reshape", sizes, steps.integers(4))
    resized = steps.add("Resize", image, "", "", sizes, attributes=_KERNELS[spec.kernel, spec.antialias])
    if spec.fit == "crop":
        resized = _centre(steps, resized, size, wanted)
    # The shape as a constant: what follows is optimised as in the core file, whose sizes are known.
    return steps.add("Reshape", resized, steps.integers(-1, spec.height, spec.width, spec.channels))


def largest_difference(spec: InputSpec, images: Iterable[Pixels]) -> int:
    """Return by how many grey levels the graph's resized images are off Pillow's, at most.

    Args:
        spec: How to resize; its channels are in RGB order or grey.
        images: uint8, shape (H, W, C), of several sizes.

    Raises:
        ModelError: ONNX Runtime cannot run this Resize.
    """
    session = open_model(_resizer(spec))
    worst = 0
    for image in images:
        expected = to_pixels(image, spec).astype(np.int16)
        try:
            found = session.predict({"image": image[np.newaxis]})[0].astype(np.int16)
        except DataError as error:
            raise ModelError("ONNX Runtime cannot resize this image", f"{image.shape} ({error.given})", "pack for a fixed size") from error
        worst = max(worst, int(np.abs(found - expected).max()))
    return worst


def _resizer(spec: InputSpec) -> ModelProto:
    steps = Steps("resize")
    steps.call(add_resize(steps, "image", spec), "pixels")
    taken = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", "height", "width", spec.channels])
    given = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", spec.height, spec.width, spec.channels])
    graph = helper.make_graph(steps.nodes, "resizer", [taken], [given], steps.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", RESIZE_OPSET)], ir_version=IR_VERSION)


def _part(steps: Steps, shape: str, axis: int) -> str:
    return steps.add("Slice", shape, steps.integers(axis), steps.integers(axis + 1))


def _cover(steps: Steps, rows: str, columns: str, spec: InputSpec) -> tuple[str, str]:
    """Append the size that covers the crop, with `runtime.preprocess`'s own integer arithmetic; an image that fits already stays."""
    least_rows, least_columns = int(spec.height / spec.crop), int(spec.width / spec.crop)
    tall, wide = steps.integers(least_rows), steps.integers(least_columns)
    one = steps.integers(1)
    by_width, by_height = steps.add("Mul", wide, rows), steps.add("Mul", tall, columns)
    is_tall = steps.add("GreaterOrEqual", by_width, by_height)
    # At least 1: a division by zero would end the process, where an empty image should be an error.
    scaled_rows = steps.add("Max", tall, steps.add("Div", by_width, steps.add("Max", columns, one)))
    scaled_columns = steps.add("Max", wide, steps.add("Div", by_height, steps.add("Max", rows, one)))
    height, width = steps.integers(spec.height), steps.integers(spec.width)
    fits = steps.add("And", steps.add("Equal", rows, height), steps.add("Equal", columns, width))
    covering = steps.add("Where", is_tall, scaled_rows, tall), steps.add("Where", is_tall, wide, scaled_columns)
    return steps.add("Where", fits, height, covering[0]), steps.add("Where", fits, width, covering[1])


def _centre(steps: Steps, image: str, size: tuple[str, str], wanted: tuple[str, str]) -> str:
    starts = [_half(steps, steps.add("Sub", have, want)) for have, want in zip(size, wanted, strict=True)]
    ends = [steps.add("Add", start, want) for start, want in zip(starts, wanted, strict=True)]
    start, end = (steps.add("Concat", *edges, attributes={"axis": 0}) for edges in (starts, ends))
    return steps.add("Slice", image, start, end, steps.integers(_ROWS, _COLUMNS))


def _half(steps: Steps, number: str) -> str:
    """Append half of a number >= 0, rounded to even as Python's `round` does."""
    two = steps.integers(2)
    floor = steps.add("Div", number, two)
    odd = steps.add("Mod", number, two)
    return steps.add("Add", floor, steps.add("Mul", odd, steps.add("Mod", floor, two)))
