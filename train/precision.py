"""In which number format layers compute on a device."""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import nn

from ..runtime.errors import ConfigError
from ..runtime.spec import ModelSpec
from .evaluation import evaluating
from .settings import Precision


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type that autocast shall use; float32 means no autocast.

    `auto` is bfloat16 where the device multiplies in it (on such a CPU it halves the training time of a ResNet-20), else float32.

    Raises:
        ConfigError: fp16 on a CPU, where its narrow range gains no speed.
    """
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("fp16 trains on GPUs only", "precision fp16 on the CPU", "choose bf16, fp32 or auto")
    if precision == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def has_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    known = getattr(torch.cpu, "get_capabilities", dict[str, bool])  # absent in older versions of torch
    capabilities: Mapping[str, object] = known()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def takes_channels_last(model: nn.Module, spec: ModelSpec) -> bool:
    """Return whether the model takes images (N, C, H, W) whose channels lie last in memory; `view` in a user's forward does not."""
    if spec.input.layout == "NHWC":
        return False  # the channels are last already, as a dimension of their own
    copy = with_memory_format_(deepcopy(model), torch.channels_last)
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    images = torch.zeros((2, *spec.input.shape), device=device).contiguous(memory_format=torch.channels_last)
    try:
        with evaluating(copy), torch.inference_mode():
            copy(images)
    except RuntimeError:
        return False
    return True


def with_memory_format_(model: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    """Lay out the model's kernels in memory, in place."""
    return model.to(memory_format=memory_format)  # pyright: ignore[reportCallIssue]  # torch's stub lacks this form of `to`
