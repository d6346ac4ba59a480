"""Pack a model for a device: one ONNX file that takes uint8 images and gives labels' scores; no torch."""

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from ..graph.execution import open_model
from ..graph.file import load_onnx, read_spec, with_spec, writing_onnx
from ..graph.parity import Answer, Parity, Tolerance, check, compare
from ..runtime.errors import ConfigError, EdgerecError, GateError, ModelError
from ..runtime.files import check_writable, sha256
from ..runtime.packed import pack_image, replay, scores, unpack
from ..runtime.packed_spec import Golden, Packed, Size
from ..runtime.preprocess import prepare_batch, to_pixels
from ..runtime.recognizer import Recognizer
from ..runtime.session import Session, open_session
from ..runtime.spec import InputSpec, ModelSpec, Provenance
from . import test_card
from .assembly import assemble, packed_input, takes
from .resizing import has_kernel, largest_difference

Pixels = npt.NDArray[np.uint8]
Choice = Literal["auto", "any", "fixed"]

GOLDEN_SIDE = 64  # pixels; a photo of that size takes about 10 kB of the file
_CARDS = 6  # of the test card's sizes go through the model; the largest shows nothing that the resize alone does not
_MOST_LEVELS = 1  # grey levels that the graph's resize may be off Pillow's
# The same pixels go in: float files differ by the last bits of softmax and of fused kernels, int8 files not even by one step.
_SAME_PIXELS = Tolerance(max_abs=1e-5)
# One grey level in a few pixels moved a score by 0.065 (int8 ResNet-20, a 24x16 test card made larger), in float by 0.006. Only a graph
# that prepares images otherwise, not by a level, changes the answer.
_ONE_LEVEL = Tolerance(max_abs=0.1, cosine=0.98)
# Another machine's kernels add up in another order; behind integers, one step of a late layer may flip.
_GOLDEN_TOLERANCE, _GOLDEN_TOLERANCE_INT8 = 1e-3, 0.02


@dataclass(frozen=True, slots=True)
class Packing:
    """How to pack.

    Attributes:
        size: `any`: the file resizes images itself; `fixed`: it takes them in the model's size; `auto`: any, if the file resizes as well
            as Pillow does.
        top: How many of the best classes it gives with their indices; all scores come as well.
        photo: An image to prove the file with and to keep, small, as its golden one; uint8 (H, W, C). A test card is drawn without it.
    """

    size: Choice = "auto"
    top: int = 5
    photo: npt.NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        """Refuse values that make no file.

        Raises:
            ConfigError: A field is out of range.
        """
        if self.size not in get_args(Choice):
            raise ConfigError("unknown size", repr(self.size), f"choose one of {', '.join(get_args(Choice))}")
        if self.top < 1:
            raise ConfigError("top must be at least 1", self.top, "5 is usual")


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A packed file that passed its gates.

    Attributes:
        path: Where it is.
        spec: What it says about itself.
        parity: How close its scores are to the core file's, from the same pixels.
        resized: How close they are where the file resizes and Pillow did; None for a fixed size.
    """

    path: Path
    spec: ModelSpec
    parity: Parity
    resized: Parity | None


def pack(source: Path, output: Path, settings: Packing | None = None, *, spec: ModelSpec | None = None) -> PackedFile:
    """Write a file that takes uint8 images (N, H, W, C), RGB or grey, and gives `probabilities`, `top_scores` and `top_indices`.

    It prepares the images as `runtime.preprocess` does. It is written only if it gives the core file's scores: from the same pixels, and, where
    it resizes itself, from images of several sizes.

    Args:
        source: A core file: float tensors in, logits or probabilities out.
        output: Where to write.
        settings: How to pack.
        spec: What the model expects, instead of what its file says.

    Raises:
        ModelError: The source is damaged, packed already, no classifier, or does not say what it expects.
        GateError: The packed file gives other scores; the old output is left, or none.
        OutputError: The file cannot be written.
    """
    settings = settings or Packing()
    check_writable(output)
    core = load_onnx(source)
    known = _described(core, source, spec)
    reference = Recognizer(open_model(core), known)
    known = replace(reference.spec, provenance=_provenance(known, source))
    takes(core, known)
    images = _images(known.input, settings)
    if settings.size == "fixed":
        return _write(core, known, output, settings, reference, images, _Resize("fixed", 0, ""))
    reason, levels = _resizing(known.input, images)
    if not reason:
        try:
            return _write(core, known, output, settings, reference, images, _Resize("any", levels, ""))
        except GateError as error:
            if settings.size == "any":
                raise
            reason = f"resizing itself, the file gave other scores ({error.given})"
    if settings.size == "any":
        raise GateError("this model cannot be packed for images of any size", reason, "leave --size out, or give --size fixed")
    return _write(core, known, output, settings, reference, images, _Resize("fixed", 0, reason))


@dataclass(frozen=True, slots=True)
class _Resize:
    size: Size
    levels: int
    reason: str


def _write(
    core: ModelProto, spec: ModelSpec, output: Path, settings: Packing, reference: Recognizer, images: list[Pixels], resize: _Resize
) -> PackedFile:
    resizes = resize.size == "any"
    model, normalisation = assemble(core, spec, top=settings.top, resizes=resizes)
    taken = packed_input(spec.input)
    small = _golden_image(settings, taken)
    tolerance = _GOLDEN_TOLERANCE_INT8 if _has_integers(core) else _GOLDEN_TOLERANCE
    golden = Golden(pack_image(small), small.shape[0], small.shape[1], (0,), (0.0,), tolerance)
    packed = Packed(resize.size, settings.top, resize.levels, normalisation, golden, resize.reason)
    provenance = spec.provenance.after("pack", size=resize.size, top=settings.top)
    draft = replace(spec, inputs=(taken,), scores="probabilities", provenance=provenance, packed=packed)
    session = open_model(model)
    same, resized = _parities(reference, session, draft, images, resizes=resizes)
    check(same, _SAME_PIXELS)
    if resized is not None:
        check(resized, _ONE_LEVEL)
    finished = replace(draft, packed=replace(packed, golden=_answered(golden, session, draft, settings.top)))
    with writing_onnx(with_spec(model, finished), output) as temporary:
        written = open_session(temporary)
        replay(written, written.spec or finished)
    return PackedFile(output, finished, same, resized)


def _parities(
    reference: Recognizer, session: Session, spec: ModelSpec, images: list[Pixels], *, resizes: bool
) -> tuple[Parity, Parity | None]:
    fitted = np.stack([to_pixels(image, spec.input) for image in images])
    same = compare(_on_core(reference), _on_packed(session, spec), [{"image": fitted[:1]}, {"image": fitted}])
    if not resizes:
        return same, None
    return same, compare(_on_core(reference), _on_packed(session, spec), [{"image": image[np.newaxis]} for image in images])


def _on_core(reference: Recognizer) -> Answer:
    one = reference.spec.input
    return lambda feeds: reference.scores({one.name: prepare_batch([*feeds["image"]], one)})


def _on_packed(session: Session, spec: ModelSpec) -> Answer:
    return lambda feeds: scores(session, spec, [*feeds["image"]])


def _answered(golden: Golden, session: Session, spec: ModelSpec, top: int) -> Golden:
    found = scores(session, spec, [unpack(golden, spec)])[0]
    best = np.argsort(-found, kind="stable")[:top]
    return replace(golden, indices=tuple(int(one) for one in best), scores=tuple(round(float(found[one]), 7) for one in best))


def _described(core: ModelProto, source: Path, spec: ModelSpec | None) -> ModelSpec:
    own = read_spec(core)
    if own is not None and own.packed is not None:
        raise ModelError("this file is packed already", source, "pack the file it was made from")
    known = spec or own
    if known is None:
        raise ModelError(
            "the model does not say what it expects", source, "give a ModelSpec (on the command line: --input-size, --mean ...)"
        )
    if not known.inputs:
        raise ModelError("a model without an image input cannot be packed", source, "use it as it is")
    return known


def _provenance(spec: ModelSpec, source: Path) -> Provenance:
    versions = {**spec.provenance.versions, "edgerec": version("edgerec")}
    return replace(spec.provenance, versions=versions, source_sha256=sha256(source))


def _resizing(spec: InputSpec, images: list[Pixels]) -> tuple[str, int]:
    """Return why the graph cannot resize (empty when it can), and by how many grey levels it is off."""
    taken = packed_input(spec)
    if not has_kernel(taken):
        return f"ONNX has no {spec.kernel} kernel{'' if spec.antialias else ' without antialias'} that is Pillow's", 0
    cards = [test_card.draw(*size, taken.channels) for size in test_card.sizes(taken)]
    try:
        levels = largest_difference(taken, [*cards, *images])
    except EdgerecError as error:
        return f"{error.problem}: {error.given}", 0
    return (f"the graph's resize is {levels} grey levels off Pillow's, {_MOST_LEVELS} allowed" if levels > _MOST_LEVELS else ""), levels


def _images(spec: InputSpec, settings: Packing) -> list[Pixels]:
    """Return the images that prove the file: the photo whole, halved and cut; or test cards."""
    taken = packed_input(spec)
    if settings.photo is None:
        return [test_card.draw(*size, taken.channels) for size in test_card.sizes(taken)[:_CARDS]]
    whole = _own_size(settings.photo, taken)
    height, width = whole.shape[:2]
    return [whole, whole[::2, ::2], whole[: max(1, 2 * height // 3)], whole[:, width // 3 :]]


def _golden_image(settings: Packing, spec: InputSpec) -> Pixels:
    if settings.photo is None:
        return test_card.draw(GOLDEN_SIDE * 3 // 4, GOLDEN_SIDE, spec.channels)
    whole = _own_size(settings.photo, spec)
    height, width = whole.shape[:2]
    ratio = min(1.0, GOLDEN_SIDE / max(height, width))
    small = replace(
        spec, height=max(1, round(height * ratio)), width=max(1, round(width * ratio)), fit="stretch", kernel="bilinear", antialias=True
    )
    return to_pixels(whole, small)


def _own_size(image: npt.NDArray[np.uint8], spec: InputSpec) -> Pixels:
    height, width = image.shape[:2]
    return to_pixels(image, replace(spec, height=height, width=width))


def _has_integers(model: ModelProto) -> bool:
    return any(node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") for node in model.graph.node)
