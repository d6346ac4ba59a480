"""The metadata that travels in files: read back, and checked by writing it again."""

from pathlib import Path

import numpy as np

from ...runtime.packed import pack_image, unpack
from ...runtime.packed_spec import Golden, Packed
from ...runtime.spec import InputSpec, ModelSpec, Provenance

_FULL = ModelSpec(
    (InputSpec(8, 8, name="x", color="bgr", crop=0.875), InputSpec(4, 4, name="y", color="grey", mean=(0.5,), std=(0.2,), layout="NHWC")),
    labels=("cat", "dog"),
    provenance=Provenance({"edgerec": "0.1.0"}, "ab" * 32, "cd" * 32, ({"step": "prune", "speedup": 2.0},), {"parity_max_abs": 1e-6}),
)
_GOLDEN = Golden(pack_image(np.arange(24, dtype=np.uint8)), 2, 4, (0,), (0.5,), 0.5)
PACKED = ModelSpec((InputSpec(8, 8, name="x", layout="NHWC"),), ("a", "b"), packed=Packed("any", 1, 0, "float", _GOLDEN))


def samples() -> dict[str, bytes]:
    """Return intact metadata by name."""
    one = ModelSpec((InputSpec(8, 8),))
    return {name: spec.to_json().encode() for name, spec in (("one", one), ("full", _FULL), ("packed", PACKED))}


def attempt(name: str, data: bytes, folder: Path) -> None:
    """Read damaged metadata.

    Raises:
        EdgerecError: It is refused.
    """
    del name, folder
    spec = ModelSpec.from_json(data.decode("utf-8", errors="replace"))
    if ModelSpec.from_json(spec.to_json()) != spec:
        raise AssertionError("what was read does not come back after writing")
    if spec.packed is not None:
        unpack(spec.packed.golden, spec)
