"""The columns of a report's main table: what a program reads (one value each, exact) and what people read (with its interval)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..document import Failed
from ..measured import Scenario
from ..records import Record
from .wording import Interval, between, megabytes, ms, percent, points, significant, whole_percent

Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: Its heading, with the unit.
        value: From a record to what stands in the cell; None leaves it empty.
    """

    name: str
    value: Callable[[Record], Value]


def _end(interval: Interval | None, at: int) -> float | None:
    return interval[at] if interval else None


def _scenario(name: str) -> Callable[[Record], Value]:
    def value(record: Record) -> Value:
        return next((one.value for one in record.scenarios if one.name == name), None)

    return value


# Names stay when a part was not measured: a program that reads the file finds each figure under the same heading.
EXACT = (
    Column("file", lambda one: one.file),
    Column("provider", lambda one: one.provider),
    Column("threads", lambda one: one.threads),
    Column("target", lambda one: one.target),
    Column("size_bytes", lambda one: one.size_bytes),
    Column("sha256", lambda one: one.sha256),
    Column("p50_ms", lambda one: one.latency.p50_ms),
    Column("p50_low_ms", lambda one: _end(one.latency.p50_interval_ms, 0)),
    Column("p50_high_ms", lambda one: _end(one.latency.p50_interval_ms, 1)),
    Column("p90_ms", lambda one: one.latency.p90_ms),
    Column("p90_low_ms", lambda one: _end(one.latency.p90_interval_ms, 0)),
    Column("p90_high_ms", lambda one: _end(one.latency.p90_interval_ms, 1)),
    Column("p99_ms", lambda one: one.latency.p99_ms),
    Column("p99_low_ms", lambda one: _end(one.latency.p99_interval_ms, 0)),
    Column("p99_high_ms", lambda one: _end(one.latency.p99_interval_ms, 1)),
    Column("min_ms", lambda one: one.latency.min_ms),
    Column("max_ms", lambda one: one.latency.max_ms or None),
    Column("runs", lambda one: one.latency.runs),
    Column("speedup", lambda one: one.speedup.ratio if one.speedup else None),
    Column("speedup_low", lambda one: one.speedup.low if one.speedup else None),
    Column("speedup_high", lambda one: one.speedup.high if one.speedup else None),
    Column("batch", lambda one: one.batch),
    Column("throughput_images_per_s", lambda one: one.throughput_images_per_s),
    Column("split", lambda one: one.split if one.accuracy else None),
    Column("images", lambda one: one.accuracy.images if one.accuracy else None),
    Column("top1", lambda one: one.accuracy.top1 if one.accuracy else None),
    Column("top1_low", lambda one: one.accuracy.low if one.accuracy else None),
    Column("top1_high", lambda one: one.accuracy.high if one.accuracy else None),
    Column("top5", lambda one: one.accuracy.top5 if one.accuracy else None),
    Column("drop_points", lambda one: one.agreement.drop_points if one.agreement else None),
    Column("drop_low_points", lambda one: _end(one.agreement.drop_interval, 0) if one.agreement else None),
    Column("drop_high_points", lambda one: _end(one.agreement.drop_interval, 1) if one.agreement else None),
    Column("mcnemar_p", lambda one: one.agreement.mcnemar_p if one.agreement else None),
    Column("agreement", lambda one: one.agreement.agreement if one.agreement else None),
    Column("sqnr_db", lambda one: one.agreement.sqnr_db if one.agreement else None),
    Column("cold_start_ms", lambda one: one.resources.cold_start_ms if one.resources else None),
    Column("load_ms", lambda one: one.resources.load_ms if one.resources else None),
    Column("first_run_ms", lambda one: one.resources.first_run_ms if one.resources else None),
    Column("peak_bytes", lambda one: one.resources.peak_bytes if one.resources else None),
    Column("resident_bytes", lambda one: one.resources.resident_bytes if one.resources else None),
    Column("cpu_ms", lambda one: one.resources.cpu_ms if one.resources else None),
    Column("joules", lambda one: one.resources.joules if one.resources else None),
    Column("single_stream_p90_ms", _scenario("single-stream")),
    Column("multi_stream_p99_ms", _scenario("multi-stream")),
    Column("offline_images_per_s", _scenario("offline")),
    Column("macs", lambda one: one.roofline.macs if one.roofline else None),
    Column("achieved_gmacs_per_s", lambda one: one.roofline.achieved_gmacs if one.roofline else None),
    Column("bound", lambda one: one.roofline.bound if one.roofline else None),
    Column("bound_share", lambda one: one.roofline.share if one.roofline else None),
    Column("disturbances", lambda one: "; ".join(one.watch.disturbances) if one.watch else None),
    Column("error", lambda _one: None),
)


def _spread(value: float, interval: Interval | None) -> str:
    return f"{ms(value)} ({between(ms(interval[0]), ms(interval[1]))})" if interval else ms(value)


def _speedup(record: Record) -> Value:
    one = record.speedup
    return f"{one.ratio:.2f}x ({between(f'{one.low:.2f}', f'{one.high:.2f}')})" if one else None


def _accuracy(record: Record) -> Value:
    one = record.accuracy
    return f"{percent(one.top1)} ({between(f'{100 * one.low:.2f}', f'{100 * one.high:.2f}')})" if one else None


def _drop(record: Record) -> Value:
    one = record.agreement
    if one is None or one.drop_points is None:
        return None
    ends = f" ({between(*map(points, one.drop_interval))})" if one.drop_interval else ""
    return points(one.drop_points) + ends


def _bound(record: Record) -> Value:
    return f"{record.roofline.bound}, {whole_percent(record.roofline.share)} of it" if record.roofline else None


# What people read: an interval stands behind its figure, and a column that no record fills is left out.
READABLE = (
    Column("file", lambda one: one.file),
    Column("on", lambda one: one.provider),
    Column("threads", lambda one: str(one.threads)),
    Column("machine", lambda one: one.target),
    Column("size, MB", lambda one: megabytes(one.size_bytes)),
    Column("top-1 (95 % interval)", _accuracy),
    Column("top-1 lost, points (interval)", _drop),
    Column("p50, ms (interval)", lambda one: _spread(one.latency.p50_ms, one.latency.p50_interval_ms)),
    Column("p90, ms", lambda one: ms(one.latency.p90_ms)),
    Column("p99, ms", lambda one: ms(one.latency.p99_ms)),
    Column("speed-up (interval)", _speedup),
    Column("images/s", lambda one: significant(one.throughput_images_per_s) if one.throughput_images_per_s else None),
    Column("peak memory, MB", lambda one: megabytes(one.resources.peak_bytes) if one.resources else None),
    Column("cold start, ms", lambda one: ms(one.resources.cold_start_ms) if one.resources else None),
    Column("CPU, ms a call", lambda one: ms(one.resources.cpu_ms) if one.resources and one.resources.cpu_ms is not None else None),
    Column(
        "mJ a call", lambda one: significant(1e3 * one.resources.joules) if one.resources and one.resources.joules is not None else None
    ),
    Column("limited by", _bound),
    Column("disturbed by", lambda one: "; ".join(one.watch.disturbances) if one.watch else None),
)


def readable_rows(records: Sequence[Record]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the headings of the columns that hold anything, and one row of cells a record."""
    cells = [[str(column.value(record) or "") for record in records] for column in READABLE]
    kept = [at for at, column in enumerate(cells) if any(column)]
    return tuple(READABLE[at].name for at in kept), tuple(zip(*(cells[at] for at in kept), strict=True))


FAILURE_COLUMNS = ("file", "on", "threads", "machine", "why")


def failure_rows(failures: Sequence[Failed]) -> tuple[tuple[str, ...], ...]:
    """Return one row a configuration that gave no figures, under `FAILURE_COLUMNS`."""
    return tuple((one.file, one.provider, "" if one.threads is None else str(one.threads), one.target, one.error) for one in failures)


def scenario_text(scenario: Scenario) -> str:
    """Return an MLPerf result with its unit: `0.412 ms at the 90th percentile`."""
    if scenario.metric == "images_per_s":
        return f"{significant(scenario.value)} images/s"
    return f"{ms(scenario.value)} ms at the {scenario.metric[1:3]}th percentile"
