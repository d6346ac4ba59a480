"""The only place that builds an `onnxruntime.InferenceSession` for use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import numpy.typing as npt

from .cores import usable_cores
from .errors import ConfigError, DataError, EdgerecError, GateError, ModelError
from .providers import Provider, find_provider, load_onnxruntime
from .spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a model: its name, its shape (a text is a free dimension), its type as ONNX Runtime writes it."""

    name: str
    shape: tuple[int | str | None, ...]
    type: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Which provider runs how many nodes, from ONNX Runtime's own assignment record (before it fuses nodes)."""

    nodes: Mapping[str, int]

    def share(self, provider: str) -> float:
        """Return the fraction of nodes that run on the provider with this ONNX Runtime name."""
        total = sum(self.nodes.values())
        return self.nodes.get(provider, 0) / total if total else 0.0


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
        provider: The provider that was asked for.
        threads: Threads of the intra-op pool.
        ort: The session underneath.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    spec: ModelSpec | None
    placement: Placement
    provider: str
    threads: int
    ort: Runnable

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
        except _ort_errors() as error:
            raise self._explained(feeds, error) from error
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
            "the model fails while it runs", f"{_first_line(error)}; input {given}", f"it takes {wanted}; export it again if that fits"
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
    threads: int | None = None,
    options: Mapping[str, str] | None = None,
    allow_fallback: bool = False,
    min_on_provider: float = 0.9,
    optimise: bool = True,
) -> Session:
    """Load an ONNX file on one provider and prove that the provider runs it.

    Args:
        file: Path of the model, or its bytes.
        provider: A name of `PROVIDERS`, or ONNX Runtime's own name for one.
        threads: Threads of the intra-op pool; by default the cores this process may use.
        options: Options of the provider, as ONNX Runtime documents them.
        allow_fallback: Accept that nodes run on the CPU instead.
        min_on_provider: Smallest fraction of nodes that must run on the provider.
        optimise: Let ONNX Runtime rewrite the graph; without it every node computes what its operator says.

    Raises:
        ModelError: The file is missing or damaged, or ONNX Runtime cannot run it.
        ProviderError: The provider is unknown or not installed.
        GateError: The provider is there but does not run the nodes.
    """
    chosen = find_provider(provider)
    if threads is not None and threads < 1:
        raise ConfigError("threads must be at least 1", threads, "leave it out to use every core")
    count = threads or usable_cores()
    ort = _load(file, chosen, count, options or {}, optimise=optimise)
    placement = Placement(_count_nodes(ort))
    if not allow_fallback:
        _check_placement(ort.get_providers(), placement, chosen, min_on_provider)
    try:
        text = ort.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        inputs, outputs = (
            tuple(Tensor(one.name, tuple(one.shape), one.type) for one in some) for some in (ort.get_inputs(), ort.get_outputs())
        )
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
        ort=cast("Runnable", ort),
    )


def _load(file: Path | bytes, provider: Provider, threads: int, options: Mapping[str, str], *, optimise: bool) -> "InferenceSession":
    if isinstance(file, Path) and not file.is_file():
        raise ModelError("the model file does not exist", file, "check the path")
    if isinstance(file, Path) and file.suffix in (".safetensors", ".pth", ".pt"):
        raise ModelError("this is no ONNX file", file, "export it first: edgerec export")
    onnxruntime = load_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # what goes wrong is raised; ONNX Runtime would print it as well
    if not optimise:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    wanted = [(provider.ort_name, dict(options))]
    if provider.name != "cpu":
        wanted.append(("CPUExecutionProvider", {}))  # takes single nodes that the provider lacks; `min_on_provider` bounds how many
    try:
        return onnxruntime.InferenceSession(
            file if isinstance(file, bytes) else str(file),
            settings,
            providers=wanted,
            enable_fallback=0,  # else ONNX Runtime prints to stdout and silently retries on the CPU
            read_config_from_model=0,  # a model's own metadata must not configure the session
        )
    except _ort_errors() as error:
        name = f"{len(file)} bytes" if isinstance(file, bytes) else str(file)
        raise ModelError(
            "ONNX Runtime cannot load this model", f"{name} ({_first_line(error)})", "export it again, or check that it is an ONNX file"
        ) from error


def _count_nodes(ort: "InferenceSession") -> dict[str, int]:
    counts: dict[str, int] = {}
    for part in ort.get_provider_graph_assignment_info():
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return counts


def _check_placement(running: Sequence[str], placement: Placement, provider: Provider, least: float) -> None:
    if provider.ort_name not in running:
        raise GateError(
            f"the execution provider {provider.name!r} is installed but cannot start",
            f"running: {', '.join(running)}",
            "check its driver and libraries",
        )
    share = placement.share(provider.ort_name)
    if placement.nodes and share < least:
        raise GateError(
            f"the execution provider {provider.name!r} runs too few of the nodes",
            f"{share:.0%} of {sum(placement.nodes.values())}, at least {least:.0%} wanted: {dict(placement.nodes)}",
            "use another provider, or allow the fallback",
        )


def _ort_errors() -> tuple[type[Exception], ...]:
    """Return everything that ONNX Runtime raises on damaged files and wrong input (its classes share no base of their own)."""
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = [value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*own, RuntimeError, ValueError, TypeError, OSError)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
