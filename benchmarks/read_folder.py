"""How fast and in how much memory a folder of JPEGs is read for evaluation.

    python -m edgerec.benchmarks.read_folder

Makes 10,000 images in a temporary folder (200 MB) and reads them in a process of its own, so that making them does not count; takes a
minute, on an otherwise idle machine. Writes `benchmarks/results/read_folder.json` beside this file unless told otherwise, prints the
figures, and ends with 1 when a bar is missed: at least 80 % of the cores busy (1.6 of 2), less than 500 MB at the peak.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..data import open_data
from ..runtime.cores import usable_cores
from ..runtime.files import check_writable, write_text
from .records import machine, versions

CLASSES = 10
WIDTH, HEIGHT = 320, 240
BUSY_BAR = 0.8
PEAK_BAR_MB = 500


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading a folder once took.

    Attributes:
        images: How many were read.
        images_per_s: Decoded, resized and batched.
        cores_busy: CPU seconds a second, of all threads together.
        cores: How many this process may use.
        peak_mb: Largest resident set of the process, interpreter and libraries included.
    """

    images: int
    images_per_s: float
    cores_busy: float
    cores: int
    peak_mb: float


def make_folder(root: Path, count: int) -> None:
    """Write `count` JPEGs of 320x240 pixels: smooth colours with noise, about as large as photographs of that size (20 kB)."""
    for label in range(CLASSES):
        (root / f"class{label}").mkdir()
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(partial(_make_image, root), range(count)))


def read_folder(root: Path, batch_size: int = 64) -> Reading:
    """Read every image of a folder set once, as an evaluation does, and measure.

    Args:
        root: A folder with one sub-folder a class.
        batch_size: Images a batch.
    """
    data = open_data(str(root))
    start, cpu_start = time.perf_counter(), time.process_time()
    splits = (data.train, data.calibration, data.validation, data.test)
    images = sum(len(batch.ids) for split in splits for batch in split.batches(batch_size, data.inputs))
    wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    return Reading(images, round(images / wall_s, 1), round(cpu_s / wall_s, 2), usable_cores(), round(peak_mb(), 1))


def peak_mb() -> float:
    """Return the largest resident set of this process so far, megabytes (10^6 bytes); Linux and macOS."""
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _make_image(root: Path, number: int) -> None:
    from PIL import Image

    noise = np.random.default_rng(number)
    smooth = Image.fromarray(noise.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    grain = noise.integers(-16, 17, (HEIGHT, WIDTH, 1))
    pixels = np.clip(np.asarray(smooth, np.int16) + grain, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(root / f"class{number % CLASSES}" / f"{number:05d}.jpg", quality=85)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the folder unless one is given, read it, print, write the record, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="how many to make and read")
    parser.add_argument("--folder", type=Path, help="read this folder in this process instead of making one")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "read_folder.json")
    given = parser.parse_args(arguments)
    check_writable(given.output)
    if given.folder:
        return _report(read_folder(given.folder), given.output)
    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(folder), given.images)
        options = ["--folder", folder, "--output", str(given.output)]
        return subprocess.run([sys.executable, "-P", "-m", "edgerec.benchmarks.read_folder", *options], check=False).returncode


def _report(reading: Reading, output: Path) -> int:
    bars = {"cores_busy": round(BUSY_BAR * reading.cores, 2), "peak_mb": PEAK_BAR_MB}
    print(
        f"{reading.images:,} images, {reading.images_per_s:,.0f} a second, {reading.cores_busy} of {reading.cores} cores busy "
        f"(bar {bars['cores_busy']}), at most {reading.peak_mb:.0f} MB (bar {PEAK_BAR_MB})"
    )
    record = {"machine": asdict(machine()), "versions": versions(), "reading": asdict(reading), "bars": bars}
    write_text(output, json.dumps(record, indent=1) + "\n")
    return int(reading.cores_busy < bars["cores_busy"] or reading.peak_mb >= PEAK_BAR_MB)


if __name__ == "__main__":
    sys.exit(main())
