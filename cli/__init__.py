"""The `edgerec` command."""

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code, 130 when interrupted; `arguments` defaults to the process's own."""
    from importlib.util import find_spec

    if find_spec("typer") is None:
        print('the edgerec command needs typer\n  what to do: pip install "edgerec[cli]"', file=sys.stderr)
        return 1
    try:
        from .app import run

        code = run(arguments)
    except KeyboardInterrupt:
        code = 130
    if code == 130:
        print("interrupted: files that were there before are unchanged; a training goes on with --resume", file=sys.stderr)
    return code


def __getattr__(name: str) -> object:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
