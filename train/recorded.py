"""Work that a GPU replays: recorded once as a CUDA graph, so that small networks no longer wait for Python to launch their kernels.

docs.pytorch.org/docs/stable/notes/cuda.html, "CUDA Graphs". A replay reads and writes the memory it was recorded with.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..runtime.errors import ConfigError
from .batches import Loss, TrainBatch
from .run import Run

EAGER_STEPS = 3  # cuDNN chooses its algorithms, and optimizers make their states, in the first ones


def check_recordable(device: torch.device, processes: int, dtype: torch.dtype) -> None:
    """Refuse what cannot be recorded.

    Raises:
        ConfigError: There is no CUDA device, several processes train together, or fp16's scaler asks the GPU in every step.
    """
    given = f"{device.type}, {processes} process(es), {dtype}"
    if device.type != "cuda" or processes > 1 or dtype == torch.float16:
        raise ConfigError("a step is recorded on one CUDA device, in bf16 or fp32", given, "train without recording")


class RecordedStep:
    """A training step. The first steps run as ever; the next is recorded, and all further ones replay it.

    Args:
        model: What is trained.
        run: Its optimizer.
        autocast: Makes the context in which the loss is computed.
        loss: What is made smaller.
        clip_norm: The gradient's largest L2 norm; 0 leaves it as it is.

    Attributes:
        model: What is trained.
        eager_steps_left: Steps until everything is replayed.
    """

    def __init__(
        self, model: nn.Module, run: Run, autocast: Callable[[], AbstractContextManager[object]], loss: Loss, clip_norm: float
    ) -> None:
        self.model, self.eager_steps_left = model, EAGER_STEPS + 1
        self._optimizer, self._autocast, self._loss, self._clip_norm = run.optimizer, autocast, loss, clip_norm
        self._graph = torch.cuda.CUDAGraph()
        self._stream = torch.cuda.Stream()

    def __call__(self, batch: TrainBatch) -> Tensor:
        """Take one step and return its loss, a scalar on the GPU that the next step overwrites."""
        if self.eager_steps_left > 1:
            self.eager_steps_left -= 1
            return self._beside(batch)
        if self.eager_steps_left == 1:
            self._record_(batch)
            self.eager_steps_left = 0
        self._batch.images.copy_(batch.images)
        self._batch.labels.copy_(batch.labels)
        if self._batch.answers is not None and batch.answers is not None:
            self._batch.answers.copy_(batch.answers)
        self._graph.replay()
        return self._value

    def _beside(self, batch: TrainBatch) -> Tensor:
        """Take a step on the stream that will be recorded."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            value = self._step(batch)
            self._optimizer.zero_grad(set_to_none=True)
        torch.cuda.current_stream().wait_stream(self._stream)
        return value

    def _record_(self, batch: TrainBatch) -> None:
        answers = None if batch.answers is None else batch.answers.clone()
        self._batch = replace(batch, images=batch.images.clone(), labels=batch.labels.clone(), answers=answers)
        with torch.cuda.graph(self._graph, stream=self._stream):
            self._value = self._step(self._batch)

    def _step(self, batch: TrainBatch) -> Tensor:
        with self._autocast():
            value = self._loss(self.model, batch)
        value.backward()
        if self._clip_norm > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._clip_norm)
        self._optimizer.step()
        return value.detach()


class RecordedForward:
    """A model's answers to batches of one shape, replayed; other shapes run as ever.

    Args:
        forward: From images to answers; it neither learns nor draws.
    """

    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        self._forward, self._graph = forward, None
        self._images = self._answers = torch.empty(0)

    def __call__(self, images: Tensor) -> Tensor:
        """Return a fresh tensor of answers."""
        if self._graph is None:
            self._record_(images)
        if images.shape != self._images.shape or self._graph is None:
            return self._forward(images)
        self._images.copy_(images)
        self._graph.replay()
        return self._answers.clone()

    def _record_(self, images: Tensor) -> None:
        self._images, stream = images.clone(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(EAGER_STEPS):
                self._forward(self._images)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            self._answers = self._forward(self._images)
        self._graph = graph
