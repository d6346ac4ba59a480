"""The only place that builds an `onnxruntime.InferenceSession` for use."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import numpy.typing as npt

from .errors import ConfigError, DataError, EdgerecError, ModelError
from .loading import Request, first_line, load, ort_errors
from .placement import Placement, check_placement
from .plugins import resolve_provider
from .profiles import find_profile, thread_count
from .providers import AUTO
from .spec import METADATA_KEY, ModelSpec
from .tensors import Tensor, tensors

if TYPE_CHECKING:
    from .auto import Choice

Array = npt.NDArray[np.generic]


class Runnable(Protocol):
    """The part of `onnxruntime.InferenceSession` that a `Session` uses."""

    def run(self, output_names: list[str] | None, input_feed: dict[str, Array]) -> list[Array]:
        """Run the model once."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded model, ready to run; safe to use from several threads.

    Attributes:
        inputs: What it takes.
        outputs: What it gives.
        spec: What the file says about itself; None for files that edgerec did not write.
        placement: Where its nodes run.
        provider: The provider that was asked for; with `auto`, the one that was chosen.
        threads: Threads of the intra-op pool.
        ort: The session underneath.
        profile: Name of its profile, as in `runtime.profiles.PROFILES`.
        from_cache: Whether its optimised graph came from the cache.
        choice: What `auto` measured; None when a provider was named.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    spec: ModelSpec | None
    placement: Placement
    provider: str
    threads: int
    ort: Runnable
    profile: str = "latency"
    from_cache: bool = False
    choice: "Choice | None" = None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once.

        Args:
            feeds: One array for each input, by name.

        Returns:
            One array for each output, by name.

        Raises:
            DataError: A name, dtype or shape the model refuses.
            ModelError: A node fails while it runs.
        """
        try:
            results = self.ort.run(None, dict(feeds))
        except ort_errors() as error:
            raise self._explained(feeds, error) from error
        if len(results) != len(self.outputs):  # CUDA's, with enable_cuda_graph and inputs that lie in the host's memory
            raise ModelError(
                "the provider gave no outputs",
                f"{len(results)} of {len(self.outputs)}, {self.provider}",
                "leave its options out one by one",
            )
        return {output.name: array for output, array in zip(self.outputs, results, strict=True)}

    def fit(self, spec: ModelSpec) -> ModelSpec:
        """Give a spec made by hand the name of the model's only input: who writes one need not know it."""
        if len(spec.inputs) == 1 and len(self.inputs) == 1:
            return replace(spec, inputs=(replace(spec.input, name=self.inputs[0].name),))
        return spec

    def _explained(self, feeds: Mapping[str, Array], error: Exception) -> EdgerecError:
        given = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items()) or "nothing"
        wanted = ", ".join(f"{one.name} {one.type}{list(one.shape)}" for one in self.inputs)
        if set(feeds) != {one.name for one in self.inputs} or type(error).__name__ in ("InvalidArgument", "ValueError"):
            return DataError("the model refuses this input", given, f"it takes {wanted}")
        return ModelError(
            "the model fails while it runs", f"{first_line(error)}; input {given}", f"it takes {wanted}; export it again if that fits"
        )

    @property
    def fixed_batch(self) -> int | None:
        """Images that every run must have, for a model that was exported for one number of them; None when any number goes."""
        first = self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else None
        return first if isinstance(first, int) else None

    def predict(self, feeds: Mapping[str, Array]) -> Array:
        """Return the first output for any number of images.

        A model that was exported for a fixed number of images gets them in such portions; the last one is filled up by repeating.

        Args:
            feeds: One array for each input, by name; the first dimension counts images.

        Raises:
            DataError: A name, dtype or shape the model refuses.
            ModelError: A node fails while it runs.
        """
        size, count = self.fixed_batch, min((len(array) for array in feeds.values() if array.ndim), default=0)
        if size is None or size == count:
            return next(iter(self.run(feeds).values()))
        starts = range(0, count, size)
        parts = [{name: np.resize(array[at : at + size], (size, *array.shape[1:])) for name, array in feeds.items()} for at in starts]
        return np.concatenate([next(iter(self.run(part).values())) for part in parts])[:count]


def open_session(
    file: Path | bytes,
    *,
    provider: str = "cpu",
    profile: str = "latency",
    threads: int | None = None,
    options: Mapping[str, str] | None = None,
    allow_fallback: bool = False,
    min_on_provider: float = 0.9,
    optimise: bool = True,
    cache: bool = True,
) -> Session:
    """Load an ONNX file on one provider and prove that the provider runs it.

    Args:
        file: Path of the model, or its bytes.
        provider: A name of `PROVIDERS`, or ONNX Runtime's own name for one; `plugin:NAME=PATH` for a library; `auto` for the fastest of
            those that are there, measured once.
        profile: A name of `PROFILES`: how the session uses the machine.
        threads: Threads of one call; by default what the profile says.
        options: Options of the provider, as ONNX Runtime documents them.
        allow_fallback: Accept that nodes run on the CPU instead; recorded in the placement.
        min_on_provider: Smallest fraction of nodes that must run on the provider, 0 to 1.
        optimise: Let ONNX Runtime rewrite the graph; without it every node computes what its operator says.
        cache: Keep the rewritten graph of a file for the next start, where that is faster.

    Raises:
        ConfigError: An argument is out of range or unknown.
        ModelError: The file is missing or damaged, or ONNX Runtime cannot run it.
        ProviderError: The provider is unknown, not installed, or lacks a library or a device.
        GateError: The provider is there but does not run the nodes.
    """
    if not 0 <= min_on_provider <= 1:
        raise ConfigError("the share of nodes on the provider is a fraction, 0 to 1", min_on_provider, "0.9 is the usual choice")
    settings = find_profile(profile)
    count = thread_count(settings, threads)
    if provider.lower() == AUTO:
        if options:
            raise ConfigError("options belong to one provider", f"provider {AUTO}", "name the provider that they are for")
        from .auto import choose_provider  # a start on a named provider is quicker without it

        choice = choose_provider(file, settings, count, min_on_provider, optimise=optimise)
        found = open_session(
            file,
            provider=choice.provider,
            profile=profile,
            threads=threads,
            allow_fallback=allow_fallback,
            min_on_provider=min_on_provider,
            optimise=optimise,
            cache=cache,
        )
        return replace(found, choice=choice)
    chosen, devices = resolve_provider(provider)
    request = Request(chosen, settings, count, options or {}, devices, optimise=optimise, cache=cache)
    loaded = load(file, request)
    placement = Placement(loaded.nodes, fallback_allowed=allow_fallback)
    if not allow_fallback:
        if chosen.ort_name not in loaded.ort.get_providers():
            from .diagnosis import why_not_started

            raise why_not_started(chosen, request.options)
        check_placement(placement, chosen, min_on_provider)
    try:
        text = loaded.ort.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        inputs, outputs = tensors(loaded.ort.get_inputs()), tensors(loaded.ort.get_outputs())
    except UnicodeDecodeError as error:
        name = f"{len(file)} bytes" if isinstance(file, bytes) else file
        raise ModelError("the model's names or metadata are no text", f"{name} ({error})", "export it again") from error
    return Session(
        inputs=inputs,
        outputs=outputs,
        spec=ModelSpec.from_json(text) if text else None,
        placement=placement,
        provider=chosen.name,
        threads=count,
        ort=cast("Runnable", loaded.ort),
        profile=settings.name,
        from_cache=loaded.from_cache,
    )
