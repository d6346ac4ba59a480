"""Every knob of quantization in one record."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from ...runtime.errors import ConfigError
from .correction import Corrections
from .overrides import Layer
from .placement import Rules
from .target import find_target

RangeMethod = Literal["auto", "minmax", "percentile", "mse", "entropy"]
RANGE_METHODS: tuple[RangeMethod, ...] = get_args(RangeMethod)
Speed = Literal["fastest", "int8"]


@dataclass(frozen=True, slots=True)
class Quantization:
    """Replace float arithmetic by 8-bit integers.

    Attributes:
        method: How an activation's range follows from what it did on calibration images; `auto` tries several and keeps, tensor by tensor,
            what brings the least error to the model's output.
        percentile: Share of an activation's values inside its range, percent; read by `percentile`.
        samples: Largest number of calibration images.
        target: What the file is made for, a name of `target.TARGET_NAMES`.
        rules: Which nodes may be int8.
        layers: The user's word on single layers.
        corrections: What is done against the error.
        speed: `fastest` leaves float what is slower on integers, up to everything; `int8` does not ask.
    """

    method: RangeMethod = "auto"
    percentile: float = 99.999
    samples: int = 512
    target: str = "host"
    rules: Rules = field(default_factory=Rules)
    layers: tuple[Layer, ...] = ()
    corrections: Corrections = field(default_factory=Corrections)
    speed: Speed = "fastest"

    def __post_init__(self) -> None:
        """Refuse values that no calibration can use.

        Raises:
            ConfigError: A field is out of range or unknown.
        """
        if self.method not in RANGE_METHODS:
            raise ConfigError("the range method is unknown", repr(self.method), f"choose one of {', '.join(RANGE_METHODS)}")
        if not 50 < self.percentile <= 100:
            raise ConfigError("percentile must be above 50 and at most 100", self.percentile, "99.999 keeps all but one value in 100,000")
        if self.samples < 1:
            raise ConfigError("samples must be at least 1", self.samples, "512 images are usual")
        if self.speed not in get_args(Speed):
            raise ConfigError("the choice of speed is unknown", repr(self.speed), f"choose one of {', '.join(get_args(Speed))}")
        find_target(self.target)
