"""A checkpoint in eager PyTorch beside ONNX files: as a candidate that is scored, and as a process that is timed.

    python -m edgerec.cli.eager '{"file": "base.safetensors", ...}' '[0]'

The process obeys its parent as `benchmarks.measuring_worker` does.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..benchmarks.configurations import Configuration
from ..benchmarks.loaded import Call, Feeds, read_arrays, repeated

if TYPE_CHECKING:
    from ..benchmarks.candidates import Candidate
    from ..runtime.session import Session

PROVIDER = "torch"
FACTORIES = "factories"  # stands where a provider's options do


def eager_configuration(start: Configuration, factories: Sequence[str] = ()) -> Configuration:
    """Return how a checkpoint is measured: as its files are, but in PyTorch."""
    return replace(start, provider=PROVIDER, options={FACTORIES: ",".join(factories)} if factories else {}, profile="latency")


def eager_candidate(path: Path, threads: int | None, factories: Sequence[str] = ()) -> "Candidate":
    """Load a checkpoint for scoring."""
    from ..benchmarks.candidates import Candidate
    from ..train.evaluation import predict_fn
    from .sources import open_checkpoint, use_threads

    count = use_threads(threads)
    checkpoint = open_checkpoint(path, factories)
    predict = predict_fn(checkpoint.model.eval())
    return Candidate(path, checkpoint.spec, predict, predict, PROVIDER, count)


class EagerModel:
    """A checkpoint as a measuring process runs it."""

    def __init__(self, configuration: Configuration) -> None:
        from .sources import open_checkpoint, use_threads

        self.session: Session | None = None
        self.inputs = configuration.inputs
        told = configuration.options.get(FACTORIES, "")
        self.facts: dict[str, object] = {
            "provider": PROVIDER,
            "threads": use_threads(configuration.thread_count),
            "profile": "",
            "placement": {},
            "fallback_allowed": False,
        }
        checkpoint = open_checkpoint(configuration.file, told.split(",") if told else ())
        self.model, self.spec = checkpoint.model.eval(), checkpoint.spec

    def feeds(self, batch: int) -> Feeds:
        """Return prepared arrays; random numbers without a file."""
        if self.inputs is not None:
            return repeated(read_arrays(self.inputs, self.spec.input.name), batch)
        draw = np.random.default_rng(0)
        return {one.name: draw.standard_normal((batch, one.channels, one.height, one.width), np.float32) for one in self.spec.inputs}

    def check(self, feeds: Feeds) -> None:
        """Run once."""
        self.bare_call(feeds)()

    def bare_call(self, feeds: Feeds) -> Call:
        """Return what a user writes by hand: no conversion, no gradient, nothing else inside the clock."""
        import torch

        tensors, model = [torch.from_numpy(np.ascontiguousarray(array)) for array in feeds.values()], self.model

        def call() -> object:
            with torch.inference_mode():
                return model(*tensors)

        return call


def launch(configuration: Configuration, cores: Sequence[int]) -> list[str]:
    """Return the command of the process that measures a configuration: a checkpoint's here, a file's as ever."""
    from ..benchmarks import workers

    command = workers.launch(configuration, cores)
    if configuration.provider == PROVIDER:
        command[command.index("edgerec.benchmarks.measuring_worker")] = "edgerec.cli.eager"
    return command


if __name__ == "__main__":
    from ..benchmarks.measuring_worker import main

    sys.exit(main(load=EagerModel))
