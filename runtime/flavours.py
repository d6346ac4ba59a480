"""The flavours of onnxruntime that are installed: they share one folder and overwrite each other's files."""

import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from .providers import Provider

# Every wheel that brings the import package `onnxruntime` under another name; what plug-ins bring lies beside it and hurts nobody.
_FLAVOUR = re.compile(
    r"onnxruntime(-(gpu|openvino|directml|qnn|silicon|rocm|migraphx|cann|azure|coreml|training|training-cpu|windowsml|webgpu|vitisai|noopenmp))?"
)


def installed_flavours(distributions: Iterable[metadata.Distribution] | None = None) -> dict[str, str]:
    """Return the installed wheels that bring the package `onnxruntime`: name to version, in alphabetical order.

    Args:
        distributions: Where to look; by default everything that this Python can import.
    """
    found: dict[str, str] = {}
    for one in metadata.distributions() if distributions is None else distributions:
        name = re.sub(r"[-_.]+", "-", str(one.metadata["Name"] or "")).lower()
        # The newer onnxruntime-qnn is a plug-in and leaves the shared folder alone.
        if _FLAVOUR.fullmatch(name) and (name != "onnxruntime-qnn" or _brings_the_package(one)):
            found[name] = one.version
    return dict(sorted(found.items()))


def winning_flavour(distributions: Iterable[metadata.Distribution] | None = None) -> str | None:
    """Return which of the installed flavours the files on disk come from; None when that cannot be told."""
    chosen = metadata.distributions() if distributions is None else distributions
    for one in list(chosen):
        name = re.sub(r"[-_.]+", "-", str(one.metadata["Name"] or "")).lower()
        if _FLAVOUR.fullmatch(name) and _is_intact(one):
            return name
    return None


def explain_flavours(provider: Provider | None = None, distributions: Iterable[metadata.Distribution] | None = None) -> str:
    """Return what several flavours beside each other mean and how to repair them; empty when there are fewer than two.

    Args:
        provider: What the caller wants to run on, so that its flavour is kept.
        distributions: Where to look; by default everything that this Python can import.
    """
    chosen = list(metadata.distributions() if distributions is None else distributions)
    found = installed_flavours(chosen)
    if len(found) < 2:
        return ""
    listed = " and ".join(f"{name} {version}" for name, version in found.items())
    winner = winning_flavour(chosen)
    fate = f"the files on disk are {winner}'s" if winner else "the files on disk are a mixture"
    return (
        f"{listed} are both installed and overwrite each other; {fate}. Repair: pip uninstall -y {' '.join(found)}, then "
        f"{provider.install if provider else 'pip install exactly one of them'}"
    )


def _brings_the_package(one: metadata.Distribution) -> bool:
    return any(str(file).startswith("onnxruntime/") for file in one.files or [])


def _is_intact(one: metadata.Distribution) -> bool:
    """Return whether the native files on disk are as large as this wheel's list says: hashing 300 MB would take too long."""
    files = [
        file for file in one.files or [] if str(file).startswith("onnxruntime/capi/") and Path(str(file)).suffix in (".so", ".pyd", ".dll")
    ]
    return bool(files) and all(_size_on_disk(Path(str(file.locate()))) == file.size for file in files)


def _size_on_disk(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
