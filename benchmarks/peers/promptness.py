"""How long a user waits: `edgerec quantize` from the start of the process to the file, with nothing cached but the data."""

import tempfile
from pathlib import Path

from ...data.named import data_cache
from ...runtime.cache import DOWNLOADS, FOLDER_VARIABLE
from .bars import Bar, at_most
from .commands import EDGEREC, Limits, run_command
from .making import Subject

QUANTIZE_S = 10.0
BUDGET_S = 60.0


def promptness(subject: Subject) -> list[Bar]:
    """Time the defaults, and the search inside a budget of half a point.

    Args:
        subject: A model, ResNet-20 as a rule.
    """
    plain = _seconds(subject, [])
    budget = _seconds(subject, ["--max-drop", "0.5"])
    return [
        at_most(f"{subject.name}: quantize, 512 images, cold", plain[0], QUANTIZE_S, " s", plain[1]),
        at_most(f"{subject.name}: quantize --max-drop 0.5, cold", budget[0], BUDGET_S, " s", budget[1]),
    ]


def _seconds(subject: Subject, options: list[str]) -> tuple[float | None, str]:
    """Return the wall time, or None and why there is none."""
    with tempfile.TemporaryDirectory(prefix="edgerec-") as folder:
        cache = Path(folder) / "cache"
        cache.mkdir()
        data_cache().mkdir(parents=True, exist_ok=True)
        (cache / DOWNLOADS).symlink_to(data_cache())
        command = [*EDGEREC, "quantize", str(subject.path), "--data", subject.text, "-o", f"{folder}/out.onnx", "-q", *options]
        run = run_command(command, Limits(threads=None), {FOLDER_VARIABLE: str(cache)})
    return (None, run.error) if run.error else (run.seconds, "")
