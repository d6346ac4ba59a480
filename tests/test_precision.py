"""Which number format layers compute in."""

import pytest
import torch
from torch import Tensor, nn

from edgerec.runtime.errors import ConfigError
from edgerec.runtime.spec import InputSpec, ModelSpec
from edgerec.train.precision import compute_dtype, has_bf16, takes_channels_last

CPU = torch.device("cpu")
SPEC = ModelSpec((InputSpec(8, 8),))


class View(nn.Module):
    """Flattens in a way that needs the usual order in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).view(len(images), -1)


def test_what_is_asked_for() -> None:
    assert compute_dtype("fp32", CPU) == torch.float32
    assert compute_dtype("bf16", CPU) == torch.bfloat16
    assert compute_dtype("auto", CPU) == (torch.bfloat16 if has_bf16(CPU) else torch.float32)
    assert compute_dtype("fp16", torch.device("cuda")) == torch.float16


def test_fp16_on_a_cpu() -> None:
    with pytest.raises(ConfigError, match="choose bf16"):
        compute_dtype("fp16", CPU)


def test_channels_last_only_where_the_model_runs_with_it() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    assert takes_channels_last(model, SPEC)
    assert not takes_channels_last(View(), SPEC)
    assert model[0].weight.is_contiguous(), "the model itself stays as it is"
