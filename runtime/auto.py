"""`provider="auto"`: the fastest of the providers that are there, measured once on this machine for this file."""

import contextlib
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from . import cache, optimised
from .diagnosis import why_not_started
from .errors import EdgerecError, ModelError, ProviderError
from .loading import Loaded, Request, first_line, load, ort_errors
from .placement import Placement, check_placement
from .plugins import resolve_provider
from .profiles import Profile
from .providers import PROVIDERS, available, load_onnxruntime
from .spec import METADATA_KEY, InputSpec, ModelSpec
from .tensors import tensors

KIND = "auto"
_ROUNDS = 7
_BLOCK_SECONDS = 0.03  # of each provider in a round: long beside the clock, and seven rounds of two providers take half a second


@dataclass(frozen=True, slots=True)
class Choice:
    """What `auto` found.

    Attributes:
        provider: The fastest.
        p50_ms: Median time of one call on each provider that ran; empty when there was only one to choose from.
        skipped: Providers that are there and did not run the model, with the reason.
    """

    provider: str
    p50_ms: Mapping[str, float] = field(default_factory=dict[str, float])
    skipped: Mapping[str, str] = field(default_factory=dict[str, str])


def choose_provider(file: Path | bytes, profile: Profile, threads: int, least: float, *, optimise: bool = True) -> Choice:
    """Return the fastest provider for a model, from the cache or by measuring all that are installed.

    Args:
        file: The model.
        profile: How the session will use the machine.
        threads: Threads of one call.
        least: Smallest share of nodes that a provider must run to count.
        optimise: Whether ONNX Runtime may rewrite the graph.

    Raises:
        ModelError: The file is missing or damaged.
        ProviderError: No provider runs the model.
    """
    names = candidates()
    if len(names) == 1:
        return Choice(names[0])
    key = _key(file, names, [profile.name, threads, least, optimise])
    if key and (stored := cache.load(KIND, key)):
        with contextlib.suppress(ValueError, TypeError):  # a damaged entry costs a measurement
            choice = Choice(**json.loads(stored))
            if choice.provider in names:
                return choice
    choice = measure_providers(file, names, lambda name: _request(name, profile, threads, optimise=optimise), least)
    if key:
        cache.store(KIND, key, json.dumps(asdict(choice)).encode())
    return choice


def candidates() -> list[str]:
    """Return the names of the providers that are installed, plug-in packages included, in the order of ONNX Runtime's preference."""
    there = available()
    by_ort_name = {one.ort_name: one.name for one in PROVIDERS.values()}
    plugins = [one.name for one in PROVIDERS.values() if one.plugin and one.ort_name not in there and find_spec(one.plugin)]
    return [*(by_ort_name.get(name, name) for name in there), *plugins]


def measure_providers(file: Path | bytes, names: Sequence[str], request: Callable[[str], Request], least: float) -> Choice:
    """Open a model on each provider and time one image, in turns, so that drift hits all alike.

    Args:
        file: The model.
        names: The providers.
        request: From a name to how the model is loaded on it.
        least: Smallest share of nodes that a provider must run to count.

    Raises:
        ModelError: The file is missing or damaged.
        ProviderError: No provider runs the model.
    """
    calls: dict[str, Callable[[], object]] = {}
    skipped: dict[str, str] = {}
    for name in names:
        try:
            calls[name] = _call(file, request(name), least)
        except (EdgerecError, *ort_errors()) as error:
            if isinstance(error, ModelError) and name == "cpu":
                raise  # what the CPU cannot load is no model
            skipped[name] = str(error) if isinstance(error, EdgerecError) else first_line(error)
    if not calls:
        told = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise ProviderError("no provider runs this model", told, "name a provider to see its own error")
    p50_ms = _measure(calls)
    return Choice(min(p50_ms, key=lambda name: p50_ms[name]), p50_ms, skipped)


def _request(name: str, profile: Profile, threads: int, *, optimise: bool) -> Request:
    provider, devices = resolve_provider(name)
    return Request(provider, profile, threads, devices=devices, optimise=optimise)


def _call(file: Path | bytes, request: Request, least: float) -> Callable[[], object]:
    """Return one call of the model, made once already."""
    loaded = load(file, request)
    if request.provider.ort_name not in loaded.ort.get_providers():
        raise why_not_started(request.provider, request.options)
    check_placement(Placement(loaded.nodes), request.provider, least)
    from .random_feeds import random_feeds  # numpy.random takes a while to load, and only a measurement needs it

    call = partial(loaded.ort.run, None, dict(random_feeds(tensors(loaded.ort.get_inputs()), _images(loaded))))
    call()
    return call


def _images(loaded: Loaded) -> Sequence[InputSpec]:
    text = loaded.ort.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    return ModelSpec.from_json(text).inputs if text else (InputSpec(224, 224),)  # only for sizes that the file leaves open


def _measure(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    times_ms: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_ROUNDS):
        for name, call in calls.items():
            end = time.perf_counter() + _BLOCK_SECONDS
            while (start := time.perf_counter()) < end:
                call()
                times_ms[name].append((time.perf_counter() - start) * 1e3)
    return {name: round(statistics.median(times), 4) for name, times in times_ms.items()}


def _key(file: Path | bytes, names: Sequence[str], settings: list[object]) -> str:
    """Return what a choice depends on; empty where the file cannot be read, or its weights lie outside."""
    if isinstance(file, bytes):
        found = hashlib.sha256(file).hexdigest()
    else:
        try:
            found = optimised.file_hash(file.resolve())
        except OSError:
            return ""
    return json.dumps([found, names, settings, load_onnxruntime().__version__, optimised.processor()]) if found else ""
