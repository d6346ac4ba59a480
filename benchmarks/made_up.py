"""A benchmark's document with every part filled: what the page is tried with. Its figures are made up, near what ResNet-20 on CIFAR-10 gives."""

import base64
import io

import numpy as np
from PIL import Image

from .accuracy import Accuracy, wilson
from .document import Document, Failed
from .latency import Latency, Speedup
from .measured import (
    Agreement,
    ClassChange,
    Corrupted,
    Flip,
    OperatorCost,
    Peaks,
    Resources,
    Roofline,
    Scenario,
    Stages,
    Watch,
)
from .records import Machine, Record

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MACHINE = Machine("AMD EPYC", ("avx2", "avx512f", "avx512_vnni", "avx512_bf16"), 2, "x86_64", "Linux 6.18", "3.11.7")
PEAKS = Peaks(1, {"fp32": 58.0, "bf16": 110.0, "int8": 231.0}, 14.2)
#       file, kB, median ms, top-1, its drop on corrupted images, kind of its convolutions
FILES = (
    ("r20.onnx", 1089, 0.680, 0.9173, 1.00, "float"),
    ("r20.int8.onnx", 321, 0.330, 0.9181, 1.10, "int8"),
    ("r20-pruned.onnx", 412, 0.391, 0.9065, 1.25, "float"),
    ("r20-pruned.int8.onnx", 131, 0.214, 0.9012, 1.40, "int8"),
)


def document(files: int = 4) -> Document:
    """Return a run of some files; the fifth is the first again under another name, and so on."""
    failures = (
        Failed("r20.onnx", "cuda", None, "the provider cuda is not installed; pip install 'edgerec[cuda]'"),
        Failed("broken.onnx", "cpu", 1, "this is no ONNX file"),
    )
    command = "edgerec bench r20.onnx r20.int8.onnx broken.onnx --data cifar10 --provider cpu --provider cuda --html report.html"
    return Document(tuple(record(at) for at in range(files)), failures, command, "2026-11-26T02:45:00Z", labels=LABELS)


def record(at: int) -> Record:
    """Return what was found of one file; the first is what the others are compared with, the third was disturbed."""
    file, size, p50, top1, hurt, kind = FILES[at % len(FILES)]
    random = np.random.default_rng(at)
    name = file if at < len(FILES) else f"{at}-{file}"
    p50 *= 1 + 0.07 * (at // len(FILES))
    return Record(
        file=name,
        size_bytes=size * 1000,
        sha256=f"{at:02x}" * 32,
        provider="cpu",
        threads=1,
        latency=_latency(p50, random),
        machine=MACHINE,
        versions={"edgerec": "0.1.0", "numpy": "2.3.1", "onnxruntime": "1.24.0"},
        batch=32,
        throughput_images_per_s=1450 / p50,
        accuracy=_accuracy(top1),
        speedup=Speedup(0.680 / p50, 0.672 / p50, 0.689 / p50) if at else Speedup(1.0, 1.0, 1.0),
        data_fingerprint="5308af2e" * 8,
        profile="latency",
        watch=Watch(("other processes used 31 % of the cores",), 2, 0.31, 0.0, 0.04, (1200.0, 3400.0), "powersave")
        if at == 2
        else Watch((), 0, 0.02, 0.0, -0.004, None, ""),
        resources=Resources(
            212 + 40 * p50, 24 + size / 40, 3 * p50, 61_000_000 + 4000 * size, 58_000_000 + 3000 * size, (0.4, -2.0, 3.1), p50
        ),
        stages=Stages(0.112, 0.071, 0.009, p50, 0.013),
        scenarios=(
            Scenario("single-stream", "p90_ms", 1.04 * p50, 88_000, 60.0, valid=True),
            Scenario("offline", "images_per_s", 1500 / p50, 24_576, 21.0, valid=False),
        ),
        agreement=_agreement(at, top1) if at else None,
        corrupted=tuple(
            _corrupted(name, severity, top1, hurt) for name in ("noise", "blur", "jpeg", "brightness") for severity in range(1, 6)
        ),
        roofline=_roofline(p50, kind, 40_500_000 if at % 4 < 2 else 19_800_000),
    )


def _latency(p50: float, random: np.random.Generator) -> Latency:
    times = p50 * (0.985 + random.gamma(2.0, 0.009, 4000))
    times[:60] *= random.uniform(1.1, 2.5, 60)
    quantiles = tuple(float(one) for one in np.percentile(times, range(101)))
    own, p90, p99 = quantiles[50], quantiles[90], quantiles[99]
    ends = [(share * low, share * high) for share, low, high in ((own, 0.996, 1.005), (p90, 0.99, 1.01), (p99, 0.93, 1.12))]
    return Latency(own, p90, p99, quantiles[0], 4000, quantiles[100], ends[0], ends[1], ends[2], quantiles, 420)


def _accuracy(top1: float) -> Accuracy:
    low, high = wilson(round(top1 * 10_000), 10_000)
    return Accuracy(top1, 0.9966, low, high, 10_000, (top1,) * 10, ((1000,) * 10,) * 10)


def _agreement(at: int, top1: float) -> Agreement:
    drop = 100 * (0.9173 - top1)
    worst = tuple(
        ClassChange(label, 1000, 0.92, 0.92 - change / 100, change, (change - 1.2, change + 1.2))
        for label, change in ((3, drop + 1.9), (5, drop + 1.1), (2, drop + 0.4), (4, drop - 0.2), (0, drop - 1.3))
    )
    flips = tuple(
        Flip(f"test/{7 * number:04}.png", number % 10, number % 10, (number + 3) % 10, _picture(number)) for number in range(14 + at)
    )
    return Agreement(10_000, 0.9761, (0.9729, 0.9789), 118, 126, drop, (drop - 0.31, drop + 0.31), 0.65, worst, flips, 27.4)


def _corrupted(name: str, severity: int, top1: float, hurt: float) -> Corrupted:
    lost = {"noise": 0.085, "blur": 0.06, "jpeg": 0.035, "brightness": 0.012}[name] * severity * hurt
    low, high = wilson(round((top1 - lost) * 2000), 2000)
    return Corrupted(name, severity, 2000, top1 - lost, (low, high), 1.0, (-0.4, 2.4))


def _roofline(p50: float, kind: str, macs: int) -> Roofline:
    conv = OperatorCost("FusedConv" if kind == "float" else "QLinearConv", kind, 21, 0.86 * p50, macs, 2_400_000)
    others = (
        OperatorCost("Add", kind, 9, 0.08 * p50, 0, 900_000),
        OperatorCost("GlobalAveragePool", "float", 1, 0.02 * p50, 0, 20_000),
        OperatorCost("QuantizeLinear", "conversion", 1, 0.01 * p50, 0, 15_000),
        OperatorCost("Gemm", "float", 1, 0.01 * p50, 640, 2_900),
    )
    achieved = (macs + 640) / p50 / 1e6 * 0.93
    roof = "fp32" if kind == "float" else "int8"
    return Roofline(macs + 640, 3_300_000, achieved, roof, achieved / PEAKS.gmacs[roof], PEAKS, (conv, *others))


def _picture(number: int) -> str:
    """Return a PNG of 32 x 32 pixels, base64: a disc on a slope of colours."""
    y, x = np.mgrid[:32, :32]
    disc = (y - 16) ** 2 + (x - 10 - number % 12) ** 2 < 60
    pixels = np.stack([np.where(disc, 250, 6 * x), np.where(disc, 40 * (number % 6), 7 * y), np.full_like(x, 18 * number % 256)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
