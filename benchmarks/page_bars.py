"""Whether the report's page is small, quick to open, and asks nobody for anything: ten files with every part, in Chromium, from disk.

    python -m edgerec.benchmarks.page_bars [--output FILE] [--screenshots FOLDER]

Four bars: under 2 MB; open in under 1 s (median of five, in a browser that was just started); no request; no complaint on the console. Open means:
from the start of the navigation until every chart has its size and two frames were drawn after that, by the page's own clock. Each of the
nine files that are compared has 64 thumbnails, 64 pixels wide, as photos are. Needs a Chromium on the PATH, and the extra `toolkit`. Takes 20 s.
"""

import argparse
import base64
import io
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from ..runtime.errors import ConfigError
from ..runtime.files import check_writable, write_text
from .document import Document
from .made_up import document
from .measured import Flip
from .page_browser import NAMES, PROGRAM, Browser
from .records import machine, versions
from .report import write_html

FILES, FLIPS, SIDE, OPENINGS = 10, 64, 64, 5
BYTES_BAR, MS_BAR = 2_000_000, 1000.0
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
# The page's own clock starts with the navigation; the second frame comes after the first was painted.
DRAWN = """new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
    const shown = [...document.querySelectorAll('.chart svg')].filter(one => one.getBoundingClientRect().height > 50);
    done([performance.now(), shown.length, document.querySelectorAll('figure').length]);
})))"""
COMPLAINTS = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


@dataclass(frozen=True, slots=True)
class Opening:
    """One time that the page was opened.

    Attributes:
        ms: Until all charts were drawn.
        drawn: Charts that had a size.
        charts: Charts of the page.
        asked: Addresses that were asked for, the page itself and data in it aside.
        complaints: What the console got.
    """

    ms: float
    drawn: int
    charts: int
    asked: tuple[str, ...]
    complaints: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the record, and return 1 when a bar is missed.

    Raises:
        ConfigError: There is no browser.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "page_bars.json")
    parser.add_argument(
        "--screenshots", type=Path, help="a folder: also write what the page looks like, in light and dark, wide and narrow"
    )
    given = parser.parse_args(arguments)
    check_writable(given.output)
    if PROGRAM is None:
        raise ConfigError("there is no browser", f"none of {', '.join(NAMES)} is on the PATH", "install Chromium")
    with TemporaryDirectory(prefix="edgerec-page-", ignore_cleanup_errors=True) as folder:
        page = Path(folder) / "report.html"
        write_html(full_document(), page)
        size = page.stat().st_size
        browser = Browser(Path(folder) / "profile")
        try:
            openings = [open_once(browser, page) for _ in range(OPENINGS)]
            if given.screenshots:
                take_screenshots(browser, page, given.screenshots)
            version = browser.call("Browser.getVersion")["product"]
        finally:
            browser.close()
    lines, met = judge_bars(size, openings)
    print("\n".join(lines))
    found = {"size_bytes": size, "openings": [asdict(one) for one in openings], "met": met}
    about = {"machine": asdict(machine()), "versions": versions(), "browser": version}
    write_text(given.output, json.dumps({**about, **found}, indent=1) + "\n")
    return int(not met)


def judge_bars(size_bytes: int, openings: Sequence[Opening]) -> tuple[list[str], bool]:
    """Return what to print, and whether every bar is met."""
    took = statistics.median(one.ms for one in openings)
    longest = max(one.ms for one in openings)
    asked = sum(len(one.asked) for one in openings)
    complaints = sum(len(one.complaints) for one in openings)
    drawn = min(one.drawn for one in openings)
    charts = max(one.charts for one in openings)
    met = size_bytes < BYTES_BAR and took < MS_BAR and asked == complaints == 0 and drawn == charts > 0
    return [
        f"a page of {FILES} files: {size_bytes / 1e6:.2f} MB (bar: under {BYTES_BAR / 1e6:g} MB)",
        f"opened from disk, {drawn} of {charts} charts drawn: {took:.0f} ms, at most {longest:.0f} (bar: {MS_BAR:.0f} ms, median of {OPENINGS})",
        f"requests to any network: {asked} (bar: 0)",
        f"complaints on the console: {complaints} (bar: 0)",
    ], met


def open_once(browser: Browser, page: Path) -> Opening:
    """Open the page and wait until it is drawn."""
    browser.evaluate("location.replace('about:blank')")
    browser.open(page, width=SIZES["desk"][0], height=SIZES["desk"][1])
    ms, drawn, charts = browser.evaluate(DRAWN)
    urls = [str(seen["request"]["url"]) for method, seen in browser.events if method == "Network.requestWillBeSent"]
    asked = tuple(url for url in urls if not url.startswith("data:") and url != page.as_uri())
    complaints = tuple(json.dumps(seen) for method, seen in browser.events if method in COMPLAINTS)
    return Opening(ms, drawn, charts, asked, complaints)


def take_screenshots(browser: Browser, page: Path, folder: Path) -> None:
    """Write pictures of the whole page, one for each size and colour setting."""
    folder.mkdir(exist_ok=True)
    for name, (width, height) in SIZES.items():
        for dark in (False, True):
            browser.open(page, width=width, height=height, dark=dark)
            browser.screenshot(whole=True).save(folder / f"{name}-{'dark' if dark else 'light'}.png")


def full_document() -> Document:
    """Return ten files; each that is compared has all the flips that a record keeps, with thumbnails as large as those of photos."""
    whole = document(FILES)
    records = [
        replace(one, agreement=replace(one.agreement, flips=tuple(_flip(at, number) for number in range(FLIPS)))) if one.agreement else one
        for at, one in enumerate(whole.records)
    ]
    return replace(whole, records=tuple(records))


def _flip(file: int, number: int) -> Flip:
    return Flip(f"test/{file}{number:03}.png", number % 10, number % 10, (number + 3) % 10, photo(FLIPS * file + number))


def photo(seed: int) -> str:
    """Return a PNG, base64, that packs as badly as a photo's thumbnail: its amplitudes fall with the frequency (Field 1987, doi 10.1364/JOSAA.4.002379)."""
    draws = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))  # (SIDE, SIDE)
    frequency[0, 0] = 1 / SIDE
    planes = [np.fft.ifft2(np.fft.fft2(draws.normal(size=(SIDE, SIDE))) / frequency).real for _color in range(3)]
    mixed = np.stack([planes[0] + 0.3 * one for one in planes], axis=-1)  # (SIDE, SIDE, 3): colours of a photo go together
    scaled = 127.5 + 50 * (mixed - mixed.mean()) / mixed.std()
    file = io.BytesIO()
    Image.fromarray(scaled.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    sys.exit(main())
