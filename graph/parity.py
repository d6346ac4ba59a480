"""Do two callables give the same answer? A float file must; a gate turns the difference into an error."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from ..runtime.errors import ConfigError, GateError

Array = npt.NDArray[np.generic]
Feeds = Mapping[str, Array]
Answer = Callable[[Feeds], Array]


@dataclass(frozen=True, slots=True)
class Parity:
    """How far two models are apart on the same images.

    Attributes:
        max_abs: Largest difference of two values; NaN when either model gives one.
        largest: Largest magnitude of the reference's values, which `max_abs` is to be read against.
        cosine: Smallest cosine between the two answers to one image.
        top1_agreement: Fraction of images whose largest value has the same index.
        images: How many images were compared.
    """

    max_abs: float
    largest: float
    cosine: float
    top1_agreement: float
    images: int


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two models may be apart.

    Attributes:
        max_abs: Largest difference, where the reference's values stay below 1 in magnitude; above, as a fraction of the largest one.
        cosine: Smallest cosine between the two answers to one image.
        top1_agreement: Smallest fraction of images whose largest value has the same index.
    """

    max_abs: float = 1e-4
    cosine: float = 0.9999
    top1_agreement: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a tolerance that no two models keep.

        Raises:
            ConfigError: A field is out of range.
        """
        if not self.max_abs >= 0 or not -1 <= self.cosine <= 1 or not 0 <= self.top1_agreement <= 1:
            raise ConfigError("a tolerance is out of range", self, "max_abs is 0 or more, cosine in [-1, 1], top1_agreement in [0, 1]")


def compare(reference: Answer, candidate: Answer, batches: Iterable[Feeds]) -> Parity:
    """Run both callables on every batch and measure how far they are apart.

    Args:
        reference: Takes arrays by input name, gives (N, ...) values.
        candidate: The same, for the model under test.
        batches: Arrays by input name, the first dimension counts images; batches may differ in size.

    Raises:
        GateError: The two give different shapes.
        ConfigError: There is no image to compare.
    """
    rows = [_differences(reference(feeds), candidate(feeds)) for feeds in batches]
    if not sum(len(row) for row in rows):
        raise ConfigError("parity needs at least one image", "none", "give a batch of real images")
    max_abs, largest, cosine, agrees = np.concatenate(rows).T
    # numpy's max and min carry a NaN through, Python's own do not.
    return Parity(float(max_abs.max()), float(largest.max()), float(cosine.min()), float(agrees.mean()), len(agrees))


def check(parity: Parity, tolerance: Tolerance) -> None:
    """Let two models pass that are as close as the tolerance says.

    Raises:
        GateError: They are not, or either gives NaN; it says by how much.
    """
    allowed = tolerance.max_abs * max(1.0, parity.largest)
    faults: list[str] = []
    # Written as "not within", because every comparison with NaN is false.
    if not parity.max_abs <= allowed:
        faults.append(f"values differ by {parity.max_abs:.2e}, allowed {allowed:.2e}")
    if not parity.cosine >= tolerance.cosine:
        faults.append(f"cosine {parity.cosine:.6f}, at least {tolerance.cosine}")
    if not parity.top1_agreement >= tolerance.top1_agreement:
        faults.append(f"top-1 agrees on {parity.top1_agreement:.2%} of the images, at least {tolerance.top1_agreement:.2%}")
    if faults:
        raise GateError(
            "the two models do not give the same answers",
            f"{'; '.join(faults)} ({parity.images} images)",
            "find the layer where they part, or allow more with the tolerance",
        )


def _differences(reference: Array, candidate: Array) -> npt.NDArray[np.float64]:
    """Return one row an image: largest difference, largest value, cosine, whether top-1 agrees; shape (N, 4)."""
    if reference.shape != candidate.shape or not reference.ndim:
        raise GateError("the two models give different shapes", f"{reference.shape} and {candidate.shape}", "export the model again")
    n = len(reference)
    a, b = (values.reshape(n, prod(values.shape[1:])).astype(np.float64) for values in (reference, candidate))  # (N, K)
    with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN, which fails the check
        rows = np.abs(a - b).max(axis=1), np.abs(a).max(axis=1), _cosine(a, b), a.argmax(axis=1) == b.argmax(axis=1)
    return np.stack(rows, axis=1).astype(np.float64)


def _cosine(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    dots = (a * b).sum(axis=1)
    equal = (a == b).all(axis=1)  # two answers of zeros have no angle, but they are the same
    return np.where(equal, 1.0, dots / np.where(norms == 0, 1.0, norms))
