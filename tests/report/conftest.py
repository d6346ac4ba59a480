"""Pages to look at: of made-up documents with every part filled, of hostile texts, of the largest thumbnails."""

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgerec.benchmarks.document import Document, Failed
from edgerec.benchmarks.made_up import MACHINE, document, record
from edgerec.benchmarks.measured import Flip, Watch
from edgerec.benchmarks.report import write_html


@pytest.fixture(scope="session")
def make_document() -> Callable[[int], Document]:
    """Return a maker of documents with a number of files; the fifth is the first again under another name, and so on."""
    return document


@pytest.fixture(scope="session")
def hostile() -> Document:
    """Return a document whose texts try to become markup, code or formulas."""
    nasty = "<script>alert(1)</script>\"'&|`*_x_\n=1+1.onnx"
    flip = Flip(nasty, 0, 0, 1, 'x" onerror="alert(1)')
    plain = record(1)
    assert plain.agreement is not None
    one = replace(
        plain,
        file=nasty,
        provider="=cmd()",
        target="</svg><img src=x onerror=alert(1)>",
        watch=Watch((nasty,)),
        agreement=replace(plain.agreement, flips=(flip,)),
        versions={nasty: nasty},
        machine=replace(MACHINE, cpu=nasty),
    )
    return Document((one,), (Failed(nasty, nasty, None, nasty, nasty),), nasty, nasty, partial=True, labels=(nasty, nasty))


@pytest.fixture(scope="session")
def hostile_page(hostile: Document, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of `hostile`."""
    path = tmp_path_factory.mktemp("hostile") / "report.html"
    write_html(hostile, path)
    return path


@pytest.fixture(scope="session")
def ten_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page of ten files, each with 64 thumbnails as large as those of photos: the most that a record keeps."""
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    flips = tuple(Flip(f"{at}.png", 0, 0, 1, base64.b64encode(file.getvalue()).decode()) for at in range(64))
    whole = document(10)
    records = tuple(replace(one, agreement=replace(one.agreement, flips=flips)) if one.agreement else one for one in whole.records)
    path = tmp_path_factory.mktemp("ten") / "report.html"
    write_html(replace(whole, records=records), path)
    return path
