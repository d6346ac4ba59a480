"""The document of a benchmark and back, and what is refused."""

import json
from dataclasses import replace

import pytest

from edgerec.benchmarks.accuracy import Accuracy
from edgerec.benchmarks.document import Document, Failed
from edgerec.benchmarks.latency import Latency, Speedup
from edgerec.benchmarks.measured import (
    Agreement,
    ClassChange,
    Corrupted,
    Flip,
    OperatorCost,
    Peaks,
    Resources,
    Roofline,
    Scenario,
    Stages,
    Watch,
)
from edgerec.benchmarks.records import Machine, Record
from edgerec.runtime.errors import DataError

RECORD = Record(
    file="small.int8.onnx",
    size_bytes=123,
    sha256="ab" * 32,
    provider="cpu",
    threads=1,
    latency=Latency(0.34, 0.35, 0.4, 0.33, 2000, 0.9, (0.33, 0.35), (0.34, 0.36), (0.38, 0.5), (0.33, 0.34, 0.9), 40),
    machine=Machine("AMD EPYC", ("avx2",), 2, "x86_64", "Linux 6.1", "3.11.7"),
    versions={"onnxruntime": "1.32.0"},
    accuracy=Accuracy(0.5, 1.0, 0.1, 0.9, 2, (1.0, None), ((1, 0), (1, 0))),
    speedup=Speedup(2.0, 1.9, 2.1),
    watch=Watch(("other processes used 40 % of the cores",), 1, 0.4, 0.0, 0.01, (1200.0, 3400.0), "powersave", 4096, 0.1),
    resources=Resources(300.0, 40.0, 5.0, 90_000_000, 80_000_000, (0.1, -1.0, 1.2), 0.4, 0.002),
    stages=Stages(1.0, 0.2, 0.01, 0.34, 0.02),
    scenarios=(Scenario("offline", "images_per_s", 4000.0, 24_576, 60.0, valid=True),),
    agreement=Agreement(
        2,
        0.5,
        (0.1, 0.9),
        1,
        0,
        50.0,
        (-10.0, 90.0),
        1.0,
        (ClassChange(0, 1, 1.0, 0.0, 100.0, (0.0, 100.0)),),
        (Flip("a.png", 0, 0, 1),),
        31.0,
    ),
    corrupted=(Corrupted("noise", 3, 2, 0.5, (0.1, 0.9), 0.0, (-50.0, 50.0)),),
    roofline=Roofline(
        10, 20, 1.5, "int8", 0.6, Peaks(1, {"fp32": 50.0, "int8": 220.0}, 12.0), (OperatorCost("Conv", "int8", 3, 0.2, 10, 20),)
    ),
)
DOCUMENT = Document(
    (RECORD, replace(RECORD, target="ssh://board", agreement=None)),
    (Failed("a.onnx", "cuda", None, "not installed"),),
    "edgerec bench a.onnx",
    "2026-11-26T02:00:00Z",
    partial=True,
    labels=("cat", "dog"),
)


def test_a_document_comes_back_whole() -> None:
    assert Document.from_json(DOCUMENT.to_json()) == DOCUMENT
    assert Record.from_json(RECORD.to_json()) == RECORD


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        DOCUMENT.to_json().replace("0.34", '"fast"', 1),
        DOCUMENT.to_json().replace('"threads": 1', '"threads": "1"', 1),
        json.dumps(json.loads(DOCUMENT.to_json()) | {"records": 3}),
        json.dumps(json.loads(DOCUMENT.to_json()) | {"colour": "red"}),
        json.dumps(json.loads(DOCUMENT.to_json()) | {"document_version": 99}),
        "[" * 100_000,
    ],
)
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        Document.from_json(text)
