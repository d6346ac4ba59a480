"""A virtual environment for each peer: made on demand, kept, and asked what it holds."""

import json
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path

from ...runtime.errors import ConfigError, DataError

Say = Callable[[str], None]

_METADATA = re.compile(r"(?m)^# /// script\n((?:#(?: .*)?\n)+?)# ///$")  # PEP 723
_STAMP = "edgerec-requirements.txt"
_LIST = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"


def requirements_of(script: Path) -> tuple[str, ...]:
    """Return what a script's head says must be installed for it.

    Raises:
        ConfigError: There is no such script, or its metadata cannot be read.
    """
    try:
        found = _METADATA.search(script.read_text(encoding="utf-8"))
        lines = [line[2:] for line in found[1].splitlines()] if found else []
        return tuple(tomllib.loads("\n".join(lines)).get("dependencies", ()))
    except (OSError, ValueError) as error:
        raise ConfigError("the peer's script cannot be read", f"{script} ({error})", "give a Python file with PEP 723 metadata") from error


def ready(script: Path, folder: Path, say: Say) -> Path:
    """Return the Python of a script's environment, which is made or brought up to date where needed.

    Args:
        script: A peer's file.
        folder: Where all environments lie; this one is called like the script.
        say: Told what takes long.

    Raises:
        ConfigError: The script cannot be read.
        DataError: Its requirements cannot be installed.
    """
    requirements, home = requirements_of(script), folder / script.stem
    python, stamp = home / "bin" / "python", home / _STAMP
    wanted = "\n".join(requirements)
    if python.exists() and stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    say(f"{script.stem}: install {', '.join(requirements) or 'nothing'} into {home}")
    if not python.exists() or (requirements and not python.with_name("pip").exists()):
        venv.create(home, with_pip=bool(requirements))
    if requirements:
        done = subprocess.run([python, "-m", "pip", "install", "-q", *requirements], capture_output=True, text=True, check=False)
        if done.returncode:
            raise DataError(
                "a peer cannot be installed", f"{script.stem}: {done.stderr.strip()[-300:]}", "check the network, or leave it out"
            )
    stamp.write_text(wanted, encoding="utf-8")  # last: an interrupted installation is begun again
    return python


def installed(python: Path | str = sys.executable) -> dict[str, str]:
    """Return the version of every package in an environment, by name in alphabetical order.

    Raises:
        DataError: Its Python does not run.
    """
    try:
        done = subprocess.run([python, "-I", "-c", _LIST], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DataError("a peer's environment does not run", python, "remove its folder; it is made again") from error
    return dict(sorted(json.loads(done.stdout).items(), key=lambda one: one[0].lower()))
