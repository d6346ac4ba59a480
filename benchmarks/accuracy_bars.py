"""What scoring costs on top of a bare loop over batches: throughput ratios on 10,000 images of Fashion-MNIST's size, in turns.

    python -m edgerec.benchmarks.accuracy_bars

The images lie in memory, so nothing is decoded. The bare loop normalises with the runtime's own `normalize` (three times as fast as the usual
numpy lines), runs the file, compares the largest logit with the label, and takes the fastest of several batch sizes; ours does all that
`score_files` does. Takes a minute on an otherwise idle machine. Writes `benchmarks/results/accuracy_bars.json` beside this file unless told
otherwise, prints the figures, and ends with 1 when a bar is missed.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper
from onnx.parser import parse_model

from ..data.arrays import from_arrays
from ..data.order import Rows
from ..data.splits import Split
from ..runtime.cores import usable_cores
from ..runtime.files import check_writable, write_text
from ..runtime.preprocess import Pixels, normalize
from ..runtime.session import Runnable, open_session
from ..runtime.spec import InputSpec, ModelSpec
from .accuracy import EVALUATION_BATCH
from .candidates import as_candidate
from .latency import Timing, measure_interleaved
from .records import machine, versions
from .runtime_bars import RuntimeBar
from .scoring import score_files

IMAGES, SIZE, CLASSES = 10_000, 28, 10
BARE_BATCHES = (32, 100, EVALUATION_BATCH, 1000)
LEAST_RATIO = 0.9
GREY = InputSpec(SIZE, SIZE, color="grey", mean=(0.286,), std=(0.353,))  # Fashion-MNIST's


def small_cnn(seed: int = 0) -> bytes:
    """Return the textbook network of 1.0 million multiply-accumulates, with random weights and its spec: two convolutions and one product."""
    model = parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]> small (float[N, 1, {SIZE}, {SIZE}] input) => (float[N, {CLASSES}] logits) {{
            c1 = Conv <pads = [1, 1, 1, 1]> (input, w1)
            r1 = Relu (c1)
            p1 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r1)
            c2 = Conv <pads = [1, 1, 1, 1]> (p1, w2)
            r2 = Relu (c2)
            p2 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r2)
            flat = Flatten (p2)
            logits = MatMul (flat, head)
        }}"""
    )
    draws = np.random.default_rng(seed)
    for name, shape in (("w1", (16, 1, 3, 3)), ("w2", (32, 16, 3, 3)), ("head", (32 * 7 * 7, CLASSES))):
        fan_in = np.prod(shape[1:]) if len(shape) == 4 else shape[0]
        model.graph.initializer.append(numpy_helper.from_array((draws.normal(size=shape) * (2 / fan_in) ** 0.5).astype(np.float32), name))
    helper.set_model_props(model, {"edgerec": ModelSpec((GREY,)).to_json()})
    return model.SerializeToString()


def make_images(count: int) -> Split:
    """Return a split of random images in memory with random labels."""
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (count, SIZE, SIZE, 1), np.uint8)
    part = (images, np.arange(count) % CLASSES)
    return from_arrays("random", {"train": part, "test": part}).test


def bare_loop(ort: Runnable, pixels: Pixels, labels: Rows, batch: int) -> float:
    """Return top-1 as the shortest loop finds it."""
    hits = 0
    for start in range(0, len(pixels), batch):
        logits = ort.run(None, {GREY.name: normalize(pixels[start : start + batch], GREY)})[0]
        hits += int((logits.argmax(axis=1) == labels[start : start + batch]).sum())
    return hits / len(pixels)


def throughput_bar(files: int, threads: int, images: int, timing: Timing) -> RuntimeBar:
    """Compare scoring some files with a bare loop over each of them.

    Raises:
        AssertionError: The two do not find the same accuracy.
    """
    split = make_images(images)
    pixels, labels = _arrays(split)
    sessions = [open_session(small_cnn(number), threads=threads) for number in range(files)]
    candidates = [as_candidate(Path(f"{number}.onnx"), session) for number, session in enumerate(sessions)]

    def bare(batch: int) -> list[float]:
        return [bare_loop(session.ort, pixels, labels, batch) for session in sessions]

    found = [one.accuracy.top1 for one in score_files(candidates, split) if one.accuracy]
    if found != bare(EVALUATION_BATCH):
        raise AssertionError(f"scoring finds {found}, the bare loop {bare(EVALUATION_BATCH)}")
    best = min(BARE_BATCHES, key=lambda batch: _seconds(partial(bare, batch)))
    compared = measure_interleaved({"bare": partial(bare, best), "ours": partial(score_files, candidates, split)}, timing)
    rate = files * images / compared.latency["ours"].p50_ms
    text = f"{files} file(s), {threads} thread(s), {rate:.0f} a ms"
    return RuntimeBar(text, compared.speedup["ours"], LEAST_RATIO, at_least=True)


def main(arguments: Sequence[str] | None = None, timing: Timing | None = None, images: int = IMAGES) -> int:
    """Measure, print, write the record, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "accuracy_bars.json")
    output = parser.parse_args(arguments).output
    check_writable(output)
    timing = timing or Timing(rounds=10, block_seconds=0.1)
    threads = sorted({1, usable_cores()})
    bars: list[RuntimeBar] = []
    for files, count in itertools.product((1, 2), threads):
        bars.append(throughput_bar(files, count, images, timing))
        print(bars[-1].line(), flush=True)
    rows = [asdict(bar) | {"met": bar.met} for bar in bars]
    record = {"machine": asdict(machine()), "versions": versions(), "images": images, "bars": rows}
    write_text(output, json.dumps(record, indent=1) + "\n")
    return int(not all(bar.met for bar in bars))


def _arrays(split: Split) -> tuple[Pixels, Rows]:
    """Return the images and labels of a split in its order."""
    batch = next(split.batches(len(split), (GREY,)))
    assert batch.labels is not None
    return batch.feeds[GREY.name], batch.labels


def _seconds(call: Callable[[], object]) -> float:
    """Return the shortest of three runs."""
    took: list[float] = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return min(took)


if __name__ == "__main__":
    sys.exit(main())
