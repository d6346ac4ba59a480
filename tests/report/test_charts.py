"""Charts: what they say, what is left out, and their pictures."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from edgerec.benchmarks.document import Document
from edgerec.benchmarks.latency import Latency
from edgerec.benchmarks.records import Machine, Record
from edgerec.benchmarks.report import write_charts
from edgerec.benchmarks.report.charts import charts_of
from edgerec.benchmarks.report.drawing import NARROW, WIDE, to_svg
from edgerec.benchmarks.report.naming import key_of, name_records, printable
from edgerec.benchmarks.report.theme import DARK, LIGHT
from edgerec.benchmarks.report.tradeoff import front_of
from edgerec.runtime.errors import OutputError

ALL = ["tradeoff", "percentiles", "distribution", "stages", "operators", "start", "roofline", "memory", "classes", "corruptions"]
BARE = Record("a.onnx", 1_500_000, "", "cpu", 2, Latency(1.25, 2.0, 20.0, 1.0, 9), Machine("cpu", (), 1, "x86_64", "Linux", "3.11"), {})


def test_every_part_of_a_record_has_its_chart(make_document: Callable[[int], Document]) -> None:
    document = make_document(4)
    assert list(charts_of(name_records(document.records), document.labels)) == ALL


@pytest.mark.parametrize(
    ("part", "gone"),
    [
        ("accuracy", {"tradeoff"}),
        ("stages", {"stages"}),
        ("resources", {"start", "memory"}),
        ("roofline", {"operators", "roofline"}),
        ("agreement", {"classes"}),
        ("corrupted", {"corruptions"}),
    ],
)
def test_a_part_that_is_missing_takes_its_charts_along(part: str, gone: set[str], make_document: Callable[[int], Document]) -> None:
    records = [replace(record, **{part: () if part == "corrupted" else None}) for record in make_document(2).records]
    assert set(charts_of(name_records(records), ())) == set(ALL) - gone


def test_a_bare_record_has_its_percentiles_and_an_empty_document_nothing() -> None:
    assert list(charts_of(name_records([BARE]), ())) == ["percentiles"]
    assert charts_of((), ()) == {}


def test_figures_that_no_scale_can_hold_are_left_out(make_document: Callable[[int], Document]) -> None:
    record, other = make_document(2).records
    odd = replace(record, latency=replace(record.latency, p50_ms=float("nan"), p50_interval_ms=None, quantiles_ms=(float("inf"),) * 101))
    charts = charts_of(name_records([odd, other]), ())
    assert [told[0] for told in charts["tradeoff"].told] == ["B"]
    assert all(told.startswith("B") for told in charts["distribution"].told)
    assert "<svg" in to_svg(charts["percentiles"], NARROW)


def test_the_front_by_hand() -> None:
    rows = [
        {"key": key, "p50_ms": p50, "top1": top1}
        for key, p50, top1 in (("A", 4, 90), ("B", 2, 91), ("C", 1, 80), ("D", 1, 79), ("E", 3, 91))
    ]
    assert [row["key"] for row in front_of(rows)] == ["C", "B"], "A, E are slower than B and no better; D is worse than C"


def test_labels_state_the_figures(make_document: Callable[[int], Document]) -> None:
    charts = charts_of(name_records(make_document(3).records), ("cat",))
    assert "B r20.int8.onnx: 91.81 % top-1 (91.26 to 92.33 %) in 0.330 ms" in charts["tradeoff"].label
    assert "A r20.onnx: 65.4 MB at the peak, 61.3 MB after the last run" in charts["memory"].label
    assert "and 48 more in the table below" in charts["corruptions"].label, "3 files x 4 corruptions x 5 severities, twelve of them named"
    assert len(charts["corruptions"].table.rows) == 60
    assert {len(row) for chart in charts.values() for row in chart.table.rows} == {len(charts[name].table.columns) for name in charts}


def test_far_below_the_best_is_named_and_not_drawn(make_document: Callable[[int], Document]) -> None:
    record, other = make_document(2).records
    assert other.accuracy is not None
    chart = charts_of(name_records([record, replace(other, accuracy=replace(other.accuracy, top1=0.4))]), ())["tradeoff"]
    assert "B lies below the picture, at 40.00 %" in chart.finding
    svg = to_svg(chart, WIDE)
    assert 'aria-label="A r20.onnx: 91.73 %' in svg
    assert 'aria-label="B' not in svg
    assert len(chart.table.rows) == 2


def test_every_mark_of_a_chart_says_its_figures(make_document: Callable[[int], Document]) -> None:
    for chart in charts_of(name_records(make_document(2).records), ()).values():
        labels = {element.get("aria-label") for element in ElementTree.fromstring(to_svg(chart, WIDE)).iter()}
        assert set(chart.told) <= labels, chart.name


def test_names_differ_where_the_records_do() -> None:
    records = [BARE, replace(BARE, provider="cuda"), replace(BARE, threads=1, target="ssh://board")]
    assert [one.name for one in name_records(records)] == [
        "a.onnx · cpu · 2 threads",
        "a.onnx · cuda · 2 threads",
        "a.onnx · cpu · 1 thread · ssh://board",
    ]
    assert [one.label for one in name_records([BARE])] == ["A a.onnx"]
    assert [key_of(at) for at in (0, 25, 26, 52, 701, 702)] == ["A", "Z", "AA", "BA", "ZZ", "AAA"]
    assert printable("a\n\x00b\u202ec") == "a bc"


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours by WCAG 2.2's formula."""

    def luminance(color: str) -> float:
        channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colors", [LIGHT, DARK])
def test_colors_can_be_seen_and_text_read(colors: dict[str, str]) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for ground in (colors["ground"], colors["panel"]):
        assert all(contrast(colors[name], ground) >= 4.5 for name in ("ink", "muted", "link"))
        assert all(contrast(color, ground) >= 3 for name, color in colors.items() if name[0] == "s" or name == "warn")


def test_pictures_of_every_chart(tmp_path: Path, make_document: Callable[[int], Document]) -> None:
    written = write_charts(make_document(2), tmp_path / "charts")
    assert sorted(path.name for path in written) == sorted(f"{name}.{form}" for name in ALL for form in ("png", "svg"))
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                colors = picture.convert("RGB").getcolors(1 << 24) or []
                found = {color for _count, color in colors}
                assert (255, 255, 255) in found
                assert found & {(11, 98, 196), (194, 65, 12)}, "a mark of the first or the second file"
        else:
            text = path.read_text(encoding="utf-8")
            assert ElementTree.fromstring(text).tag.endswith("svg")
            assert "var(--" not in text


def test_pictures_that_cannot_be_written(tmp_path: Path, make_document: Callable[[int], Document]) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "missing" / "charts"):
        with pytest.raises(OutputError):
            write_charts(make_document(1), folder)


def test_without_the_packages_it_is_said_which_extra_brings_them(tmp_path: Path) -> None:
    code = f"""if True:
        import sys
        sys.modules["vl_convert"] = None
        from importlib import util
        known = util.find_spec
        util.find_spec = lambda name: None if name == "vl_convert" else known(name)
        from pathlib import Path
        from edgerec.benchmarks.document import Document
        from edgerec.benchmarks.report import write_charts, write_html
        for write, where in ((write_html, "page.html"), (write_charts, "charts")):
            try:
                write(Document(()), Path({str(tmp_path)!r}) / where)
            except Exception as error:
                print(type(error).__name__, error)
    """
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert out == ["ConfigError charts need packages that are not installed: vl-convert-python; pip install 'edgerec[toolkit]'"] * 2
    assert list(tmp_path.iterdir()) == []
