"""The comparison with other tools: six-line peers walk the whole road, and figures are the ones that can be worked out by hand."""

import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerec.benchmarks.latency import Latency, Speedup, Timing
from edgerec.benchmarks.peers import __main__ as command
from edgerec.benchmarks.peers import models
from edgerec.benchmarks.peers.bars import bars_of
from edgerec.benchmarks.peers.calibration import run_pass
from edgerec.benchmarks.peers.commands import Limits, last_object, run_command
from edgerec.benchmarks.peers.environments import installed, ready, requirements_of
from edgerec.benchmarks.peers.making import Maker, calibration_file, prepare
from edgerec.benchmarks.peers.measuring import Row, Share, measure
from edgerec.benchmarks.peers.models import CASES, Case, choose_cases, float_file, foreign_options
from edgerec.benchmarks.peers.registry import PEERS, Peer, choose_peers
from edgerec.benchmarks.peers.table import COLUMNS, markdown, rows_table
from edgerec.data import open_data
from edgerec.runtime.errors import ConfigError, DataError
from edgerec.runtime.spec import InputSpec

HERE = Path(models.__file__).parent
SPEC = InputSpec(28, 28, color="grey", scale=1.0, mean=(0.0,), std=(1.0,))
ONCE = Timing(rounds=1, block_seconds=0, warmup_seconds=0)
LATENCY = Latency(0.5, 0.6, 0.7, 0.4, 100)

COPIES = """
import shutil, sys, json
model, calibration, output = sys.argv[1:4]
shutil.copy(model, output)
print("a remark")
print(json.dumps({"seconds": 1.5}))
"""
FAILS = """
import sys
raise RuntimeError("no such operator")
"""


@pytest.fixture
def models_folder(tmp_path: Path) -> Path:
    """A folder with one model: the sums of ten bands of an MNIST image."""
    folder = tmp_path / "models"
    folder.mkdir()
    weight = np.random.default_rng(0).standard_normal((784, 10)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "weight"], ["logits"])],
        "bands",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "bands.onnx").write_bytes(model.SerializeToString())
    return folder


@pytest.fixture
def bands() -> Case:
    return Case({"bands.onnx": ""}, "made in the test", "mnist-8k", SPEC)


def maker_in(tmp_path: Path, told: list[str]) -> Maker:
    """Return a maker whose peers run in this Python: an environment is a folder with `bin/python` and a stamp."""
    for folder in ("work", "venvs"):
        (tmp_path / folder).mkdir(exist_ok=True)
    return Maker(tmp_path / "work", tmp_path / "venvs", 8, Limits(seconds=60), told.append)


def peer_of(tmp_path: Path, name: str, text: str) -> Peer:
    script = tmp_path / f"{name}.py"
    script.write_text(text)
    home = tmp_path / "venvs" / name / "bin"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "python").exists():
        (home / "python").symlink_to(sys.executable)
    (home.parent / "edgerec-requirements.txt").write_text("")
    return Peer(script)


def test_every_peer_on_disk_is_in_the_registry() -> None:
    assert {peer.script for peer in PEERS.values()} == set(HERE.glob("peer_*.py"))
    for peer in PEERS.values():
        assert all("==" in one for one in requirements_of(peer.script)), "a comparison is repeated with the same versions"
        text = peer.script.read_text()
        assert "import edgerec" not in text
        assert "from edgerec" not in text
        assert "from ." not in text


def test_an_own_peer_is_one_file(tmp_path: Path) -> None:
    peer = peer_of(tmp_path, "mine", COPIES)
    assert choose_peers([str(peer.script), "NNCF"]) == {"mine": peer, "NNCF": PEERS["NNCF"]}
    with pytest.raises(ConfigError, match="there is no such peer"):
        choose_peers(["nobody"])


def test_requirements_stand_in_the_head(tmp_path: Path) -> None:
    script = tmp_path / "x.py"
    script.write_text('# /// script\n# requires-python = ">=3.11"\n# dependencies = [\n#   "one==1",\n#   "two",\n# ]\n# ///\nprint()\n')
    assert requirements_of(script) == ("one==1", "two")
    script.write_text("print()\n")
    assert requirements_of(script) == ()
    with pytest.raises(ConfigError):
        requirements_of(tmp_path / "missing.py")


def test_an_environment_is_made_once(tmp_path: Path) -> None:
    script = tmp_path / "plain.py"
    script.write_text("print()\n")
    told: list[str] = []
    python = ready(script, tmp_path / "venvs", told.append)
    assert ready(script, tmp_path / "venvs", told.append) == python
    assert len(told) == 1
    assert "numpy" in installed()
    assert installed(python) == {}, "nothing of this environment is seen there"


def test_a_command_is_measured_and_limited() -> None:
    code = "import time; block = bytearray(80_000_000); time.sleep(0.2); print('{\"seconds\": 2}')"
    run = run_command([sys.executable, "-c", code])
    assert run.error == ""
    assert run.seconds >= 0.2
    assert 80 <= run.peak_mb < 200
    assert last_object(run.printed) == {"seconds": 2}
    assert run_command([sys.executable, "-c", "import time; time.sleep(9)"], Limits(seconds=0.3)).error == "stopped after 0 s"
    assert "MemoryError" in run_command([sys.executable, "-c", "bytearray(900_000_000)"], Limits(megabytes=300)).error


def test_a_commands_last_words_are_its_error() -> None:
    run = run_command([sys.executable, "-c", "import json; json.loads('{')"])
    assert run.error.startswith("json.decoder.JSONDecodeError: ")
    assert "decoder.py, line" in run.error
    code = "import sys; print('noise\\nerror: too small\\n  given: 3\\n  what to do: give 4', file=sys.stderr); sys.exit(1)"
    assert run_command([sys.executable, "-c", code]).error == "too small; given: 3; what to do: give 4"
    assert run_command([sys.executable, "-c", "raise SystemExit(5)"]).error == "ended with 5"


def test_threads_are_told_to_every_tool() -> None:
    show = [sys.executable, "-c", "import os; print(os.environ.get('OMP_NUM_THREADS'))"]
    assert run_command(show, Limits(threads=3)).printed.strip() == "3"
    assert run_command(show, Limits(threads=None)).printed.strip() == "None"


def test_peers_get_the_images_that_edgerec_calibrates_with(tmp_path: Path, models_folder: Path, bands: Case) -> None:
    subject = prepare("bands", bands, models_folder, tmp_path, {})
    path = calibration_file(subject, tmp_path, 5)
    wanted = next(open_data("mnist-8k").calibration.take(5).batches(5, [SPEC])).feeds["input"]  # (5, 28, 28, 1) uint8
    with np.load(path) as arrays:
        assert arrays.files == [f"{number}/image" for number in range(5)]
        for number in range(5):
            np.testing.assert_array_equal(arrays[f"{number}/image"], wanted[number : number + 1].transpose(0, 3, 1, 2).astype(np.float32))
    first = path.read_bytes()
    path.unlink()
    assert calibration_file(subject, tmp_path, 5).read_bytes() == first
    assert zipfile.is_zipfile(path)


def test_a_peer_walks_the_whole_road_and_is_not_run_twice(tmp_path: Path, models_folder: Path, bands: Case) -> None:
    told: list[str] = []
    maker = maker_in(tmp_path, told)
    subject = prepare("bands", bands, models_folder, maker.work, {})
    copies, fails = peer_of(tmp_path, "copies", COPIES), peer_of(tmp_path, "fails", FAILS)
    made = [maker.peers(subject, "copies", copies), maker.peers(subject, "fails", fails)]
    assert made[0].own_seconds == 1.5
    assert made[0].peak_mb > 0
    assert made[1].error.startswith("RuntimeError: no such operator")

    rows = measure(subject, made, ONCE, images=40)
    assert [row.tool for row in rows] == ["float", "copies", "fails"]
    assert [row.error.startswith("RuntimeError") for row in rows] == [False, False, True]
    assert rows[1].sqnr_db == np.inf, "a copy has no noise"
    assert rows[1].agreement == 1
    assert rows[1].images == 40
    assert rows[1].top1 == rows[0].top1
    assert rows[1].drop_points is not None
    assert rows[1].drop_points.value == 0
    assert rows[1].size_bytes == (models_folder / "bands.onnx").stat().st_size
    assert rows[1].int8_macs_share == 0

    before = len(told)
    assert maker.peers(subject, "copies", copies) == made[0]
    assert maker.peers(subject, "fails", fails) == made[1]
    assert told[before:] == ["bands: copies: made earlier", "bands: fails: made earlier"]
    peer_of(tmp_path, "copies", COPIES + "\n# changed")
    assert maker.peers(subject, "copies", copies).path != made[0].path, "another script is another tool"
    assert replace(maker, samples=9).peers(subject, "fails", fails).error


def test_a_file_that_does_not_run_is_a_row(tmp_path: Path, models_folder: Path, bands: Case) -> None:
    maker = maker_in(tmp_path, [])
    subject = prepare("bands", bands, models_folder, maker.work, {})
    broken = peer_of(tmp_path, "broken", "import sys; open(sys.argv[3], 'w').write('not a model')")
    silent = peer_of(tmp_path, "silent", "")
    rows = measure(subject, [maker.peers(subject, "broken", broken), maker.peers(subject, "silent", silent)], ONCE, images=10)
    assert rows[0].latency is not None
    assert rows[1].error.startswith("the file does not run")
    assert rows[2].error == "it ended well and wrote no file"


def test_the_command_writes_the_table_and_the_record(
    tmp_path: Path, models_folder: Path, bands: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = replace(bands, files={"absent.onnx": ""}, origin="nowhere")
    monkeypatch.setitem(CASES, "bands", bands)
    monkeypatch.setitem(CASES, "absent", absent)
    peer = peer_of(tmp_path, "copies", COPIES)
    output = tmp_path / "peers.json"
    folders = ["--models", str(models_folder), "--work", str(tmp_path / "work"), "--venvs", str(tmp_path / "venvs"), "-o", str(output)]
    few = ["--samples", "8", "--images", "20", "--rounds", "1"]
    assert command.main(["--cases", "bands", "absent", "--peers", str(peer.script), *folders, *few]) == 0
    printed, record = capsys.readouterr().out, json.loads(output.read_text())
    assert [(row["case"], row["tool"]) for row in record["rows"]] == [
        ("bands", "float"),
        ("bands", "edgerec"),
        ("bands", "copies"),
        ("absent", "-"),
    ]
    ours = record["rows"][1]
    assert float(ours["sqnr_db"]) > 20
    assert ours["seconds"] > 0
    assert "numpy" in record["tools"]["copies"]
    assert "- absent, -: the model is not there: absent.onnx" in printed
    assert "bands: time against the float file's" in printed
    json.dumps(record, allow_nan=False)  # other readers of JSON know no infinity


def test_wrong_options_end_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--work", str(tmp_path), "--venvs", str(tmp_path), "-o", str(tmp_path / "x.json")]
    assert command.main(["--cases", "nothing", *folders]) == 2
    assert command.main(["--peers", "nobody", *folders]) == 2
    assert "there is no such" in capsys.readouterr().err
    assert command.main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(CASES)


def test_the_published_file_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "mlperf-tiny-resnet8.onnx").write_bytes(b"another")
    with pytest.raises(DataError, match="another file than the published"):
        float_file("x", CASES["mlperf-tiny-resnet8"], tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="no such model"):
        choose_cases(["resnet20", "nothing"])
    digests = [digest for case in CASES.values() for digest in case.files.values() if digest]
    assert all(len(digest) == 64 for digest in digests)
    assert len(digests) == 5


def test_a_foreign_file_is_described_on_the_command_line() -> None:
    assert foreign_options(None) == []
    given = foreign_options(CASES["ppocr-cls"].input)
    assert given == ["--input-size", "3x48x192", "--scale", repr(1 / 255), "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]


def test_pixels_of_nothing_are_a_data_set(tmp_path: Path) -> None:
    spec = InputSpec(10, 12)
    models.make_pixels(tmp_path / "a.npz", spec, 60)
    images = open_data(str(tmp_path / "a.npz"))
    batch = next(images.calibration.batches(4, [spec]))
    assert batch.labels is None
    assert batch.feeds["input"].shape == (4, 10, 12, 3)


def row(case: str, tool: str, ratio: float, db: float | None = None, drop: float = 0.0) -> Row:
    share = None if tool == "float" else 0.9
    return Row(
        case,
        tool,
        size_bytes=12_345,
        images=1000,
        sqnr_db=db,
        top1=Share(0.9, 0.88, 0.92),
        drop_points=Share(drop, drop - 1, drop + 1),
        latency=LATENCY,
        speedup=Speedup(ratio, ratio, ratio),
        int8_macs_share=share,
    )


def test_the_table_is_markdown_with_the_errors_below() -> None:
    rows = [row("net", "float", 1.0), row("net", "edgerec", 2.0, 31.26, 0.1), Row("net", "a|b", error="it broke " + "x" * 300)]
    lines = rows_table(rows).splitlines()
    assert len({len(line) for line in lines[:5]}) == 1, "columns stand below each other"
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == list(COLUMNS)
    cells = [cell.strip() for cell in lines[3].strip("|").split("|")]
    assert cells[:8] == [
        "net",
        "edgerec",
        "90.00 (88.00 to 92.00)",
        "+0.10 (-0.90 to +1.10)",
        "31.3",
        "0.500",
        "2.00 (2.00 to 2.00)",
        "12",
    ]
    assert "a\\|b" in lines[4]
    assert "failed" in lines[4]
    assert lines[6].startswith("- net, a|b: it broke")
    assert lines[6].endswith("...")
    assert markdown(("a", "b", "c"), []) == "| a   | b   |   c |\n| --- | --- | --: |"


def test_bars_follow_from_the_rows() -> None:
    rows = [
        row("resnet20", "float", 1.0),
        row("resnet20", "edgerec", 2.5, 30.0, 0.2),
        row("resnet20", "slow", 1.25, 28.0),
        row("resnet20", "fast", 2.0, 20.0),
        row("vit_tiny", "float", 1.0),
        row("vit_tiny", "edgerec", 0.8, 30.0, 0.2),
        row("vit_tiny", "fast", 1.0, 31.0),
        Row("rnn", "-", error="the model is not there"),
        row("ppocr-cls", "float", 1.0),
        Row("ppocr-cls", "edgerec", error="it broke"),
    ]
    found = {bar.text: (bar.measured, bar.met) for bar in bars_of(rows)}
    assert found == {
        "SQNR above the best peer's on every model": ("-1.0 dB (vit_tiny)", False),
        "SQNR above the best peer's, mean of 2": ("+0.5 dB", False),
        "resnet20: top-1 drop on 1,000 images": ("0.2 points", False),
        "vit_tiny: top-1 drop on 1,000 images": ("0.2 points", True),
        "resnet20: time against the float file's": ("0.4x", True),
        "resnet20: time against the fastest peer's": ("0.8x", True),
        "vit_tiny: time against the float file's": ("1.25x", False),
        "vit_tiny: time against the fastest peer's": ("1.25x", False),
        "files that edgerec quantizes": ("2 of 3 but ppocr-cls", False),
    }


def test_calibration_is_measured_in_its_own_process(models_folder: Path) -> None:
    from edgerec.benchmarks.peers import calibration

    plain, observed = (run_pass(program, models_folder / "bands.onnx", 20, 1) for program in (calibration._BARE, calibration._OBSERVED))
    assert plain.seconds > 0
    assert plain.choosing == {}
    assert set(observed.choosing) == {"percentile", "mse", "entropy"}
    assert observed.peak_mb > 20
