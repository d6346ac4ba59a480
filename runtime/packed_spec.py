"""What a packed file says about itself, and the test that it brings along; part of the spec. Standard library only."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from .errors import ConfigError

Size = Literal["any", "fixed"]
Normalisation = Literal["float", "folded", "none"]

MAX_GOLDEN = 256  # pixels a side; the image travels in the metadata, and is unpacked before anything about it is believed


@dataclass(frozen=True, slots=True)
class Golden:
    """One small image and what the file answered to it when it was made.

    Attributes:
        image: The pixels in row order, uint8, compressed with zlib, in base64.
        height: Rows of the image.
        width: Columns of the image.
        indices: The best classes, best first.
        scores: Their scores.
        tolerance: How far a score may be off on another machine.
    """

    image: str
    height: int
    width: int
    indices: tuple[int, ...]
    scores: tuple[float, ...]
    tolerance: float

    def __post_init__(self) -> None:
        """Refuse what no image and no answer looks like.

        Raises:
            ConfigError: A field is out of range.
        """
        # A file may say anything: types are checked as well.
        if not isinstance(self.image, str) or not all(type(one) is int for one in (self.height, self.width, *self.indices)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError("a golden pair is a text, whole numbers and scores", f"{self.height}x{self.width}, {self.indices}")
        if not (0 < self.height <= MAX_GOLDEN and 0 < self.width <= MAX_GOLDEN):
            raise ConfigError(f"a golden image has 1 to {MAX_GOLDEN} pixels a side", f"{self.height}x{self.width}")
        if not self.indices or len(self.indices) != len(self.scores) or min(self.indices) < 0:
            raise ConfigError("a golden answer needs one score for each class", f"{self.indices} and {self.scores}")
        if not all(math.isfinite(one) for one in (*self.scores, self.tolerance)) or self.tolerance < 0:
            raise ConfigError("golden scores and their tolerance must be finite", f"{self.scores}, tolerance {self.tolerance}")


@dataclass(frozen=True, slots=True)
class Packed:
    """What a packed file takes and gives: uint8 images (N, H, W, C) in RGB order or grey; scores of all classes, and the best of them.

    The spec's input then says what the file does with the pixels; its name and layout are those of the uint8 input.

    Attributes:
        size: `any`: the file resizes; `fixed`: images come in the input's height and width.
        top: How many classes the outputs `top_scores` and `top_indices` hold.
        resize_max_levels: Largest difference from Pillow, in grey levels, that was measured when the file was made; 0 where nothing is resized.
        normalisation: `folded`: done by the first quantization; `none`: the pixels are the first integers; `float`: computed in float32.
        reason: Why the size is fixed, where it was not asked for.
        golden: A test that the file brings along.
    """

    size: Size
    top: int
    resize_max_levels: int
    normalisation: Normalisation
    golden: Golden
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse words that no reader knows.

        Raises:
            ConfigError: A field is out of range.
        """
        for name, allowed in (("size", Size), ("normalisation", Normalisation)):
            if getattr(self, name) not in get_args(allowed):
                raise ConfigError(f"unknown {name}", repr(getattr(self, name)), f"choose one of {', '.join(get_args(allowed))}")
        if type(self.top) is not int or self.top < 1:
            raise ConfigError("a packed file gives at least one class", self.top)
