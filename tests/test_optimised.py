"""Cached graphs give the plain file's answers, survive damage and races, and never lead outside the cache."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from edgerec.runtime import InputSpec, ModelSpec, cache, open_session, optimised
from edgerec.runtime.session import Session

SPEC = ModelSpec((InputSpec(16, 16, name="x"),), labels=("a", "b"))
X = np.random.default_rng(1).standard_normal((2, 3, 16, 16)).astype(np.float32)


def conv_net(channels: int = 96) -> onnx.ModelProto:
    """Two convolutions and a classifier with free batch, 330 kB of weights: above the smallest file that is cached."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (channels, 3, 3, 3), "w2": (channels, channels, 3, 3), "w3": (channels, 2)}
    weights = [numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32) / 8, name) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "w3"], ["y"]),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "net", [image], [scores], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"edgerec": SPEC.to_json(), "theirs": "kept"})
    return model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(conv_net(), path)
    return path


def answer(session: Session) -> np.ndarray:
    return session.run({"x": X})["y"]


def entry_files() -> list[Path]:
    return [entry.path for entry in cache.entries() if entry.kind == optimised.KIND]


def test_the_second_start_comes_from_the_cache_and_is_the_same(file: Path) -> None:
    plain, first, second = open_session(file, threads=1, cache=False), open_session(file, threads=1), open_session(file, threads=1)
    assert [one.from_cache for one in (plain, first, second)] == [False, False, True]
    assert np.array_equal(answer(plain), answer(second))
    assert np.array_equal(answer(plain), answer(first))
    same = replace(plain, ort=second.ort, from_cache=True)
    assert same == second, "spec, inputs, outputs and placement are those of the file"
    assert second.placement.nodes == {"CPUExecutionProvider": 6}
    assert len(entry_files()) == 3, "a manifest, a graph and its weights"


class _Random(CalibrationDataReader):
    def __init__(self) -> None:
        self.batches = iter([{"x": X}])

    def get_next(self) -> dict[str, np.ndarray]:
        return next(self.batches, None)  # type: ignore[return-value]  # None ends it


@pytest.mark.filterwarnings("ignore")
def test_int8_files_are_bit_equal(file: Path, tmp_path: Path) -> None:
    quantized = tmp_path / "int8.onnx"
    quantize_static(file, quantized, _Random(), quant_format=QuantFormat.QDQ, per_channel=True)
    assert quantized.stat().st_size > 80_000
    padded = onnx.load(quantized)
    padded.doc_string = "x" * 50_000  # above the smallest size
    onnx.save(padded, quantized)
    plain = open_session(quantized, threads=1, cache=False)
    assert not open_session(quantized, threads=1).from_cache
    cached = open_session(quantized, threads=1)
    assert cached.from_cache
    assert np.array_equal(answer(plain), answer(cached))


@pytest.mark.parametrize("how", ["cut", "flip", "empty", "remove", "text"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_damaged_entry_is_rebuilt_silently(file: Path, capfd: pytest.CaptureFixture[str], how: str, which: int) -> None:
    expected = answer(open_session(file, threads=1))
    damaged = sorted(entry_files(), key=lambda path: path.stat().st_size)[which]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    if how == "remove":
        damaged.unlink()
    else:
        damaged.write_bytes({"cut": content[: len(content) // 2], "flip": content, "empty": b"", "text": b"{}"}[how])
    again = open_session(file, threads=1)
    assert not again.from_cache
    assert np.array_equal(answer(again), expected)
    third = open_session(file, threads=1)
    assert third.from_cache
    assert np.array_equal(answer(third), expected)
    assert len(entry_files()) == (3 if which or how == "flip" else 5), "what a lost manifest named waits for the eviction"
    assert capfd.readouterr() == ("", "")


def test_a_changed_file_is_another_entry(file: Path) -> None:
    open_session(file, threads=1)
    before = file.stat()
    changed = conv_net()
    changed.graph.initializer[2].CopyFrom(numpy_helper.from_array(np.zeros((96, 2), np.float32), "w3"))
    onnx.save(changed, file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # an archive may put the old time back
    session = open_session(file, threads=1)
    assert not session.from_cache
    assert not answer(session).any()


def test_what_the_graph_depends_on_is_in_the_key(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        optimised.key_of(file, {}, "1.32.0"),
        optimised.key_of(file, {}, "1.33.0"),
        optimised.key_of(file, {"use_arena": "0"}, "1.32.0"),
    }
    monkeypatch.setattr(optimised, "processor", lambda: "another processor")
    keys.add(optimised.key_of(file, {}, "1.32.0"))
    assert len(keys) == 4
    assert None not in keys


def test_the_processor_is_told_by_its_instructions() -> None:
    if not Path("/proc/cpuinfo").exists():
        pytest.skip("no /proc/cpuinfo here")
    told = optimised.processor()
    assert told == optimised.processor()
    assert "flags" in told or "features" in told
    assert "MHz" not in told, "what changes from moment to moment must not be in a key"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners are a POSIX matter")
def test_a_link_in_place_of_an_entry_is_not_followed(file: Path, tmp_path: Path) -> None:
    expected = answer(open_session(file, threads=1))
    outside = tmp_path / "outside"
    graph = max(entry_files(), key=lambda path: path.stat().st_size)
    graph.replace(outside)
    graph.symlink_to(outside)
    content = outside.read_bytes()
    again = open_session(file, threads=1)
    assert not again.from_cache
    assert np.array_equal(answer(again), expected)
    assert outside.read_bytes() == content, "what a link leads to is neither written nor removed"


def test_a_cache_folder_behind_a_link_works_and_an_entry_writable_by_others_does_not(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk", target_is_directory=True)
    monkeypatch.setenv("EDGEREC_CACHE", str(tmp_path / "link"))
    expected = answer(open_session(file, threads=1))
    session = open_session(file, threads=1)
    assert session.from_cache
    assert np.array_equal(answer(session), expected)
    assert {path.name for path in tmp_path.iterdir()} == {"disk", "link", "net.onnx"}
    (tmp_path / "disk" / optimised.KIND).chmod(0o777)
    assert not open_session(file, threads=1).from_cache, "somebody else could have put the entry there"


@pytest.mark.parametrize("where", ["file", "/proc/nothing"])
def test_without_a_usable_cache_everything_works(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    expected = answer(open_session(file, threads=1, cache=False))
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / where)
    for _ in range(2):
        session = open_session(file, threads=1)
        assert not session.from_cache
        assert np.array_equal(answer(session), expected)


def test_small_files_bytes_other_graphs_and_outside_weights_are_not_cached(file: Path, tmp_path: Path) -> None:
    small, outside = tmp_path / "small.onnx", tmp_path / "outside.onnx"
    onnx.save(conv_net(channels=16), small)
    padded = conv_net()
    padded.doc_string = "x" * optimised.SMALLEST_BYTES
    onnx.save(padded, outside, save_as_external_data=True, location="outside.data", size_threshold=100)
    for _ in range(2):
        sessions = [
            open_session(small, threads=1),
            open_session(file.read_bytes(), threads=1),
            open_session(file, threads=1, optimise=False),
            open_session(outside, threads=1),
        ]
        assert not any(one.from_cache for one in sessions)
    assert entry_files() == []
    assert np.array_equal(answer(sessions[3]), answer(sessions[1]))


RACE = """
import sys
from pathlib import Path
import numpy as np
from edgerec.runtime import open_session
Path(sys.argv[2]).touch()
while not Path(sys.argv[3]).exists(): pass
for _ in range(5):
    session = open_session(Path(sys.argv[1]), threads=1)
    print(session.run({"x": np.load(sys.argv[4])})["y"].tobytes().hex(), session.from_cache)
"""


def test_two_processes_may_race(file: Path, tmp_path: Path) -> None:
    expected = answer(open_session(file, threads=1, cache=False)).tobytes().hex()
    np.save(tmp_path / "x.npy", X)
    ready = [tmp_path / "ready0", tmp_path / "ready1"]
    arguments = [[str(file), str(one), str(ready[1 - at]), str(tmp_path / "x.npy")] for at, one in enumerate(ready)]
    both = [subprocess.Popen([sys.executable, "-P", "-c", RACE, *one], stdout=subprocess.PIPE, text=True) for one in arguments]
    for process in both:
        lines = [line.split() for line in process.communicate(timeout=60)[0].splitlines()]
        assert process.returncode == 0
        assert [line[0] for line in lines] == [expected] * 5
        assert lines[-1][1] == "True"


def test_the_manifest_cannot_name_files_elsewhere(file: Path, tmp_path: Path) -> None:
    open_session(file, threads=1)
    key = optimised.key_of(file, {}, onnxruntime.__version__)
    assert key is not None
    stored = json.loads(cache.load(optimised.KIND, key) or b"")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    stored["files"] = {"../../victim": [8, "0"]}
    stored["graph"] = "../../victim"
    cache.store(optimised.KIND, key, json.dumps(stored).encode())
    assert not open_session(file, threads=1).from_cache
    assert victim.read_bytes() == b"precious"
