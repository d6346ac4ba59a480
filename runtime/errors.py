"""The one small tree of exceptions that edgerec raises on purpose.

Every message has three parts: what is wrong, what was given, what to do. The command line prints them
without a traceback and exits with the class's `exit_code`.
"""


class EdgerecError(Exception):
    """Base of every error raised on purpose; the command line catches only this.

    Args:
        problem: What is wrong, one sentence without a full stop.
        given: What was given: a path, a value, a shape.
        fix: What to do about it.
    """

    exit_code = 1

    def __init__(self, problem: str, given: object = "", fix: str = "") -> None:
        # All three go to `args`, so that the error survives pickling between processes.
        super().__init__(problem, str(given), fix)
        self.problem = problem
        self.given = str(given)
        self.fix = fix

    def __str__(self) -> str:
        told = f"{self.problem}: {self.given}" if self.given else self.problem
        return f"{told}; {self.fix}" if self.fix else told


class ConfigError(EdgerecError, ValueError):
    """An argument or an option is out of range or unknown."""


class DataError(EdgerecError):
    """A data set or an image cannot be used."""


class ModelError(EdgerecError):
    """A model, a checkpoint or an ONNX file cannot be used."""


class ProviderError(EdgerecError):
    """An execution provider is unknown or not installed."""


class OutputError(EdgerecError):
    """A result cannot be written: folder missing, read-only, or disk full."""


class GateError(EdgerecError):
    """A promise was not kept: parity, accuracy budget, or a provider that did not run the nodes."""

    exit_code = 3
