"""The judge of the page's bars with made-up openings, and what the page is made of."""

import base64
import io

import pytest
from PIL import Image

from edgerec.benchmarks.page_bars import FILES, FLIPS, Opening, full_document, judge_bars, photo

FAST = Opening(999.0, 10, 10, (), ())


def test_the_bars_as_they_stand_in_the_issue() -> None:
    lines, met = judge_bars(1_999_999, [FAST, FAST, FAST])
    assert met
    assert lines[0] == f"a page of {FILES} files: 2.00 MB (bar: under 2 MB)"


@pytest.mark.parametrize(
    ("size_bytes", "opening"),
    [
        (2_000_000, FAST),
        (10, Opening(1000.0, 10, 10, (), ())),
        (10, Opening(1.0, 9, 10, (), ())),
        (10, Opening(1.0, 0, 0, (), ())),
        (10, Opening(1.0, 10, 10, ("https://example.com/font.woff",), ())),
        (10, Opening(1.0, 10, 10, (), ("an error",))),
    ],
)
def test_each_bar_can_be_missed(size_bytes: int, opening: Opening) -> None:
    assert not judge_bars(size_bytes, [opening] * 3)[1]


def test_one_request_of_many_openings_is_one_too_many() -> None:
    assert not judge_bars(10, [FAST, FAST, FAST, FAST, Opening(1.0, 10, 10, ("http://a",), ())])[1]


def test_the_page_is_as_full_as_it_can_be() -> None:
    records = full_document().records
    assert len(records) == FILES == 10
    assert [len(one.agreement.flips) if one.agreement else 0 for one in records] == [0, *[FLIPS] * 9]
    one, other = (base64.b64decode(photo(seed)) for seed in (1, 2))
    assert one != other
    assert Image.open(io.BytesIO(one)).size == (64, 64)
    assert len(one) > 6000, "a photo does not pack well"
