"""The process that runs one file and is told by its parent when: needs the light runtime only, so that it works on a device.

    python -m edgerec.benchmarks.measuring_worker '{"file": "small.onnx", ...}' '[0]'

The arguments are a `Configuration` and the cores to stay on. It loads the file, runs it once and says so; then it reads one order a line from
standard input and answers each with one line of JSON:

    {"do": "block", "runs": 100, "settle_ms": 2}     time so many calls, one by one
    {"do": "stages", "image": "photo.jpg", ...}      where the time of one prediction goes
    {"do": "scenario", "name": "offline", ...}       one of MLPerf's scenarios
    {"do": "memory", "points": 30, "runs": 10}       whether memory grows from call to call
    {"do": "status"}                                 memory now, and the most there was
    {"do": "quit"}

An order that fails is answered with {"error": ...}, and the process goes on. The end of the input ends it, too.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from ..runtime.errors import DataError, EdgerecError
from .configurations import Configuration
from .json_form import read_as
from .loaded import Call, Loaded, LoadedFile
from .own_process import Usage, usage
from .watching import joules_between, read_joules

if TYPE_CHECKING:
    from .scenarios import Name

Answer = dict[str, object]
Load = Callable[[Configuration], Loaded]


def main(arguments: list[str] | None = None, wrap: Callable[[Call], Call] = lambda call: call, load: Load = LoadedFile) -> int:
    """Load, run once, then obey until told to quit.

    Args:
        arguments: A configuration and a list of cores, both JSON.
        wrap: What is timed instead of the bare call; for tests of the measurement itself.
        load: From a configuration to the model.
    """
    told, cores = arguments or sys.argv[1:]
    answers = _answers_alone()
    try:
        pin(json.loads(cores))
        gc.disable()  # a collection in the middle of a call is Python's, not the model's
        worker = Worker(Configuration.from_json(told), wrap, load)
    except Exception as error:
        _tell(answers, {"error": one_line(error)})
        return 1
    _tell(answers, worker.ready)
    for line in sys.stdin:
        order = cast("dict[str, object]", json.loads(line))
        if order["do"] == "quit":
            break
        try:
            answer = worker.obey(order)
        except Exception as error:  # whatever a model or a provider raises is this configuration's result
            answer = Answer(error=one_line(error))
        _tell(answers, answer)
    return 0


class Worker:
    """A loaded file and what it is fed.

    Args:
        configuration: What to load.
        wrap: What is timed instead of the bare call.
        load: Loads it.

    Attributes:
        ready: What the parent is told after the first run.
    """

    def __init__(self, configuration: Configuration, wrap: Callable[[Call], Call] = lambda call: call, load: Load = LoadedFile) -> None:
        start = time.perf_counter_ns()
        self.model = load(configuration)
        loaded = time.perf_counter_ns()
        feeds = self.model.feeds(configuration.batch)
        before = time.perf_counter_ns()
        self.model.check(feeds)  # the bare call would not name the input that it refuses
        first = time.perf_counter_ns() - before
        self.call = wrap(self.model.bare_call(feeds))
        self.ready: Answer = {
            "load_ms": (loaded - start) / 1e6,
            "first_run_ms": first / 1e6,
            **self.model.facts,
            **asdict(usage()),
        }
        self.cpu_ns = time.process_time_ns()

    def obey(self, order: Mapping[str, object]) -> Answer:
        """Do one order and return the answer."""
        match order["do"]:
            case "block":
                return self.block(int(cast("int", order["runs"])), float(cast("float", order["settle_ms"])))
            case "stages":
                from .stages import measure_stages

                if self.model.session is None:
                    raise DataError("stages are those of an ONNX file", "another kind of model", "leave them out")
                return asdict(measure_stages(self.model.session, Path(str(order["image"])), int(cast("int", order["runs"]))))
            case "scenario":
                from .scenarios import Rules, run_scenario

                batch = int(cast("int", order["batch"]))
                call = self.model.bare_call(self.model.feeds(batch))
                call()
                return asdict(run_scenario(cast("Name", order["name"]), call, read_as(Rules, order["rules"]), batch))
            case "memory":
                return {"resident_bytes": self.memory(int(cast("int", order["points"])), int(cast("int", order["runs"])))}
            case "status":
                return {**asdict(usage())}
            case other:
                raise DataError("the measuring process does not know this order", other, "update edgerec on both machines")

    def block(self, runs: int, settle_ms: float) -> Answer:
        """Time `runs` calls one by one.

        Args:
            runs: How many.
            settle_ms: Calls go on for this long before the first timed one: the process before had its own data in the caches.

        Returns:
            `times_ns`, a list; what the process used meanwhile; `spent_ns`, its processor time since the answer before.
        """
        clock, call = time.perf_counter_ns, self.call
        until = clock() + int(settle_ms * 1e6)
        call()
        while clock() < until:
            call()
        times = [0] * runs
        before, joules = usage(), read_joules()
        begun = clock()
        for number in range(runs):
            start = clock()
            call()
            times[number] = clock() - start
        ended = clock()
        used = joules_between(joules, read_joules())
        found = {"times_ns": times, "wall_ns": ended - begun, "joules": used, **asdict(_since(usage(), before))}
        spent, self.cpu_ns = self.cpu_ns, time.process_time_ns()
        return {**found, "spent_ns": self.cpu_ns - spent}

    def memory(self, points: int, runs: int) -> list[int]:
        """Return the resident memory after every `runs` calls, `points` times."""
        found = [0] * points
        for number in range(points):
            for _ in range(runs):
                self.call()
            found[number] = usage().resident_bytes
        return found


def pin(cores: list[int]) -> None:
    """Stay on these cores, where the system lets a process choose; an empty list changes nothing."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def one_line(error: Exception) -> str:
    """Return an error in one line of at most 300 characters."""
    text = str(error) if isinstance(error, EdgerecError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


def _since(now: Usage, before: Usage) -> Usage:
    """Return what was used between: counters as differences, memory as it is now."""
    return Usage(
        now.resident_bytes, now.peak_bytes, now.cpu_ns - before.cpu_ns, now.waited_ns - before.waited_ns, now.preempted - before.preempted
    )


def _answers_alone() -> IO[str]:
    """Keep standard output for the answers: what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _tell(answers: IO[str], answer: Answer) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
