"""The process that reads damaged files: a crash takes it along, and nothing else."""

import contextlib
import json
import os
import tempfile
import traceback
import warnings
from pathlib import Path

from ...runtime.errors import EdgerecError
from .targets import TARGETS, Target, make_case

MEMORY_BYTES = 8 << 30  # of addresses: torch alone takes four


def work(kind: str, first: int, count: int) -> None:
    """Read damaged files; print one line of JSON before each case, and one after it.

    Args:
        kind: A name of `TARGETS`.
        first: Number of the first case.
        count: How many.
    """
    target = TARGETS[kind]
    target.samples()
    _limit_memory()
    warnings.simplefilter("ignore")  # Pillow warns of most damaged files
    with tempfile.TemporaryDirectory() as outside:
        folder = Path(outside) / "inside"
        folder.mkdir()
        os.chdir(folder)
        for number in range(first, first + count):
            print(json.dumps({"case": number}), flush=True)
            print(json.dumps({"case": number} | read_case(target, number, folder)), flush=True)
        os.chdir("/")


def read_case(target: Target, number: int, folder: Path) -> dict[str, str]:
    """Read one damaged file in a folder that lies alone in its parent; return what it came to, as `found` and `error`."""
    name, data = make_case(target, number)
    try:
        with contextlib.redirect_stdout(None):
            target.attempt(name, data, folder)
        outcome = {"found": "valid"}
    except EdgerecError as error:
        outcome = {"found": "refused", "error": type(error).__name__}
    except BaseException as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        outcome = {"found": "fault", "error": f"{type(error).__name__}: {str(error)[:200]} ({Path(at.filename).name}:{at.lineno})"}
    if strange := [one.name for one in folder.parent.iterdir() if one != folder]:
        outcome = {"found": "fault", "error": f"files outside the folder: {strange}"}
    return outcome


def _limit_memory() -> None:
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
