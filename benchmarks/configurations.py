"""What is measured: a file and how it is run. The rows of a benchmark's matrix."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import cast

from ..runtime.errors import ConfigError
from ..runtime.profiles import find_profile, thread_count


@dataclass(frozen=True, slots=True)
class Configuration:
    """One row: a file, and how its session is made.

    Attributes:
        file: The ONNX file.
        provider: Execution provider.
        options: Options of the provider.
        threads: Threads of one call; None takes what the profile says.
        batch: Images in a call.
        profile: How the session uses the machine.
        allow_fallback: Accept that nodes run on the CPU instead.
        min_on_provider: Smallest share of nodes that must run on the provider.
        inputs: Prepared arrays by input name (`.npz`), or the only input's array (`.npy`); None measures random numbers.
    """

    file: Path
    provider: str = "cpu"
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    threads: int | None = None
    batch: int = 1
    profile: str = "latency"
    allow_fallback: bool = False
    min_on_provider: float = 0.9
    inputs: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be a row.

        Raises:
            ConfigError: The batch or the threads are below one, or the profile is unknown.
        """
        if self.batch < 1:
            raise ConfigError("a call has at least one image", f"batch {self.batch}", "give --batch 1 or more")
        _ = self.thread_count

    @property
    def thread_count(self) -> int:
        """Threads of one call, counted."""
        return thread_count(find_profile(self.profile), self.threads)

    def to_json(self) -> str:
        """Return what the process that runs it reads."""
        plain = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> "Configuration":
        """Read `to_json` back."""
        raw = cast("dict[str, object]", json.loads(text))
        paths = {key: Path(str(raw[key])) if raw[key] is not None else None for key in ("file", "inputs")}
        return cls(**{**raw, **paths})  # pyright: ignore[reportArgumentType]


def matrix(
    start: Configuration,
    *,
    files: Sequence[Path],
    providers: Sequence[str] = ("cpu",),
    threads: Sequence[int | None] = (None,),
    batches: Sequence[int] = (1,),
    profiles: Sequence[str] = ("latency",),
) -> list[Configuration]:
    """Return every combination; the files change fastest, so that the first one is the reference of its whole block.

    Args:
        start: Gives what all rows share.
        files: The ONNX files.
        providers: Execution providers.
        threads: Threads of one call; None takes what the profile says.
        batches: Images in a call.
        profiles: Session profiles.
    """
    return [
        replace(start, file=file, provider=provider, threads=count, batch=batch, profile=profile)
        for batch, profile, count, provider, file in product(batches, profiles, threads, providers, files)
    ]
