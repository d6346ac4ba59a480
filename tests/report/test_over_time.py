"""The charts over time and their place in the page; how a browser shows charts is in test_browser.py."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgerec.benchmarks.document import Document
from edgerec.benchmarks.history import History, Run
from edgerec.benchmarks.report import to_html, write_charts
from edgerec.benchmarks.report.drawing import NARROW, WIDE, specification
from edgerec.benchmarks.report.over_time import DRAWN, over_time


@pytest.fixture
def history(make_document: Callable[[int], Document]) -> History:
    """Return four runs of two files, the third on another machine."""
    document, runs = make_document(2), []
    for day in range(1, 5):
        where = replace(document.records[0].machine, cpu="another" if day == 3 else "one")
        records = tuple(replace(one, machine=where) for one in document.records)
        runs.append(Run(f"{day}.json", replace(document, records=records, created=f"2026-11-0{day}T08:30:00Z")))
    return History(tuple(runs))


def test_each_file_has_a_chart_of_its_median_and_one_of_its_top1(history: History) -> None:
    charts = over_time(history)
    assert list(charts) == ["history-a-p50", "history-a-top1", "history-b-p50", "history-b-top1"]
    chart = charts["history-b-p50"]
    assert len(chart.told) == len(chart.table.rows) == 4
    assert chart.told[0].startswith("B, 2026-11-01 08:30 UTC: 0.3")
    assert "another machine: another" in chart.told[2]
    assert "against the run before" in chart.told[3]
    assert "4 runs since 2026-11-01" in chart.finding
    for width in (WIDE, NARROW):
        marks = [one["mark"] for one in specification(chart, width)["layer"]]
        assert [one["type"] for one in marks] == ["line", "rule", "point", "point"]
        assert [one.get("fill") for one in marks if one["type"] == "point"] == [None, "var(--ground)"], "hollow on another machine"


def test_what_cannot_be_drawn_is_left_out(history: History) -> None:
    assert over_time(History(history.runs[:1])) == {}, "one run is no course"
    undated = tuple(replace(one, document=replace(one.document, created="")) for one in history.runs)
    assert over_time(History(undated)) == {}
    unscored = tuple(
        replace(one, document=replace(one.document, records=tuple(replace(record, accuracy=None) for record in one.document.records)))
        for one in history.runs
    )
    assert list(over_time(History(unscored))) == ["history-a-p50", "history-b-p50"]


def test_a_long_history_is_drawn_to_its_last_runs(history: History) -> None:
    document = history.runs[0].document
    stamps = [f"2026-{month:02}-{day:02}T08:30:00Z" for month in range(1, 5) for day in range(1, 21)]
    runs = tuple(Run(stamp, Document(document.records[:1], created=stamp)) for stamp in stamps)
    chart = over_time(History(runs))["history-a-p50"]
    assert len(chart.told) == DRAWN < len(chart.table.rows) == len(runs)
    assert chart.told[-1].startswith("A, 2026-04-20")
    assert f"80 runs since 2026-01-01, the last {DRAWN} drawn" in chart.finding


def test_the_page_shows_the_history_with_a_run_or_alone(history: History, make_document: Callable[[int], Document]) -> None:
    both, alone = to_html(make_document(2), history), to_html(Document(()), history)
    assert '<section id="history"' in both
    assert '<section id="results"' in both
    assert alone.count("<section") == 1
    assert "4 runs, 2026-11-01 to 2026-11-04" in alone
    assert both.count('<figure id="history-') == 4


def test_pictures_of_the_history(history: History, tmp_path: Path) -> None:
    one = History(tuple(replace(run, document=replace(run.document, records=run.document.records[:1])) for run in history.runs))
    written = write_charts(Document(()), tmp_path / "charts", one)
    assert [path.name for path in written] == [f"history-a-{name}.{kind}" for name in ("p50", "top1") for kind in ("png", "svg")]
    assert all(path.stat().st_size > 1000 for path in written)


@pytest.mark.parametrize(("minutes", "form"), [(9, "%H:%M:%S"), (600, "%H:%M"), (2000, None)])
def test_the_axis_says_the_hour_of_runs_of_one_day(minutes: int, form: str | None, history: History) -> None:
    start = datetime(2026, 11, 1, 8, 30, tzinfo=UTC)
    stamps = [f"{start + timedelta(minutes=at * minutes):%Y-%m-%dT%H:%M:%SZ}" for at in (0, 1)]
    runs = tuple(Run(stamp, Document(history.runs[0].document.records[:1], created=stamp)) for stamp in stamps)
    drawn = specification(over_time(History(runs))["history-a-p50"], 720)
    assert {layer["encoding"]["x"]["axis"].get("format") for layer in drawn["layer"]} == {form}
