"""What a model of the registry is made from, and the rule its widths are rounded by."""

import math
from dataclasses import dataclass

from torch import nn

from ...runtime.errors import ConfigError

SMALL_IMAGE = 64  # pixels; up to here a stem keeps the resolution that an ImageNet stem would throw away
SMALLEST_IMAGE = 8
# Products of these still fit the 64 bits of a tensor's size.
LARGEST = 1_000_000
LARGEST_WIDTH = 100
LARGEST_STAGE = 200  # blocks; ResNet-1202 of the paper has as many


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything that decides a model's layers: the same record gives the same `state_dict` keys and shapes.

    Attributes:
        name: A name of `MODELS`.
        classes: Number of logits.
        channels: Colour channels of the image: 1 or 3.
        size: Height and width of the image, pixels; up to 64 the stem is one for small images.
        width: Factor on the paper's channel counts; the products are rounded to multiples of 8.
        blocks: Residual blocks of each of a CIFAR ResNet's three stages, such as (2, 3, 5); empty is what the name says.
    """

    name: str
    classes: int
    channels: int = 3
    size: int = 32
    width: float = 1.0
    blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that no model can be built from.

        Raises:
            ConfigError: A field is out of range.
        """
        # A file may say anything: types are checked as well.
        counts = (self.classes, self.channels, self.size)
        given = f"name {self.name!r}, classes {self.classes}, channels {self.channels}, size {self.size}, width {self.width}"
        if not isinstance(self.name, str) or not all(type(one) is int for one in counts) or type(self.width) not in (int, float):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(
                "a model is a name, whole numbers and a width", given, "such as resnet20, 10 classes, 3 channels, size 32, width 1.0"
            )
        if max(counts) > LARGEST or LARGEST_WIDTH < self.width < math.inf:
            raise ConfigError(
                f"a model has at most {LARGEST:,} classes, channels and pixels, and a width of {LARGEST_WIDTH}", given, "give less"
            )
        if not isinstance(self.blocks, tuple) or not all(type(one) is int and 1 <= one <= LARGEST_STAGE for one in self.blocks):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"a stage has 1 to {LARGEST_STAGE} blocks", self.blocks, "give one number a stage, such as 2,3,5")
        if self.classes < 1:
            raise ConfigError("a classifier needs at least one class", self.classes, "give the number of labels")
        if self.channels < 1:
            raise ConfigError("an image needs at least one channel", self.channels, "give 1 for grey or 3 for colour")
        if self.size < SMALLEST_IMAGE:
            raise ConfigError("the image is too small for a model", f"{self.size} pixels", f"give at least {SMALLEST_IMAGE}")
        if not (math.isfinite(self.width) and self.width > 0):
            raise ConfigError("width must be a positive number", self.width, "1.0 is the paper's width, 0.5 has half of the channels")

    @property
    def small(self) -> bool:
        """Whether the images are small enough to keep their resolution in the stem."""
        return self.size <= SMALL_IMAGE

    def widen(self, channels: int) -> int:
        """Return the paper's `channels` times `width`, rounded as `round_channels` does."""
        return round_channels(channels * self.width)


def round_channels(channels: float) -> int:
    """Return the multiple of 8 nearest to `channels`, at least 8, never more than 10 % below it.

    The rule of the MobileNet papers (`make_divisible` in their code); it leaves multiples of 8 as they are.
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def initialize_(model: nn.Module) -> None:
    """Draw the weights of every convolution as He et al. 2015 (arXiv 1502.01852) do for networks of rectifiers.

    The standard deviation is sqrt(2 / fan-in), which keeps the size of the activations from layer to layer, depthwise layers included.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
