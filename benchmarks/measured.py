"""The parts of a benchmark's record beyond latency and accuracy. Each is made in one place and read by every form of the report."""

from dataclasses import dataclass
from typing import Literal

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Watch:
    """What else went on while a file was measured.

    Attributes:
        disturbances: What disturbed the last attempt, in words; empty for a quiet run.
        repeats: Runs that were thrown away because something disturbed them.
        load: Other processes' share of the cores, 0 to 1; None where the system does not tell.
        steal: Share of time that the hypervisor took, 0 to 1.
        drift: Relative change of the run's own time from its first to its last block, by the slope of a robust line.
        frequency_mhz: Lowest and highest frequency seen; None where the system does not tell.
        governor: The processor's frequency governor; empty where there is none.
        swapped_bytes: Memory swapped in or out meanwhile.
        throttled: Share of time in which the container's quota held the process back.
    """

    disturbances: tuple[str, ...] = ()
    repeats: int = 0
    load: float | None = None
    steal: float | None = None
    drift: float = 0.0
    frequency_mhz: Interval | None = None
    governor: str = ""
    swapped_bytes: int = 0
    throttled: float = 0.0


@dataclass(frozen=True, slots=True)
class Resources:
    """What a process that runs one file costs; each configuration has a process of its own.

    Attributes:
        cold_start_ms: From the start of the process to its first result.
        load_ms: Of that, loading the model.
        first_run_ms: Of that, the first run.
        peak_bytes: Highest resident memory.
        resident_bytes: Resident memory after the last run.
        slope_bytes_per_run: Growth of the resident memory over the runs after warm-up, and its interval's ends.
        cpu_ms: Processor time of one call, all threads.
        joules: Energy of one call of the whole processor; None where no sensor is readable.
    """

    cold_start_ms: float
    load_ms: float
    first_run_ms: float
    peak_bytes: int
    resident_bytes: int
    slope_bytes_per_run: tuple[float, float, float] | None = None
    cpu_ms: float | None = None
    joules: float | None = None


@dataclass(frozen=True, slots=True)
class Stages:
    """Medians of the parts of one prediction, milliseconds: from an image file to labels."""

    decode_ms: float
    preprocess_ms: float
    copy_ms: float
    run_ms: float
    postprocess_ms: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """One of MLPerf Inference's scenarios.

    Attributes:
        name: `single-stream`, `multi-stream` or `offline`.
        metric: What `value` is: `p90_ms`, `p99_ms` or `images_per_s`.
        value: The result.
        queries: Queries that were made.
        seconds: How long it ran.
        valid: Whether the rules on shortest duration and count were kept.
    """

    name: Literal["single-stream", "multi-stream", "offline"]
    metric: Literal["p90_ms", "p99_ms", "images_per_s"]
    value: float
    queries: int
    seconds: float
    valid: bool


@dataclass(frozen=True, slots=True)
class Flip:
    """An image that the two files see differently.

    Attributes:
        id: The image's name in its data set.
        label: The true class; None without labels.
        before: Class that the reference gives.
        after: Class that this file gives.
        thumbnail: A PNG of at most 64 pixels, base64; empty when none was kept.
    """

    id: str
    label: int | None
    before: int
    after: int
    thumbnail: str = ""


@dataclass(frozen=True, slots=True)
class ClassChange:
    """Recall of one class before and after, with the drop in points and its 95 % interval."""

    label: int
    images: int
    before: float
    after: float
    drop_points: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Agreement:
    """A file against the first one, on the same images.

    Attributes:
        images: How many.
        agreement: Share of images on which both give the same class.
        agreement_interval: Its 95 % Wilson interval.
        lost: Images that only the reference gets right; None without labels.
        won: Images that only this file gets right.
        drop_points: Top-1 of the reference minus top-1 of this file, points.
        drop_interval: Its 95 % interval (Tango 1998), points.
        mcnemar_p: Exact two-sided p-value of McNemar's test.
        worst: Classes by lost recall, the worst first; at most ten.
        flips: Images that changed, those that were right before first; at most 64.
        sqnr_db: Signal to noise of the logits; None where the shapes differ.
    """

    images: int
    agreement: float
    agreement_interval: Interval
    lost: int | None = None
    won: int | None = None
    drop_points: float | None = None
    drop_interval: Interval | None = None
    mcnemar_p: float | None = None
    worst: tuple[ClassChange, ...] = ()
    flips: tuple[Flip, ...] = ()
    sqnr_db: float | None = None


@dataclass(frozen=True, slots=True)
class Corrupted:
    """Top-1 on images that were disturbed on purpose.

    Attributes:
        corruption: `noise`, `blur`, `jpeg` or `brightness`.
        severity: 1 to 5.
        images: How many.
        top1: Share that was recognised, 0 to 1.
        interval: Its 95 % Wilson interval.
        drop_points: Against the first file on the same images; None for the first.
        drop_interval: Its 95 % interval, points.
    """

    corruption: str
    severity: int
    images: int
    top1: float
    interval: Interval
    drop_points: float | None = None
    drop_interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class OperatorCost:
    """All nodes of one operator type in one run.

    Attributes:
        operator: Its type, as the executed graph calls it.
        kind: `int8`, `float`, `conversion`, `layout`, `movement` or `shape`.
        nodes: How many.
        ms: Their time in one run.
        macs: Multiply-accumulates.
        bytes: What they read and write at least: inputs, weights and outputs once.
    """

    operator: str
    kind: str
    nodes: int
    ms: float
    macs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Peaks:
    """What a machine can do at most, measured on the same threads as the file.

    Attributes:
        threads: Threads.
        gmacs: Kind of number (`fp32`, `int8`, and where the machine has them `fp16`, `bf16`) to 10^9 multiply-accumulates a second.
        gbytes_per_s: Memory bandwidth, 10^9 bytes a second, read and written.
        buffer_bytes: Size of the buffer that the bandwidth was measured on: it holds the file's working set, so it may lie in a cache.
    """

    threads: int
    gmacs: dict[str, float]
    gbytes_per_s: float
    buffer_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Roofline:
    """Where a file stands under the machine's roof.

    Attributes:
        macs: Multiply-accumulates of one run.
        bytes: Bytes that one run moves at least.
        achieved_gmacs: macs over the median time.
        bound: What limits it: `int8`, `fp32`, `memory` or `overhead` (less than a tenth of either roof).
        share: Achieved share of that roof, 0 to 1.
        peaks: The machine's.
        operators: The most expensive first.
    """

    macs: int
    bytes: int
    achieved_gmacs: float
    bound: str
    share: float
    peaks: Peaks
    operators: tuple[OperatorCost, ...] = ()
