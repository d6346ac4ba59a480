"""Files measured in real processes of their own: figures, failures, deaths, Ctrl-C; and the order of rounds with stand-ins."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto
from PIL import Image

from edgerec.benchmarks.configurations import Configuration, matrix
from edgerec.benchmarks.measuring import Extras, measure_files
from edgerec.benchmarks.rounds import Gathered, Schedule, run_start
from edgerec.benchmarks.scenarios import Rules
from edgerec.benchmarks.watched import watch_of
from edgerec.benchmarks.watching import Counters
from edgerec.benchmarks.workers import Worker, WorkerError, launch
from edgerec.runtime.errors import ConfigError, EdgerecError
from edgerec.runtime.spec import InputSpec, ModelSpec

QUICK = Schedule(starts=1, rounds=2, block_ms=1.0, repeats=0)
# Answers like a worker until its second block.
DIES = """
import json, os, sys
print(json.dumps({"first_run_ms": 1.0, "load_ms": 1.0, "provider": "cpu", "threads": 1, "placement": {}, "peak_bytes": 1, "resident_bytes": 1}), flush=True)
for line in sys.stdin:
    if json.loads(line)["do"] == "block":
        print("out of memory", file=sys.stderr, flush=True)
        os._exit(7)
"""


@pytest.fixture
def net(tmp_path: Path, make_core: Callable[..., ModelProto]) -> Path:
    model = make_core()
    onnx.helper.set_model_props(model, {"edgerec": ModelSpec((InputSpec(16, 16, name="input"),), labels=("a", "b", "c", "d")).to_json()})
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def alive(pids: Sequence[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def remembering(configuration: Configuration, cores: Sequence[int]) -> list[str]:
    """Return the usual process, which notes its id first."""
    note = Path(os.environ["EDGEREC_CACHE"]) / "pids"
    shell = f'import os, sys; open({str(note)!r}, "a").write(str(os.getpid()) + " "); os.execv(sys.argv[1], sys.argv[1:])'
    return [sys.executable, "-c", shell, *launch(configuration, cores)]


def noted() -> list[int]:
    return [int(one) for one in (Path(os.environ["EDGEREC_CACHE"]) / "pids").read_text().split()]


def test_two_files_one_missing_and_one_damaged(net: Path, tmp_path: Path) -> None:
    copy, damaged = tmp_path / "copy.onnx", tmp_path / "damaged.onnx"
    copy.write_bytes(net.read_bytes())
    damaged.write_bytes(net.read_bytes()[:200])
    files = [net, tmp_path / "none.onnx", copy, damaged]
    steps: list[tuple[int, int]] = []
    extras = Extras(scenarios=("single-stream", "offline"), rules=Rules(0.02))
    found = measure_files([Configuration(one, threads=1) for one in files], QUICK, extras, progress=lambda *step: steps.append(step))
    first, second = found.measured
    assert [one.configuration.file for one in found.measured] == [net, copy]
    assert first.speedup.ratio == first.speedup.low == first.speedup.high == 1
    assert second.speedup.low <= second.speedup.ratio <= second.speedup.high
    for one in found.measured:
        assert 0 < one.latency.min_ms <= one.latency.p50_ms <= one.latency.p90_ms <= one.latency.p99_ms <= one.latency.max_ms
        assert one.latency.warmup_runs >= 6
        assert one.images_per_s == pytest.approx(1e3 / one.latency.p50_ms)
        resources = one.resources
        assert resources.cold_start_ms > resources.load_ms + resources.first_run_ms > 0
        assert resources.peak_bytes >= resources.resident_bytes > 10_000_000, "numpy and onnxruntime alone take more"
        assert resources.cpu_ms is not None
        assert 0 < resources.cpu_ms < 100 * one.latency.p50_ms
        assert one.placement == {"CPUExecutionProvider": sum(one.placement.values())}
        assert [each.name for each in one.scenarios] == ["single-stream", "offline"]
        assert not any(each.valid for each in one.scenarios)
    assert [one.file for one in found.failures] == ["none.onnx", "damaged.onnx"]
    assert "does not exist" in found.failures[0].error
    assert not any(str(tmp_path) in one.error for one in found.failures), "documents name no folders"
    assert (steps, found.partial) == ([(1, 1)], False)


def test_a_process_that_dies_is_a_failure_and_the_others_go_on(net: Path, tmp_path: Path) -> None:
    def command(configuration: Configuration, cores: Sequence[int]) -> Sequence[str]:
        return [sys.executable, "-c", DIES] if configuration.file.name == "dies.onnx" else launch(configuration, cores)

    found = measure_files([Configuration(tmp_path / "dies.onnx"), Configuration(net, threads=1)], QUICK, command=command)
    assert [one.configuration.file.name for one in found.measured] == ["net.onnx"]
    assert found.measured[0].speedup.ratio == 1, "without the first file the next one is the reference"
    assert "exit code 7, out of memory" in found.failures[0].error


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("import sys; sys.exit('no such library')", "exit code 1, no such library"),
        ("print('hello', flush=True)", "no JSON"),
        ("import time; time.sleep(60)", "does not answer"),
    ],
)
def test_a_process_that_never_starts_says_why(tmp_path: Path, code: str, told: str) -> None:
    with pytest.raises(WorkerError, match=told):
        Worker(Configuration(tmp_path / "a.onnx"), command=lambda *_: [sys.executable, "-c", code], start_s=1.5)


def test_ctrl_c_returns_what_is_done_and_leaves_no_process(net: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(net.read_bytes())

    def interrupt(done: int, _all: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    rows = matrix(Configuration(net), files=[net, copy], threads=[1], batches=[1, 8])
    schedule = Schedule(starts=3, rounds=2, block_ms=1.0)
    found = measure_files(rows, schedule, progress=interrupt, command=remembering)
    assert found.partial
    assert [(one.configuration.file.name, one.configuration.batch) for one in found.measured] == [("net.onnx", 1), ("copy.onnx", 1)]
    assert not found.failures
    assert len(noted()) == 2
    assert not alive(noted())


def test_prepared_inputs_are_what_the_model_gets(net: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros((1, 3, 16, 16), np.float32))
    np.savez(tmp_path / "wrong_name.npz", other=np.zeros((1, 3, 16, 16), np.float32))
    np.savez(tmp_path / "wrong_shape.npz", input=np.zeros((1, 3, 16, 15), np.int64))
    (tmp_path / "text.npz").write_text("no archive")
    names = ("one.npy", "wrong_name.npz", "wrong_shape.npz", "text.npz")
    found = measure_files([Configuration(net, threads=1, batch=2, inputs=tmp_path / name) for name in names], QUICK)
    assert len(found.measured) == 1
    told = [one.error for one in found.failures]
    assert "lack an input" in told[0]
    assert "refuses this input" in told[1]
    assert "cannot be read" in told[2]


def test_a_file_for_one_image_takes_a_batch_in_portions(tmp_path: Path, make_core: Callable[..., ModelProto]) -> None:
    onnx.save(make_core(batch=1), tmp_path / "one.onnx")
    found = measure_files([Configuration(tmp_path / "one.onnx", threads=1, batch=batch) for batch in (1, 64)], QUICK)
    single, many = found.measured
    assert many.latency.p50_ms > 5 * single.latency.p50_ms
    assert many.speedup.ratio == 1, "every batch has a reference of its own"


def test_stages_of_an_image(net: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    found = measure_files([Configuration(net, threads=1)], QUICK, Extras(tmp_path / "large.jpg")).measured[0]
    stages = found.stages
    assert stages is not None
    # A million pixels of noise against a net of 16 x 16: decoding must be most of it, and copying 3 kB hardly anything.
    assert stages.decode_ms > 5 * stages.run_ms
    assert 0 < stages.copy_ms < 0.1 * stages.decode_ms
    assert min(stages.preprocess_ms, stages.postprocess_ms) > 0
    bad = measure_files([Configuration(net, threads=1)], QUICK, Extras(tmp_path / "text.jpg")).measured[0]
    assert bad.stages is None
    assert "cannot be decoded" in bad.notes[0]


def test_the_process_loads_the_light_runtime_only(net: Path) -> None:
    code = (
        "import sys; from edgerec.benchmarks.measuring_worker import main; main(sys.argv[1:]);"
        "print(*{one.partition('.')[0] for one in sys.modules}, file=sys.stderr)"
    )
    told = [Configuration(net, threads=1).to_json(), "[]"]
    order = '{"do": "block", "runs": 3, "settle_ms": 0}\n{"do": "nonsense"}\n{"do": "status"}\n'
    done = subprocess.run([sys.executable, "-P", "-c", code, *told], input=order, capture_output=True, text=True, check=True)
    loaded = {name for name in done.stderr.split() if not name.startswith("_") and name != "cython_runtime"} - sys.stdlib_module_names
    assert loaded <= {"edgerec", "numpy", "onnxruntime"}
    ready, block, refused, status = [json.loads(line) for line in done.stdout.splitlines()]
    assert ready["threads"] == 1
    assert len(block["times_ns"]) == 3
    assert sum(block["times_ns"]) <= block["wall_ns"]
    assert "nonsense" in refused["error"]
    assert status["peak_bytes"] >= ready["peak_bytes"]


class StandIn:
    """A worker whose calls take 1 ms, and that waits for its core in the rounds it is told to."""

    def __init__(self, name: str, order: list[str], disturbed: Sequence[int] = (), dies_at: int = -1) -> None:
        self.configuration = Configuration(Path(name))
        self.ready: dict[str, object] = {"first_run_ms": 1.0}
        self.log, self.disturbed, self.dies_at, self.turn = order, disturbed, dies_at, -1

    def order(self, told: dict[str, object], limit_s: float = 0) -> dict[str, object]:
        assert told["do"] == "block"
        runs = int(str(told["runs"]))
        waited = 0
        if told["settle_ms"]:
            self.turn += 1
            self.log.append(self.configuration.file.name)
            if self.turn == self.dies_at:
                raise WorkerError("died")
            waited = int(self.turn in self.disturbed) * runs * 50_000
        return {
            "times_ns": [1_000_000 + self.turn] * runs,
            "wall_ns": runs * 10**6,
            "waited_ns": waited,
            "cpu_ns": runs * 10**6,
            "spent_ns": 0,
            "joules": 0.5,
        }


def quiet(_cores: Sequence[int]) -> Counters:
    return Counters()


def test_blocks_go_a_b_b_a() -> None:
    order: list[str] = []
    gathered = {0: Gathered(), 1: Gathered()}
    workers = {0: StandIn("a", order), 1: StandIn("b", order)}
    seen, repeats, failed = run_start(workers, Schedule(rounds=4), gathered, [], quiet)
    assert "".join(order) == "abbaabba"
    assert (len(seen), repeats, failed) == (4, 0, {})
    assert [len(one.blocks[0]) for one in gathered.values()] == [4, 4]
    assert gathered[0].joules == 2.0


def test_a_disturbed_round_is_run_again_for_all_and_its_times_are_not_kept() -> None:
    gathered = {0: Gathered(), 1: Gathered()}
    workers = {0: StandIn("a", []), 1: StandIn("b", [], disturbed=[1])}
    seen, repeats, _ = run_start(workers, Schedule(rounds=3), gathered, [], quiet)
    assert (len(seen), repeats) == (3, 1)
    assert [float(block[0]) for block in gathered[0].blocks[0]] == [1.0, 1.000002, 1.000003], "the second round's times are gone"
    assert watch_of(seen, repeats, gathered[0], []).disturbances == ()


def test_what_stays_disturbed_is_kept_and_marked() -> None:
    gathered = {0: Gathered()}
    seen, repeats, _ = run_start({0: StandIn("a", [], disturbed=range(99))}, Schedule(rounds=4, repeats=2), gathered, [], quiet)
    assert repeats == 2
    watch = watch_of(seen, repeats, gathered[0], [])
    assert watch.disturbances == ("another process took the core in 4 of 4 rounds",)
    assert watch.repeats == 2


def test_a_death_in_a_round_costs_the_others_that_round_only() -> None:
    gathered = {0: Gathered(), 1: Gathered()}
    workers = {0: StandIn("a", []), 1: StandIn("b", [], dies_at=1)}
    seen, _, failed = run_start(workers, Schedule(rounds=3), gathered, [], quiet)
    assert failed == {1: "died"}
    assert (len(seen), len(gathered[0].blocks[0])) == (3, 3)


def test_the_matrix_varies_files_fastest() -> None:
    rows = matrix(Configuration(Path("x")), files=[Path("a"), Path("b")], providers=["cpu", "cuda"], batches=[1, 8])
    assert [(str(one.file), one.provider, one.batch) for one in rows[:5]] == [
        ("a", "cpu", 1),
        ("b", "cpu", 1),
        ("a", "cuda", 1),
        ("b", "cuda", 1),
        ("a", "cpu", 8),
    ]


def test_a_configuration_and_back() -> None:
    given = Configuration(Path("a.onnx"), "cuda", {"device_id": "0"}, 2, 4, "camera", allow_fallback=True, inputs=Path("x.npz"))
    assert Configuration.from_json(given.to_json()) == given


@pytest.mark.parametrize("fields", [{"batch": 0}, {"threads": 0}, {"profile": "fast"}])
def test_a_row_that_cannot_be_is_refused(fields: dict) -> None:
    with pytest.raises(EdgerecError):
        Configuration(Path("a.onnx"), **fields)


@pytest.mark.parametrize("fields", [{"starts": 0}, {"rounds": 0}, {"block_ms": 0}, {"block_ms": float("nan")}, {"repeats": -1}])
def test_a_schedule_that_measures_nothing_is_refused(fields: dict) -> None:
    with pytest.raises(ConfigError):
        Schedule(**fields)


def test_a_scenario_that_is_not_there_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="single-stream"):
        Extras(scenarios=("server",))


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ConfigError):
        measure_files([])
