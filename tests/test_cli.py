"""The command as people type it: what it prints and what it leaves behind."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgerec.cli import main


def test_the_whole_road_from_a_folder(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, data = exported, str(exported / "data")
    assert (
        main(
            [
                "prune",
                str(folder / "a.safetensors"),
                "--speedup",
                "1.5",
                "-o",
                str(folder / "b.safetensors"),
                "--plan",
                str(folder / "plan.json"),
                "--data",
                data,
                "-q",
            ]
        )
        == 0
    )
    assert (
        main(["prune", str(folder / "a.safetensors"), "--apply", str(folder / "plan.json"), "-o", str(folder / "again.safetensors"), "-q"])
        == 0
    )
    assert (
        main(
            [
                "distill",
                str(folder / "b.safetensors"),
                "--teacher",
                str(folder / "a.onnx"),
                "--data",
                data,
                "--epochs",
                "2",
                "--batch",
                "16",
                "--augment",
                "none",
                "-o",
                str(folder / "c.safetensors"),
                "-q",
            ]
        )
        == 0
    )
    assert main(["export", str(folder / "c.safetensors"), "-o", str(folder / "c.onnx"), "-q"]) == 0
    assert main(["quantize", str(folder / "c.onnx"), "--data", data, "--force", "-o", str(folder / "c.int8.onnx"), "-q"]) == 0
    capsys.readouterr()
    assert (
        main(
            [
                "bench",
                "--starts",
                "1",
                str(folder / "a.safetensors"),
                str(folder / "a.onnx"),
                str(folder / "c.int8.onnx"),
                "--data",
                data,
                "--threads",
                "1",
                "--json",
            ]
        )
        == 0
    )
    records = json.loads(capsys.readouterr().out)["records"]
    assert [record["provider"] for record in records] == ["torch", "cpu", "cpu"]
    assert [record["accuracy"]["top1"] for record in records] == [1.0] * 3, "dark and bright are easy to tell apart"
    assert records[0]["speedup"]["ratio"] == 1
    assert main(["predict", str(folder / "c.int8.onnx"), str(folder / "data" / "dark" / "0.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["predictions"][0]["label"] == "dark"


def test_the_same_command_gives_the_same_bytes(exported: Path) -> None:
    again = exported / "again.onnx"
    assert main(["export", str(exported / "a.safetensors"), "-o", str(again), "--data", str(exported / "data"), "-q"]) == 0
    assert again.read_bytes() == (exported / "a.onnx").read_bytes()


def test_help_names_every_verb_and_each_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for verb in ("train", "prune", "distill", "export", "quantize", "bench", "diff", "inspect", "predict", "demo", "cache"):
        assert verb in told
        assert main([verb, "--help"]) == 0
        assert f"Example: edgerec {verb}" in " ".join(capsys.readouterr().out.split())


def test_cache_lists_and_clears(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edgerec.runtime import cache

    cache.store("teacher-logits", "key", bytes(2000))
    assert main(["cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kinds"] == {"teacher-logits": {"files": 1, "size_bytes": 2000}}
    assert main(["cache", "--clear", "all"]) == 0
    assert cache.entries() == []


def test_a_seed_does_not_move_images_between_splits(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = str(exported / "data"), exported / "seven.safetensors"
    common = ["--data", data, "--input-size", "1x12x12", "--epochs", "1", "--batch", "16"]
    assert main(["train", "--model", "cnn", *common, "--seed", "7", "-o", str(out), "-q"]) == 0
    from edgerec.train import load_checkpoint

    trained = load_checkpoint(out).spec.provenance.data_fingerprint
    capsys.readouterr()
    assert main(["bench", "--starts", "1", str(exported / "a.onnx"), "--data", data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["records"][0]["data_fingerprint"] == trained


def test_the_demo_does_not_write_into_somebody_elses_folder(tmp_path: Path, error_of: Callable[..., str]) -> None:
    (tmp_path / "README.md").write_text("mine")
    error_of("demo", "-o", str(tmp_path))
    assert (tmp_path / "README.md").read_text() == "mine"


def test_tables_go_to_stdout_and_fit_narrow_terminals(
    exported: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["bench", "--starts", "1", str(exported / "a.onnx"), "--data", str(exported / "data")]
    assert main(arguments) == 0
    wide = capsys.readouterr().out.splitlines()
    assert (len(wide), wide[0].split()[0], wide[1].split()[0]) == (2, "model", "a.onnx")
    monkeypatch.setenv("COLUMNS", "60")
    assert main(arguments) == 0
    narrow = capsys.readouterr().out.splitlines()
    assert max(map(len, narrow)) <= 60
    assert narrow[0].split()[:2] == ["model", "a.onnx"]
