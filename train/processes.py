"""The processes that train together, over accelerate: one, or as many as `torchrun` started, on CPUs or GPUs."""

import atexit
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..runtime.errors import ConfigError

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together.

    Attributes:
        accelerator: accelerate's view of them.
    """

    accelerator: "Accelerator"

    @classmethod
    def join(cls) -> "Processes":
        """Meet the other processes that `torchrun` started, if it did."""
        from accelerate import Accelerator  # here because it takes half a second, and evaluation never needs it

        # Without `cpu` accelerate overlooks torchrun's variables on a machine without GPU. Mixed precision stays with the loop:
        # accelerate's is one for the whole life of a process, and a second training may want another.
        processes = cls(Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision="no"))
        if processes.count > 1:
            atexit.unregister(_leave)
            atexit.register(_leave, processes.accelerator)
        return processes

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return self.accelerator.process_index

    @property
    def count(self) -> int:
        """How many processes there are."""
        return self.accelerator.num_processes

    @property
    def main(self) -> bool:
        """Whether this process writes the files."""
        return self.accelerator.is_main_process

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.accelerator.device

    def share(self, batch_size: int) -> int:
        """Return how many images of a global batch this process takes.

        Raises:
            ConfigError: The batch cannot be divided equally, so that the mean of the processes' losses would not be the batch's.
        """
        if batch_size % self.count:
            raise ConfigError(
                "the batch size must be a multiple of the processes", f"{batch_size} images, {self.count} processes", "change one"
            )
        return batch_size // self.count

    def together(self, model: nn.Module) -> nn.Module:
        """Return the model as one whose gradients are averaged over the processes; weights start as the first process's."""
        return cast("nn.Module", self.accelerator.prepare_model(model))

    def mean(self, value: Tensor) -> float:
        """Return the mean of a scalar over the processes."""
        return float(self._reduced(value.detach().float(), "mean"))

    def total(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the sum of an array of counts over the processes."""
        return self._reduced(torch.from_numpy(counts).to(self.device), "sum").cpu().numpy()

    def copy_buffers_(self, model: nn.Module) -> None:
        """Give every process the first one's running statistics, which are the ones that are saved."""
        if self.count > 1:
            from accelerate.utils import broadcast

            for buffer in model.buffers():
                broadcast(buffer)

    def wait(self) -> None:
        """Wait until every process is here."""
        self.accelerator.wait_for_everyone()

    def _reduced(self, value: Tensor, how: Literal["mean", "sum"]) -> Tensor:
        return cast("Tensor", self.accelerator.reduce(value, how))


def _leave(accelerator: "Accelerator") -> None:
    # A process that ends while gloo's threads run aborts: "terminate called without an active exception". The wrapped models, which accelerate
    # keeps, hold the process group and so its threads.
    accelerator.free_memory()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
