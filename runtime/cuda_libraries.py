"""CUDA's own libraries, where pip brought them: the system's loader does not look into Python's packages."""

import contextlib
import functools
import io
from importlib.util import find_spec

from .providers import Provider, load_onnxruntime

_USERS = ("CUDAExecutionProvider", "TensorrtExecutionProvider")


def preload_for(provider: Provider) -> None:
    """Load CUDA's and cuDNN's libraries from the `nvidia-*` packages, once in a process, for a provider that needs them.

    Without it `pip install "onnxruntime-gpu[cuda,cudnn]"` brings all libraries, and the provider finds none of them. Where such packages
    are not installed nothing is done: the loader finds the system's libraries, or `runtime.diagnosis` names the one that is missing.
    """
    if provider.ort_name in _USERS and find_spec("nvidia"):
        _preload()


@functools.cache
def _preload() -> None:
    preload = getattr(load_onnxruntime(), "preload_dlls", None)  # only the flavours for GPUs have it
    if preload is not None:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find, needed or not
            preload()
