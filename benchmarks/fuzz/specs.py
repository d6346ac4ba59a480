"""The metadata that travels in files: read back, and checked by writing it again."""

from pathlib import Path

from ...runtime.spec import InputSpec, ModelSpec, Provenance

_FULL = ModelSpec(
    (InputSpec(8, 8, name="x", color="bgr", crop=0.875), InputSpec(4, 4, name="y", color="grey", mean=(0.5,), std=(0.2,), layout="NHWC")),
    labels=("cat", "dog"),
    provenance=Provenance({"edgerec": "0.1.0"}, "ab" * 32, "cd" * 32, ({"step": "prune", "speedup": 2.0},), {"parity_max_abs": 1e-6}),
)


def samples() -> dict[str, bytes]:
    """Return intact metadata by name."""
    return {"one": ModelSpec((InputSpec(8, 8),)).to_json().encode(), "full": _FULL.to_json().encode()}


def attempt(name: str, data: bytes, folder: Path) -> None:
    """Read damaged metadata.

    Raises:
        EdgerecError: It is refused.
    """
    del name, folder
    spec = ModelSpec.from_json(data.decode("utf-8", errors="replace"))
    if ModelSpec.from_json(spec.to_json()) != spec:
        raise AssertionError("what was read does not come back after writing")
