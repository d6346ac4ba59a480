"""The contract that travels in every file edgerec writes: inputs, labels, task and provenance.

Standard library only, so that any tool can read it. One JSON form with a `schema_version`; in ONNX files it is
`metadata_props["edgerec"]`, in checkpoints the `edgerec` entry of the safetensors header.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal, cast, get_args

from .errors import ConfigError, ModelError

if TYPE_CHECKING:
    from .packed_spec import Golden, Packed

# 2 came with packed files, and only they say it: whatever read version 1 still reads every other file.
SCHEMA_VERSION = 2
_PACKED_SINCE = 2
METADATA_KEY = "edgerec"

Color = Literal["rgb", "bgr", "grey"]
Kernel = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Fit = Literal["stretch", "crop"]
Layout = Literal["NCHW", "NHWC"]
Task = Literal["classification", "other"]
Scores = Literal["logits", "probabilities"]

# Above this an image is refused before it is decoded: a few kilobytes of PNG, or of metadata, can claim gigabytes of pixels.
MAX_PIXELS = 64_000_000
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What one image input of a model expects.

    A pixel p of channel c enters the model as `(p * scale - mean[c]) / std[c]`, computed in float32 in this order.

    Attributes:
        name: The input's name in the ONNX graph.
        height: Rows, pixels.
        width: Columns, pixels.
        color: Channel order; `grey` is one channel (ITU-R 601 luma).
        kernel: Resize kernel, named as in Pillow.
        antialias: Widen the kernel when shrinking, as Pillow and torchvision's tensors with antialias do.
        fit: `stretch` resizes to (height, width); `crop` keeps the aspect ratio and cuts the centre.
        crop: Fraction of the resized image that the centre crop keeps, in (0, 1]; 0.875 resizes to 256 for 224.
        scale: Factor on the raw 0..255 value.
        mean: Per channel, on the scaled values.
        std: Per channel, on the scaled values.
        layout: Order of the model's dimensions.
    """

    height: int
    width: int
    name: str = "input"
    color: Color = "rgb"
    kernel: Kernel = "bilinear"
    antialias: bool = True
    fit: Fit = "crop"
    crop: float = 1.0
    scale: float = 1 / 255
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    layout: Layout = "NCHW"

    def __post_init__(self) -> None:
        """Refuse values that no image fits.

        Raises:
            ConfigError: A field is out of range.
        """
        for name, allowed in (("color", Color), ("kernel", Kernel), ("fit", Fit), ("layout", Layout)):
            if getattr(self, name) not in get_args(allowed):
                raise ConfigError(f"unknown {name}", repr(getattr(self, name)), f"choose one of {', '.join(get_args(allowed))}")
        size = f"{self.height}x{self.width}"
        # A file may say anything: types are checked as well.
        if type(self.height) is not int or type(self.width) is not int or min(self.height, self.width) < 1:
            raise ConfigError("height and width are whole numbers of pixels, at least one", size, "give a size such as 3x224x224")
        if self.height * self.width > MAX_PIXELS:
            raise ConfigError(f"an input has at most {MAX_PIXELS:,} pixels", size, "give a size such as 3x224x224")
        if not self.antialias and self.kernel not in ("nearest", "bilinear", "bicubic"):
            raise ConfigError(
                "this kernel exists only with antialias", self.kernel, "choose nearest, bilinear or bicubic, or turn antialias on"
            )
        if not 0 < self.crop <= 1:
            raise ConfigError("crop must be in (0, 1]", self.crop, "0.875 is ImageNet's usual value")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ConfigError(
                f"mean and std need one value for each of {self.channels} channels",
                f"mean {self.mean}, std {self.std}",
                "repeat the value or change --color",
            )
        if not all(math.isfinite(v) for v in (self.scale, *self.mean, *self.std)) or 0 in (self.scale, *self.std):
            raise ConfigError(
                "scale, mean and std must be finite, scale and std not zero", f"scale {self.scale}, mean {self.mean}, std {self.std}"
            )

    @property
    def channels(self) -> int:
        """Number of colour channels: 1 or 3."""
        return 1 if self.color == "grey" else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """One image as the model sees it: (C, H, W), or (H, W, C) for `NHWC`."""
        if self.layout == "NCHW":
            return (self.channels, self.height, self.width)
        return (self.height, self.width, self.channels)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a file comes from; nothing in it names a user or a place on a disk.

    Attributes:
        versions: Tool to version, such as `{"edgerec": "0.1.0", "torch": "2.13.0"}`.
        source_sha256: Hash of the file this one was made from.
        data_fingerprint: Hash of the data set that was used.
        history: One record a step, oldest first, such as `{"step": "prune", "speedup": 2.0}`.
        results: Measured figures that do not change from run to run, such as `{"parity_max_abs": 1e-6}`.
    """

    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    source_sha256: str = ""
    data_fingerprint: str = ""
    history: tuple[Mapping[str, object], ...] = ()
    results: Mapping[str, object] = field(default_factory=dict[str, object])

    def after(self, step: str, **settings: object) -> "Provenance":
        """Return the provenance of a file made from this one by `step`."""
        return replace(self, history=(*self.history, {"step": step, **settings}))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything that a model's file says about itself.

    Attributes:
        inputs: One spec an image input; empty for a model that does not take images.
        labels: Class names by index; empty when unknown.
        task: What the first output means.
        scores: Whether a classifier's output still needs a softmax.
        provenance: Where the file comes from.
        packed: What a packed file takes and gives; None for a core file, which takes prepared float tensors.

    Raises:
        ConfigError: The task or the kind of scores is unknown.
    """

    inputs: tuple[InputSpec, ...]
    labels: tuple[str, ...] = ()
    task: Task = "classification"
    scores: Scores = "logits"
    provenance: Provenance = field(default_factory=Provenance)
    packed: "Packed | None" = None

    def __post_init__(self) -> None:
        """Refuse words that no reader knows."""
        for name, allowed in (("task", Task), ("scores", Scores)):
            if getattr(self, name) not in get_args(allowed):
                raise ConfigError(f"unknown {name}", repr(getattr(self, name)), f"choose one of {', '.join(get_args(allowed))}")

    @property
    def input(self) -> InputSpec:
        """The only image input.

        Raises:
            ModelError: The model has none, or several.
        """
        if len(self.inputs) != 1:
            names = ", ".join(i.name for i in self.inputs) or "none"
            raise ModelError("this needs a model with exactly one image input", f"inputs: {names}", "give the inputs by name")
        return self.inputs[0]

    def to_json(self) -> str:
        """Return the one JSON form: sorted keys, no white space, equal specs give equal text."""
        values = asdict(self)
        if self.packed is None:
            del values["packed"]
        version = 1 if self.packed is None else _PACKED_SINCE
        return json.dumps({"schema_version": version, **values}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "ModelSpec":
        """Read a spec back.

        Raises:
            ModelError: The text is not a spec, or was written by a newer edgerec.
        """
        try:
            raw = json.loads(text)
            version = raw.pop("schema_version")
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise ModelError("the edgerec metadata is not a spec", text[:80], "export the file again") from error
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise ModelError(
                "the edgerec metadata has a schema this version cannot read",
                f"schema_version {version!r}, known up to {SCHEMA_VERSION}",
                "update edgerec",
            )
        try:
            return _model_spec(raw)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ModelError("the edgerec metadata is damaged", error, "export the file again") from error


def _model_spec(raw: dict[str, object]) -> ModelSpec:
    inputs = cast("list[dict[str, object]]", raw["inputs"])
    provenance = cast("dict[str, object]", raw.get("provenance") or {})
    return ModelSpec(
        inputs=tuple(_input_spec(one) for one in inputs),
        labels=tuple(str(label) for label in cast("list[object]", raw.get("labels") or [])),
        task=cast("Task", raw.get("task", "classification")),
        scores=cast("Scores", raw.get("scores", "logits")),
        provenance=Provenance(
            versions=cast("dict[str, str]", provenance.get("versions") or {}),
            source_sha256=str(provenance.get("source_sha256", "")),
            data_fingerprint=str(provenance.get("data_fingerprint", "")),
            history=tuple(cast("list[dict[str, object]]", provenance.get("history") or [])),
            results=cast("dict[str, object]", provenance.get("results") or {}),
        ),
        packed=_packed(cast("dict[str, object] | None", raw.get("packed"))),
    )


def _packed(raw: dict[str, object] | None) -> "Packed | None":
    if raw is None:
        return None
    from .packed_spec import Golden, Packed  # 2 ms that the start of a file which is not packed saves

    golden = _known(Golden, cast("dict[str, object]", raw["golden"]))
    return Packed(**{**_known(Packed, raw), "golden": Golden(**golden)})  # pyright: ignore[reportArgumentType]  # both check themselves


def _input_spec(raw: dict[str, object]) -> InputSpec:
    return InputSpec(**_known(InputSpec, raw))  # pyright: ignore[reportArgumentType]  # __post_init__ checks what the file says


def _known(record: "type[InputSpec | Golden | Packed]", raw: dict[str, object]) -> dict[str, object]:
    """Return the fields that this version knows; lists become tuples."""
    names = {one.name for one in fields(record)}
    return {key: tuple(cast("list[object]", value)) if isinstance(value, list) else value for key, value in raw.items() if key in names}
