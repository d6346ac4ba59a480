"""The CSV and markdown forms of a benchmark."""

import csv
import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from edgerec.benchmarks.document import Document, Failed
from edgerec.benchmarks.latency import Latency
from edgerec.benchmarks.records import Machine, Record
from edgerec.benchmarks.report import to_csv, to_markdown

BARE = Record("a.onnx", 1_500_000, "", "cpu", 2, Latency(1.25, 2.0, 20.0, 1.0, 9), Machine("cpu", (), 1, "x86_64", "Linux", "3.11"), {})


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_one_exact_row_a_record_and_one_a_failure(make_document: Callable[[int], Document]) -> None:
    document = make_document(3)
    rows = rows_of(to_csv(document))
    assert len(rows) == len(document.records) + len(document.failures)
    for row, record in zip(rows, document.records, strict=False):
        assert row["file"] == record.file
        assert float(row["p50_ms"]) == record.latency.p50_ms
        assert record.accuracy is not None
        assert float(row["top1"]) == record.accuracy.top1
    assert [row["error"] for row in rows] == ["", "", "", *(one.error for one in document.failures)]
    assert rows[3]["p50_ms"] == ""


def test_csv_keeps_its_headings_when_parts_are_missing(make_document: Callable[[int], Document]) -> None:
    bare, full = to_csv(Document((BARE,))), to_csv(make_document(2))
    assert bare.splitlines()[0] == full.splitlines()[0]
    row = rows_of(bare)[0]
    assert (row["p50_ms"], row["size_bytes"], row["top1"], row["speedup"], row["peak_bytes"]) == ("1.25", "1500000", "", "", "")


def test_csv_begins_no_cell_like_a_formula(hostile: Document) -> None:
    rows = rows_of(to_csv(hostile))
    assert rows[0]["provider"] == "'=cmd()"
    assert rows[0]["file"] == hostile.records[0].file, "quotes, commas and line ends come back"
    assert not any(cell.startswith(("=", "@", "+")) for row in rows for cell in row.values())


def test_markdown_by_hand() -> None:
    document = Document((BARE,), (Failed("b|c.onnx", "cuda", None, "not <there>"),), "edgerec bench a.onnx", "2026-11-26T02:00:00Z")
    assert to_markdown(document) == (
        "| file | on | threads | size, MB | p50, ms (interval) | p90, ms | p99, ms |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| a.onnx | cpu | 2 | 1.50 | 1.250 | 2.000 | 20.00 |\n"
        "\n"
        "Without figures:\n"
        "\n"
        "| file | on | threads | machine | why |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| b\\|c.onnx | cuda |  |  | not &lt;there&gt; |\n"
        "\n"
        "Measured on cpu, 1 core, Linux, Python 3.11.\n"
        "\n"
        "`edgerec bench a.onnx`  \n"
        "2026-11-26T02:00:00Z\n"
    )


def test_markdown_shows_every_part_that_is_there(make_document: Callable[[int], Document]) -> None:
    text = to_markdown(make_document(3))
    head = text.splitlines()[0]
    for heading in ("top-1", "speed-up", "peak memory", "cold start", "limited by", "disturbed by"):
        assert heading in head
    assert "mJ" not in head, "no energy was measured"
    assert "machine" not in head, "all was measured here"
    assert "other processes used 31 % of the cores" in text
    assert len({line.count("|") for line in text.splitlines()[:5]}) == 1


def test_markdown_shows_text_as_it_is(hostile: Document) -> None:
    text = to_markdown(hostile)
    table = text.split("\n\n")[1].splitlines()
    assert "<script>" not in "\n".join(table)
    assert len(table) == 3, "a line end in a name begins no row"
    assert table[2].replace("\\|", "").count("|") == table[0].count("|")
    assert text.startswith("**Interrupted:**")


@pytest.mark.parametrize("form", [to_csv, to_markdown])
def test_the_same_document_gives_the_same_text(form: Callable[[Document], str], make_document: Callable[[int], Document]) -> None:
    document = make_document(4)
    assert form(document) == form(Document.from_json(document.to_json()))
    assert form(replace(document, records=())), "a document of failures alone has a form too"


def test_they_need_nothing_but_numpy() -> None:
    code = "import sys, edgerec.benchmarks.report.text; print(*{m.partition('.')[0] for m in sys.modules})"
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"altair", "vl_convert", "torch", "onnx", "onnxruntime", "PIL"} & set(out)
