"""What is damaged, by kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import arrays, checkpoints, images, metadata, models, specs
from .mutation import mutate, mutate_text


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of file.

    Attributes:
        samples: Makes intact files, by name.
        attempt: Reads a damaged one, given the sample's name, the bytes and a folder to write to; raises an `EdgerecError` or returns.
        needs: A module without which this kind cannot be read.
        damage: From intact bytes and a seed to damaged ones.
    """

    samples: Callable[[], Mapping[str, bytes]]
    attempt: Callable[[str, bytes, Path], None]
    needs: str
    damage: Callable[[bytes, int], bytes] = mutate


TARGETS: dict[str, Target] = {
    "image": Target(images.samples, images.attempt, "PIL"),
    "onnx": Target(models.samples, models.attempt, "onnx"),
    "spec": Target(specs.samples, specs.attempt, "edgerec", mutate_text),
    "metadata": Target(metadata.samples, metadata.attempt, "onnx", mutate_text),
    "npz": Target(arrays.samples, arrays.attempt, "numpy"),
    "safetensors": Target(checkpoints.samples, checkpoints.attempt, "torch", checkpoints.damage),
}


def make_case(target: Target, number: int) -> tuple[str, bytes]:
    """Return the sample's name and the damaged bytes of one case; the same for the same number."""
    samples = target.samples()
    name = sorted(samples)[number % len(samples)]
    return name, target.damage(samples[name], number)
