"""Files that take uint8 images and give scores: run them, and replay the golden pair that they bring along."""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt

from .errors import DataError, GateError, ModelError
from .packed_spec import Golden, Packed
from .preprocess import to_pixels
from .session import Session
from .spec import ModelSpec

Pixels = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]


def scores(session: Session, spec: ModelSpec, images: Sequence[npt.NDArray[np.generic]]) -> Scores:
    """Return the scores of every class.

    Args:
        session: A packed model.
        spec: What it says about itself.
        images: uint8, shape (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, of any sizes.

    Returns:
        Shape (N, classes).

    Raises:
        DataError: Another dtype or shape, or an image that the model cannot resize.
        ModelError: The model does not give scores.
    """
    inputs = [as_input(image, spec) for image in images]
    if len({one.shape for one in inputs}) == 1:
        return _run(session, spec, np.concatenate(inputs))
    return np.concatenate([_run(session, spec, one) for one in inputs])


def as_input(image: npt.NDArray[np.generic], spec: ModelSpec) -> Pixels:
    """Return one image as a packed file takes it: uint8, shape (1, H, W, C), in the file's size where that is fixed.

    Raises:
        DataError: Another dtype or shape.
    """
    return (to_pixels(image, spec.input) if _packed(spec).size == "fixed" else _in_color(image, spec))[np.newaxis]


def replay(session: Session, spec: ModelSpec) -> float:
    """Run the golden image that a packed file holds, and compare the scores with those it gave when it was made.

    Returns:
        The largest difference of a score.

    Raises:
        GateError: A score is off by more than the file allows.
        ModelError: The file is not packed, or its golden pair is damaged.
    """
    golden = _packed(spec).golden
    try:
        found = scores(session, spec, [unpack(golden, spec)])[0]
    except DataError as error:
        raise ModelError("the file cannot run its own golden image", error, "pack it again") from error
    if max(golden.indices) >= len(found):
        raise _damaged(f"class {max(golden.indices)} of {len(found)}")
    off = [abs(float(found[index]) - score) for index, score in zip(golden.indices, golden.scores, strict=True)]
    worst = int(np.argmax(off))
    if not off[worst] <= golden.tolerance:
        index = golden.indices[worst]
        label = spec.labels[index] if index < len(spec.labels) else str(index)
        raise GateError(
            "this machine does not give the golden answer of the packed file",
            f"{label}: score {float(found[index]):.6f}, {golden.scores[worst]:.6f} when it was packed, allowed {golden.tolerance:g}",
            "pack for this machine (edgerec quantize --target), or check the onnxruntime installed here",
        )
    return off[worst]


def pack_image(pixels: Pixels) -> str:
    """Return the text form of a golden image's pixels."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(pixels).tobytes(), 9)).decode("ascii")


def unpack(golden: Golden, spec: ModelSpec) -> Pixels:
    """Return a golden image as the file takes it; for a fixed size, its pixels are repeated to fill that.

    Raises:
        ModelError: The text is damaged, or holds more or fewer pixels than it says.
    """
    shape = golden.height, golden.width, spec.input.channels
    expected = golden.height * golden.width * spec.input.channels
    try:
        # One byte more than it may have: a few bytes of zlib can claim gigabytes.
        data = zlib.decompressobj().decompress(base64.b64decode(golden.image, validate=True), expected + 1)
    except (ValueError, TypeError, zlib.error) as error:
        raise _damaged(error) from error
    if len(data) != expected:
        raise _damaged(f"{len(data)} bytes, {expected} expected")
    pixels = np.frombuffer(data, np.uint8).reshape(shape)
    if _packed(spec).size == "any":
        return pixels
    rows = np.arange(spec.input.height) * golden.height // spec.input.height
    columns = np.arange(spec.input.width) * golden.width // spec.input.width
    return pixels[rows][:, columns]


def _run(session: Session, spec: ModelSpec, batch: Pixels) -> Scores:
    found = session.predict({spec.input.name: batch})
    if found.ndim != 2 or found.dtype != np.float32:
        raise ModelError("a packed file's first output must be scores, (N, classes)", f"{found.dtype}{list(found.shape)}", "pack it again")
    return cast("Scores", found)


def _in_color(image: npt.NDArray[np.generic], spec: ModelSpec) -> Pixels:
    """Return the image in the model's channels and its own size."""
    height, width = image.shape[:2] if image.ndim > 1 and image.size else (1, 1)  # what is no image is refused by `to_pixels`
    return to_pixels(image, replace(spec.input, height=height, width=width))


def _packed(spec: ModelSpec) -> Packed:
    if spec.packed is None:
        raise ModelError("this is not a packed file", "no golden image in it", "pack it first: edgerec pack")
    return spec.packed


def _damaged(given: object) -> ModelError:
    return ModelError("the golden pair of the packed file is damaged", given, "pack it again")
