"""What the runtime costs on top of ONNX Runtime and Pillow: every ratio from one process, its two sides in turns.

    python -m edgerec.benchmarks.runtime_bars                              networks made here, of about 0.05 and 0.34 ms
    python -m edgerec.benchmarks.runtime_bars --model resnet20.int8.onnx   a file of yours in place of the 0.34 ms one (3x32x32 input)

Takes two minutes on an otherwise idle machine. Writes `benchmarks/results/runtime_bars.json` beside this file unless told otherwise, prints
the figures, and ends with 1 when a bar is missed.
"""

import argparse
import io
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..runtime.cores import usable_cores
from ..runtime.files import check_writable, write_text
from ..runtime.intake import write_image
from ..runtime.preprocess import normalize
from ..runtime.recognizer import Recognizer
from ..runtime.session import open_session
from ..runtime.spec import InputSpec
from .latency import Speedup, Timing, measure_interleaved, spread_of
from .plain_nets import plain_network
from .records import machine, versions

THREADS, PREDICTIONS = 16, 2000
FRAMES, PHOTO = 60, (640, 480)


@dataclass(frozen=True, slots=True)
class RuntimeBar:
    """One promise and what was measured.

    Attributes:
        text: What it is about.
        ratio: The figure with its 95 % interval.
        limit: What it may be.
        at_least: Whether the limit is a lower one.
    """

    text: str
    ratio: Speedup
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure keeps the limit."""
        return self.ratio.ratio >= self.limit if self.at_least else self.ratio.ratio <= self.limit

    def line(self) -> str:
        """Return the bar as one line of at most 80 columns."""
        sign, verdict = (">=" if self.at_least else "<="), ("met" if self.met else "MISSED")
        return f"{self.text:<40} {self.ratio.ratio:6.3f} ({self.ratio.low:.3f} to {self.ratio.high:.3f})  {sign} {self.limit:<5g} {verdict}"


def predict_bar(name: str, model: bytes | Path, limit: float, timing: Timing) -> RuntimeBar:
    """Compare `predict` on a ready tensor with a bare `session.run` and argmax, on one thread."""
    recognizer = Recognizer(open_session(model, threads=1))
    ort, spec = recognizer.session.ort, recognizer.spec.input
    tensor = np.random.default_rng(0).normal(size=(1, *spec.shape)).astype(np.float32)
    calls: dict[str, Callable[[], object]] = {
        "predict": partial(recognizer.predict, tensor),
        "bare": lambda: ort.run(None, {spec.name: tensor})[0].argmax(),
    }
    found = measure_interleaved(calls, timing)
    return RuntimeBar(f"predict / session.run, {name} {found.latency['bare'].p50_ms:.3f} ms", found.speedup["bare"], limit)


def normalize_bar(timing: Timing) -> RuntimeBar:
    """Compare what happens between resizing and the model with the lines people write, at 224 pixels.

    Raises:
        AssertionError: The two do not give the same bits.
    """
    spec = InputSpec(224, 224)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    out = np.empty((1, *spec.shape), np.float32)
    scale, mean, std = np.float32(spec.scale), np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)

    def usual() -> npt.NDArray[np.float32]:
        return np.ascontiguousarray(((pixels[0].astype(np.float32) * scale - mean) / std).transpose(2, 0, 1))[np.newaxis]

    if not np.array_equal(normalize(pixels, spec, out), usual()):
        raise AssertionError("the tensors are not equal, bit by bit")
    found = measure_interleaved({"usual": usual, "ours": partial(normalize, pixels, spec, out)}, timing)
    return RuntimeBar("usual numpy lines / normalize, 224 pixels", found.speedup["ours"], 3.0, at_least=True)


def stream_bar(rounds: int) -> RuntimeBar:
    """Compare a stream of JPEGs with the slower of reading them and running the model, each alone on one thread."""
    photos = [_photo(number) for number in range(FRAMES)]
    recognizer = Recognizer(open_session(plain_network(24, 8, 224), threads=1))
    spec = recognizer.spec.input
    tensor = np.zeros((1, *spec.shape), np.float32)

    def read() -> None:
        for photo in photos:
            write_image(photo, spec, tensor[0])

    def infer() -> None:
        for _ in photos:
            recognizer.predict(tensor)

    def together() -> None:
        with recognizer.stream(photos) as results:
            for _ in results:
                pass

    ratios: list[float] = []
    for _ in range(rounds + 1):
        took = {call: _seconds(call) for call in (read, infer, together)}
        ratios.append(max(took[read], took[infer]) / took[together])
    return RuntimeBar("stream / slower of reading and running", spread_of(ratios[1:]), 0.95, at_least=True)


def threads_bar(model: bytes | Path, rounds: int, predictions: int = PREDICTIONS) -> RuntimeBar:
    """Compare what 16 threads get through with what one does, on one recognizer; all must give the serial answers.

    Raises:
        AssertionError: A thread's answer differs.
    """
    recognizer = Recognizer(open_session(model, threads=1))
    tensors = np.random.default_rng(0).normal(size=(50, *recognizer.spec.input.shape)).astype(np.float32)
    serial = [recognizer.predict(one) for one in tensors]

    def work(wrong: list[int]) -> None:
        wrong += [number for number in range(predictions) if recognizer.predict(tensors[number % 50]) != serial[number % 50]]

    def run(count: int) -> float:
        wrong: list[int] = []
        threads = [threading.Thread(target=work, args=(wrong,)) for _ in range(count)]
        start = time.perf_counter()
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        seconds = time.perf_counter() - start
        if wrong:
            raise AssertionError(f"{len(wrong)} predictions differ from the serial ones")
        return count * predictions / seconds

    run(1)
    ratios = [run(THREADS) / run(1) for _ in range(rounds)]
    # Two cores can double it; a machine with one is held to nothing.
    return RuntimeBar(f"{THREADS} threads / one, throughput", spread_of(ratios), 1.8 if usable_cores() > 1 else 0.9, at_least=True)


def main(arguments: Sequence[str] | None = None, timing: Timing | None = None, rounds: int = 7) -> int:
    """Measure, print, write the record, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="an ONNX file of about 0.34 ms that edgerec wrote")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "runtime_bars.json")
    given = parser.parse_args(arguments)
    check_writable(given.output)
    timing = timing or Timing(rounds=30, block_seconds=0.05)
    middle = given.model or plain_network(32, 34, 32)
    bars = [
        predict_bar("small", plain_network(24, 4, 32), 1.25, timing),
        predict_bar(given.model.name if given.model else "middle", middle, 1.03, timing),
        normalize_bar(timing),
        stream_bar(rounds),
        threads_bar(middle, max(2, rounds // 2), PREDICTIONS if rounds > 2 else 50),
    ]
    for bar in bars:
        print(bar.line())
    rows = [asdict(bar) | {"met": bar.met} for bar in bars]
    record = {"machine": asdict(machine()), "versions": versions(), "model": given.model.name if given.model else "", "bars": rows}
    write_text(given.output, json.dumps(record, indent=1) + "\n")
    return int(not all(bar.met for bar in bars))


def _photo(number: int) -> bytes:
    """Return a JPEG of 640x480: smooth colours with grain, about as large as a photograph of that size."""
    from PIL import Image

    draws = np.random.default_rng(number)
    smooth = Image.fromarray(draws.integers(0, 256, (6, 8, 3), np.uint8)).resize(PHOTO, Image.Resampling.BICUBIC)
    grain = draws.integers(-8, 9, (PHOTO[1], PHOTO[0], 1))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(smooth, np.int16) + grain, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
