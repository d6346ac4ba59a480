"""A whole benchmark from Python and from the command: rows of a matrix, what fails, and what an interruption leaves."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgerec.benchmarks import roofline, rounds, workers
from edgerec.benchmarks.bench import Beside, Images, Row, bench_files, open_row
from edgerec.benchmarks.configurations import Configuration, matrix
from edgerec.benchmarks.document import Document
from edgerec.benchmarks.measured import Peaks
from edgerec.benchmarks.measuring import Extras
from edgerec.benchmarks.rounds import Schedule
from edgerec.benchmarks.scenarios import Rules
from edgerec.cli import main
from edgerec.data import open_data
from edgerec.runtime.errors import ConfigError

ONCE = Schedule(starts=1, rounds=1, block_ms=1, warmup_limit_s=0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command measures as shortly as these tests do, and takes the machine's peaks as given."""
    monkeypatch.setattr(rounds, "Schedule", lambda **_asked: ONCE)
    monkeypatch.setattr(roofline, "machine_peaks", lambda threads, _size: Peaks(threads, {"fp32": 100.0, "int8": 400.0}, 20.0))


@pytest.fixture
def twin(exported: Path, tmp_path: Path) -> Path:
    """The exported file, twice as wrong: its two classes are told the other way round."""
    model = onnx.load(exported / "a.onnx")
    head = next(one for one in model.graph.node if model.graph.output[0].name in one.output)
    for one in model.graph.initializer:
        if one.name in head.input:
            one.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(one), one.name))
    onnx.save(model, tmp_path / "twin.onnx")
    return tmp_path / "twin.onnx"


def document_of(capsys: pytest.CaptureFixture[str]) -> Document:
    return Document.from_json(capsys.readouterr().out)


def test_rows_of_one_model_share_its_accuracy_and_have_their_own_times(exported: Path, twin: Path) -> None:
    data = open_data(str(exported / "data"))
    opened = {file: open_row(Configuration(file, threads=1)).candidate for file in (exported / "a.onnx", twin)}
    rows = [Row(one, opened[one.file]) for one in matrix(Configuration(twin), files=list(opened), threads=[1], batches=[1, 8])]
    document = bench_files(rows, Images(data.test, "test", data.fingerprint), ONCE, Beside(has_roofline=True))
    assert [(one.file, one.batch) for one in document.records] == [("a.onnx", 1), ("twin.onnx", 1), ("a.onnx", 8), ("twin.onnx", 8)]
    assert [one.accuracy and one.accuracy.top1 for one in document.records] == [1.0, 0.0, 1.0, 0.0]
    assert [one.agreement and one.agreement.drop_points for one in document.records] == [None, 100.0, None, 100.0]
    assert [one.speedup and one.speedup.ratio == 1 for one in document.records] == [True, False, True, False], (
        "each batch has its reference"
    )
    for one in document.records:
        assert one.throughput_images_per_s == pytest.approx(one.batch * 1e3 / one.latency.p50_ms)
        assert one.resources is not None
        assert (one.roofline is not None) == (one.batch == 1)
        assert one.stages is not None, "the split's first image is the picture"
    assert Document.from_json(document.to_json()) == document


def test_without_images_there_are_times_and_no_accuracy(bare: Path) -> None:
    from edgerec.runtime.spec import ModelSpec

    document = bench_files([open_row(Configuration(bare, threads=1), lambda known: known or ModelSpec(()))], schedule=ONCE)
    (record,) = document.records
    assert (record.accuracy, record.agreement, record.split, record.data_fingerprint) == (None, None, "", "")
    assert record.latency.p50_ms > 0
    with pytest.raises(ConfigError):
        bench_files([])


def test_what_is_fed_to_the_clock_is_the_data(exported: Path, tmp_path: Path) -> None:
    data, seen = open_data(str(exported / "data")), list[Path | None]()

    def command(configuration: Configuration, cores: Sequence[int]) -> Sequence[str]:
        seen.append(configuration.inputs)
        assert configuration.inputs is not None
        assert np.load(configuration.inputs)["input"].shape == (3, 1, 12, 12)
        return workers.launch(configuration, cores)

    row = open_row(Configuration(exported / "a.onnx", threads=1, batch=3))
    assert bench_files([row], Images(data.test), ONCE, command=command).records
    assert seen[0] is not None
    assert not seen[0].exists(), "nothing is left in the temporary folder"


def test_scenarios_are_kept_and_short_ones_do_not_count(exported: Path) -> None:
    beside = Beside(Extras(scenarios=("single-stream", "offline"), rules=Rules(0.05)))
    (record,) = bench_files([open_row(Configuration(exported / "a.onnx", threads=1))], schedule=ONCE, beside=beside).records
    assert [(one.name, one.valid) for one in record.scenarios] == [("single-stream", False), ("offline", False)]


@pytest.mark.parametrize("stage", ["measure", "score"])
def test_ctrl_c_leaves_what_is_done(exported: Path, twin: Path, stage: str) -> None:
    data = open_data(str(exported / "data"))

    def interrupt(found: str, _done: int, _all: int) -> None:
        if found == stage:
            raise KeyboardInterrupt

    rows = [open_row(Configuration(file, threads=1)) for file in (exported / "a.onnx", twin)]
    document = bench_files(rows, Images(data.test), replace(ONCE, starts=2), progress=interrupt)
    assert document.partial
    assert [one.file for one in document.records] == ["a.onnx", "twin.onnx"]
    assert [one.accuracy for one in document.records] == [None, None]


def test_an_interrupted_command_writes_its_files_and_says_so(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgerec.benchmarks import bench

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "score_files", interrupted)
    table = tmp_path / "t.csv"
    arguments = ["bench", str(exported / "a.onnx"), "--data", str(exported / "data"), "--starts", "1", "--csv", str(table), "--json"]
    assert main(arguments) == 130
    out, err = capsys.readouterr()
    assert Document.from_json(out).partial
    assert "interrupted" in err
    assert "Traceback" not in err
    assert table.read_text().splitlines()[1].startswith("a.onnx,")


def test_a_file_that_fails_has_a_row_that_says_why_and_the_others_go_on(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    arguments = ["bench", str(broken), str(exported / "a.onnx"), "--data", str(exported / "data"), "--starts", "1"]
    assert main([*arguments, "--json"]) == 1
    out, err = capsys.readouterr()
    document = Document.from_json(out)
    assert [one.file for one in document.records] == ["a.onnx"]
    assert [one.file for one in document.failures] == ["broken.onnx"]
    assert str(tmp_path) not in out
    assert err.splitlines()[-1].startswith("failed: broken.onnx, cpu: ")
    assert main([*arguments, "--provider", "cpu", "--provider", "cuda", "-q"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    failed = [line.split(":")[1].strip() for line in err.splitlines() if line.startswith("failed: ")]
    assert failed == ["broken.onnx, cpu", "broken.onnx, cuda", "a.onnx, cuda"]


def test_a_file_that_dies_in_the_measurement_is_a_row_as_well(
    exported: Path, twin: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgerec.cli import eager

    def command(configuration: Configuration, cores: Sequence[int]) -> list[str]:
        return ["/bin/false"] if configuration.file == twin else workers.launch(configuration, cores)

    monkeypatch.setattr(eager, "launch", command)
    assert main(["bench", str(exported / "a.onnx"), str(twin), "--data", str(exported / "data"), "--starts", "1", "--json"]) == 1
    document = document_of(capsys)
    assert ([one.file for one in document.records], [one.file for one in document.failures]) == (["a.onnx"], ["twin.onnx"])


def test_images_of_other_classes_fail_their_file_only(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], error_of: Callable[..., str]
) -> None:
    model = onnx.load(exported / "a.onnx")
    entry = next(one for one in model.metadata_props if one.key == "edgerec")
    entry.value = entry.value.replace('"dark"', '"night"')
    onnx.save(model, tmp_path / "night.onnx")
    data = str(exported / "data")
    assert "night" in error_of("bench", str(tmp_path / "night.onnx"), "--data", data)
    assert main(["bench", str(exported / "a.onnx"), str(tmp_path / "night.onnx"), "--data", data, "--starts", "1", "--json"]) == 1
    assert "other classes" in document_of(capsys).failures[0].error


def test_images_without_labels_give_agreement(exported: Path, twin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 12, 12, 1), np.uint8)
    np.savez(tmp_path / "plain.npz", images=pixels)
    arguments = ["bench", str(exported / "a.onnx"), str(twin), "--data", str(tmp_path / "plain.npz"), "--starts", "1"]
    assert main([*arguments, "--json"]) == 0
    first, second = document_of(capsys).records
    assert (first.accuracy, second.accuracy) == (None, None)
    assert second.agreement is not None
    assert second.agreement.agreement < 1
    assert second.agreement.drop_points is None
    assert main(arguments) == 0
    assert "agreement" in capsys.readouterr().out


def test_a_model_that_returns_nan_keeps_its_times(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(exported / "a.onnx")
    weight = next(one for one in model.graph.initializer if len(one.dims) > 1)
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full(list(weight.dims), np.nan, np.float32), weight.name))
    onnx.save(model, tmp_path / "nan.onnx")
    files = [str(exported / "a.onnx"), str(tmp_path / "nan.onnx")]
    assert main(["bench", *files, "--data", str(exported / "data"), "--starts", "1", "--json"]) == 1
    document = document_of(capsys)
    assert [one.file for one in document.records] == ["a.onnx", "nan.onnx"]
    assert "NaN" in document.failures[0].error


@pytest.mark.parametrize(
    "arguments",
    [
        ["--scenario", "sideways"],
        ["--profile", "warp"],
        ["--split", "tomorrow"],
        ["--html", "no/such/folder/r.html"],
        ["--data", "nowhere"],
    ],
)
def test_wrong_options_are_refused_before_anything_is_measured(
    exported: Path, error_of: Callable[..., str], arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgerec.benchmarks import measuring

    monkeypatch.setattr(measuring, "Worker", None)
    error_of("bench", str(exported / "a.onnx"), "--data", str(exported / "data"), *arguments)


def test_several_batches_are_rows_of_the_table(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(exported / "a.onnx"), "--starts", "1", "--batch", "1", "--batch", "4", "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    heading, *rows = out.splitlines()
    assert "batch" in heading.split()
    assert "threads" not in heading.split(), "it is the same in every row"
    assert len(rows) == 2
    assert "scored" not in err


def test_records_know_what_could_not_be_measured(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    assert main(["bench", str(exported / "a.onnx"), "--image", str(tmp_path / "text.jpg"), "--starts", "1", "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)["records"]
    assert "cannot be decoded" in record["notes"][0]
