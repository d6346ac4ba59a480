"""What is damaged, by kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import arrays, checkpoints, images, models, specs
from .mutation import mutate


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of file.

    Attributes:
        samples: Makes intact files, by name.
        attempt: Reads a damaged one, given the sample's name, the bytes and a folder to write to; raises an `EdgerecError` or returns.
        needs: A module without which this kind cannot be read.
        head: Damage only so many bytes at the beginning; None damages all. A checkpoint's header is less than a hundredth of it.
    """

    samples: Callable[[], Mapping[str, bytes]]
    attempt: Callable[[str, bytes, Path], None]
    needs: str
    head: int | None = None


TARGETS: dict[str, Target] = {
    "image": Target(images.samples, images.attempt, "PIL"),
    "onnx": Target(models.samples, models.attempt, "onnx"),
    "spec": Target(specs.samples, specs.attempt, "edgerec"),
    "npz": Target(arrays.samples, arrays.attempt, "numpy"),
    "safetensors": Target(checkpoints.samples, checkpoints.attempt, "torch", head=4096),
}


def make_case(target: Target, number: int) -> tuple[str, bytes]:
    """Return the sample's name and the damaged bytes of one case; the same for the same number."""
    samples = target.samples()
    name = sorted(samples)[number % len(samples)]
    head, tail = samples[name][: target.head], samples[name][target.head :] if target.head else b""
    return name, mutate(head, number) + tail
