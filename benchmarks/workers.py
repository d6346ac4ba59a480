"""The parent's side of the measuring processes: start one, give it orders, and know why it died."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from ..runtime.errors import ModelError
from .configurations import Configuration

Answer = dict[str, object]
Launch = Callable[[Configuration, Sequence[int]], Sequence[str]]

START_S = 600.0  # a provider that compiles (TensorRT, OpenVINO) takes minutes for a large file
ORDER_S = 600.0  # a hung driver never answers; one call of a large model in a batch takes a minute on a small board
QUIT_S = 5.0


class WorkerError(ModelError):
    """A measuring process refused its file, failed in an order, or died; the message says why in one line."""


def launch(configuration: Configuration, cores: Sequence[int]) -> list[str]:
    """Return the command of the process that measures a configuration."""
    return [
        sys.executable,
        "-P",
        "-m",
        "edgerec.benchmarks.measuring_worker",
        configuration.to_json(),
        json.dumps(list(cores)),
    ]


class Worker:
    """One configuration in a process of its own. `with` ends it, whatever happens.

    Args:
        configuration: What it runs.
        cores: Where it stays; empty leaves it free.
        command: From both to the process; tests give their own.
        start_s: Seconds until the first result.

    Attributes:
        configuration: What it runs.
        ready: What it said after its first run.
        cold_start_ms: From the start of the process to that.

    Raises:
        WorkerError: The file cannot be loaded or run, or the process died.
    """

    def __init__(
        self, configuration: Configuration, cores: Sequence[int] = (), *, command: Launch = launch, start_s: float = START_S
    ) -> None:
        self.configuration = configuration
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            command(configuration, cores),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            # Ctrl-C goes to the parent alone, which ends the others in order.
            start_new_session=os.name != "nt",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._lines = _lines_of(cast("IO[str]", self._process.stdout))
        try:
            self.ready = self._answer(start_s)
        except BaseException:
            self.close()
            raise
        self.cold_start_ms = (time.perf_counter() - begun) * 1e3

    def order(self, told: Mapping[str, object], limit_s: float = ORDER_S) -> Answer:
        """Give one order and wait for the answer.

        Args:
            told: As in `measuring_worker`.
            limit_s: Seconds after which the process counts as hung and is ended.

        Raises:
            WorkerError: The order failed, or the process died or hangs.
        """
        stdin = cast("IO[str]", self._process.stdin)
        with contextlib.suppress(OSError):  # a dead process: its end of output says why
            stdin.write(json.dumps(told) + "\n")
            stdin.flush()
        return self._answer(limit_s)

    def close(self) -> None:
        """End the process: asked first, killed after a while. A second call does nothing."""
        if self._errors.closed:
            return
        with contextlib.suppress(OSError):
            cast("IO[str]", self._process.stdin).write('{"do": "quit"}\n')
        with contextlib.suppress(OSError):
            cast("IO[str]", self._process.stdin).close()
        try:
            self._process.wait(QUIT_S if hasattr(self, "ready") else 0.1)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None and not issubclass(kind, Exception):  # Ctrl-C: nobody waits for the end of a block
            self._process.kill()
        self.close()

    def _answer(self, limit_s: float) -> Answer:
        name = self.configuration.file.name
        try:
            line = self._lines.get(timeout=limit_s)
        except queue.Empty:
            self._process.kill()
            raise WorkerError("the measuring process does not answer", f"{name}, {limit_s:.0f} s", "try it with edgerec inspect") from None
        if line is None:
            raise WorkerError("the measuring process died", f"{name}: {self._why()}", "try it with edgerec inspect")
        try:
            answer = cast("Answer", json.loads(line))
        except ValueError:
            raise WorkerError(
                "the measuring process answers what is no JSON", f"{name}: {line[:80]!r}", "try it with edgerec inspect"
            ) from None
        if "error" in answer:
            raise WorkerError(str(answer["error"]))
        return answer

    def _why(self) -> str:
        """Return what ended the process: its exit code or signal, and the last line it wrote to standard error."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(QUIT_S)
        code = self._process.returncode
        self._errors.seek(0)
        told = self._errors.read().decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(told) if line.strip()), "")
        ended = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return f"{ended}, {last[:200]}" if last else ended


def pick_cores(count: int, allowed: Sequence[int], sys_cpu: Path = Path("/sys/devices/system/cpu")) -> list[int]:
    """Return the cores that a process with `count` threads stays on; empty where there are not enough to choose from.

    Whole cores first: two threads on the two hyper-threads of one core would share its arithmetic. The last ones first: interrupts and
    whatever else the system does tend to sit on the first.

    Args:
        count: Threads.
        allowed: Cores this process may use.
        sys_cpu: Where Linux tells about its processors.
    """
    if count > len(allowed):
        return []
    seen: set[str] = set()
    whole: list[int] = []
    rest: list[int] = []
    for core in sorted(allowed, reverse=True):
        siblings = smt_siblings(core, sys_cpu)
        (rest if siblings in seen else whole).append(core)
        seen.add(siblings)
    return sorted((whole + rest)[:count])


def smt_siblings(core: int, sys_cpu: Path = Path("/sys/devices/system/cpu")) -> str:
    """Return the hyper-threads of a core as Linux writes them, such as `0,64` or `2-3`; the core itself where it does not tell."""
    try:
        return (sys_cpu / f"cpu{core}" / "topology" / "thread_siblings_list").read_text(encoding="utf-8").strip()
    except OSError:
        return str(core)


def allowed_cores() -> list[int]:
    """Return the cores this process may use; empty where the system does not let it choose."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _lines_of(stream: IO[str]) -> "queue.Queue[str | None]":
    """Read a process's lines in a thread, so that waiting for one can end; None ends them."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        with stream:
            for line in stream:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines
