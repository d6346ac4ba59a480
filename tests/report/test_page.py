"""The page as text: whole, self-contained, safe, the same every time. How a browser shows it is in test_browser.py."""

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from edgerec.benchmarks.document import Document
from edgerec.benchmarks.latency import Latency
from edgerec.benchmarks.measured import Flip
from edgerec.benchmarks.records import Machine, Record
from edgerec.benchmarks.report import to_html, write_html
from edgerec.benchmarks.report.charts import charts_of
from edgerec.benchmarks.report.gallery import thumbnail_of
from edgerec.benchmarks.report.naming import name_records
from edgerec.runtime.errors import OutputError

BARE = Record("a.onnx", 1_500_000, "", "cpu", 2, Latency(1.25, 2.0, 20.0, 1.0, 9), Machine("cpu", (), 1, "x86_64", "Linux", "3.11"), {})
EMPTY = {"meta", "link", "img", "br", "path", "rect", "line"}  # of which no end tag is expected


class Tree(HTMLParser):
    """Every start tag with its attributes, and every text; an end tag that fits no start tag is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.script = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.script += data
        elif self._open and self._open[-1] != "style":
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(make_document: Callable[[int], Document]) -> str:
    return to_html(make_document(3))


@pytest.fixture(scope="module")
def tree(page: str) -> Tree:
    return Tree(page)


def test_it_holds_every_chart_twice_with_the_figures_in_words(tree: Tree, make_document: Callable[[int], Document]) -> None:
    document = make_document(3)
    charts = charts_of(name_records(document.records), document.labels)
    assert [figure["id"] for figure in tree.all("figure")] == list(charts)
    drawn = [div for div in tree.all("div") if (div.get("class") or "").startswith("chart ")]
    assert [div["aria-label"] for div in drawn] == [chart.label for chart in charts.values() for _size in range(2)]
    assert len(tree.all("svg")) == 2 * len(charts)
    said = [attributes.get("aria-label") for _tag, attributes in tree.tags]
    for chart in charts.values():
        assert all(said.count(told) == 2 for told in chart.told), chart.name
        assert all(cell in tree.texts for row in chart.table.rows for cell in row[:1]), chart.name


def test_it_asks_nobody_for_anything(page: str, tree: Tree) -> None:
    for _tag, attributes in tree.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (name, value)
    style = re.search("<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    addresses = set(re.findall(r"https?://[^\"' )<]+", page))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, "names of XML, which nobody fetches"
    for word in ("fetch(", "XMLHttpRequest", "WebSocket", "import(", "sendBeacon", "innerHTML", "eval("):
        assert word not in tree.script


def test_its_policy_allows_its_own_script_and_no_other(tree: Tree) -> None:
    policy = next(meta["content"] for meta in tree.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(tree.script.encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert len(tree.all("script")) == 1


def test_what_helps_a_screen_reader_is_there(tree: Tree) -> None:
    names = [name for name, _attributes in tree.tags]
    assert all(names.count(landmark) == 1 for landmark in ("h1", "header", "nav", "main", "footer"))
    ids = [attributes["id"] for _tag, attributes in tree.tags if "id" in attributes]
    assert len(ids) == len(set(ids)), "every id once"
    assert all(link["href"][1:] in ids for link in tree.all("a") if link["href"])
    assert all(section["aria-labelledby"] in ids for section in tree.all("section"))
    assert all(chart["aria-describedby"] in ids for chart in tree.all("div") if "aria-describedby" in chart)
    assert names.count("caption") == names.count("table") > 10
    assert all(head.get("scope") in ("row", "col") for head in tree.all("th"))
    levels = [int(name[1]) for name in names if re.fullmatch("h[1-6]", name)]
    assert all(deeper - level <= 1 for level, deeper in pairwise(levels) if deeper != 4), "no level is left out"
    assert all(image["alt"] for image in tree.all("img"))
    assert ("html", {"lang": "en"}) in tree.tags


def test_it_tells_of_failures_disturbances_and_flips(page: str, tree: Tree) -> None:
    shown = " ".join(tree.texts)
    assert "Disturbed: while C was measured, other processes used 31 % of the cores." in shown
    assert "Failed: r20.onnx on cuda, broken.onnx on cpu." in shown
    assert "this is no ONNX file" in shown
    assert "C r20-pruned.onnx (disturbed)" in shown
    assert "edgerec bench r20.onnx r20.int8.onnx broken.onnx" in shown
    assert "avx512_vnni" in shown
    assert "test/0007.png: labelled automobile; A says automobile (right), B says deer (wrong)" in page
    assert len(tree.all("img")) == 15 + 16


def test_what_was_not_measured_is_left_out() -> None:
    tree = Tree(to_html(Document((BARE,))))
    assert [figure["id"] for figure in tree.all("figure")] == ["percentiles"]
    assert [section["id"] for section in tree.all("section")] == ["results", "latency", "machine", "again"]
    nothing = Tree(to_html(Document(())))
    assert nothing.all("section") == nothing.all("figure") == []


def test_names_stay_text(hostile_page: Path) -> None:
    page = hostile_page.read_text(encoding="utf-8")
    tree = Tree(page)
    assert len(tree.all("script")) == 1
    assert "alert" not in tree.script
    assert not any(name.startswith("on") for _tag, attributes in tree.tags for name in attributes), "no attribute that runs"
    assert tree.all("img") == [], "what is no PNG is not shown"
    assert "Interrupted" in page
    assert any("<script>alert(1)</script>" in text for text in tree.texts), "it is shown as it is"


def test_only_a_png_is_a_thumbnail() -> None:
    png, svg = (base64.b64encode(data).decode() for data in (b"\x89PNG\r\n\x1a\nrest", b"<svg onload='alert(1)'/>"))
    given = {png: png, svg: "", "": "", "x": "", 'abcd" onerror="alert(1)': "", png + "\n": ""}
    assert {text: thumbnail_of(Flip("a", 0, 0, 1, text)) for text in given} == given


def test_the_same_document_gives_the_same_bytes(page: str, make_document: Callable[[int], Document]) -> None:
    assert to_html(Document.from_json(make_document(3).to_json())) == page


def test_ten_files_with_large_thumbnails_stay_below_two_megabytes(ten_files: Path) -> None:
    assert ten_files.stat().st_size < 2_000_000, ten_files.stat().st_size
    assert "of 64 kept images shown" in ten_files.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "page.html"):
        with pytest.raises(OutputError):
            write_html(Document((BARE,)), path)
