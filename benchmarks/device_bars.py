"""What a device pays for edgerec beside a script written by hand: start, memory, processor time at a camera's pace, disk.

    python -m edgerec.benchmarks.device_bars start camera footprint

Each part is measured against its bare counterpart in the same run, in turns. `start` and `camera` take one to two minutes each on an
otherwise idle machine; `footprint` installs both sides from the package index. Writes `benchmarks/results/device_bars.json` unless told
otherwise, prints a table, and ends with 1 when a bar is missed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from ..runtime.files import check_writable, write_text
from ..runtime.providers import load_onnxruntime
from ..runtime.session import open_session
from .duty_cycle import measure_duty_cycle
from .plain_nets import residual_net
from .records import machine, versions
from .start_up import installed

ROOT = Path(__file__).resolve().parents[1]
BARE = """
import sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
image = np.load(sys.argv[2])
x = (image.astype(np.float32) / 255 - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
scores = session.run(None, {"input": np.ascontiguousarray(x.transpose(2, 0, 1))[None]})[0][0]
print(int(scores.argmax()))
"""
OURS = """
import sys
import numpy as np
from edgerec.runtime import Recognizer
print(Recognizer.load(sys.argv[1], top=1).predict(np.load(sys.argv[2]))[0].index)
"""
# The kernel's high-water mark of this program alone: `ru_maxrss` of a child starts at what its parent had.
PEAK = """
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""
FORBIDDEN = ("torch", "onnx", "typer")


@dataclass(frozen=True, slots=True)
class Row:
    """A promise: what it is about, the figure, its limit (None where there is none, only a figure to compare with), and a remark."""

    what: str
    measured: float
    limit: float | None
    remark: str = ""

    @property
    def verdict(self) -> str:
        """Whether it is kept."""
        return "" if self.limit is None else "met" if self.measured <= self.limit else "MISSED"


def start(rounds: int = 15) -> list[Row]:
    """Time processes from their start to the first label, and take their peak memory, at 11.7 million parameters; on Linux."""
    with TemporaryDirectory(prefix="edgerec-start-") as name:
        folder = Path(name)
        onnx.save(residual_net(), folder / "net.onnx")
        np.save(folder / "image.npy", np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8))
        time.sleep(2.5)  # a file that has just changed is hashed at every start
        found: dict[str, list[tuple[float, float, str]]] = {name: [] for name in ("bare", "none", "fill", "cached")}
        for turn in range(rounds + 1):
            for way in list(found) if turn % 2 == 0 else list(found)[::-1]:
                cache = {"none": "/dev/null/none", "fill": str(folder / f"fill{turn}")}.get(way, str(folder / "cache"))
                found[way].append(_process(BARE if way == "bare" else OURS, folder, cache))
    if len({label for own in found.values() for _, _, label in own}) != 1:
        raise RuntimeError("the scripts do not agree on the label: they do not do the same work")
    seconds = {way: [one[0] for one in own[1:]] for way, own in found.items()}
    memory = {way: [one[1] for one in own[1:]] for way, own in found.items()}
    told = f"bare {statistics.median(seconds['bare']) * 1e3:.0f} ms, {statistics.median(memory['bare']) / 1e6:.0f} MB"
    return [
        Row("start to first label, no cache", _ratio(seconds["none"], seconds["bare"]), 1.10, told),
        Row("start to first label, first start fills the cache", _ratio(seconds["fill"], seconds["bare"]), None),
        Row("start to first label, cached", _ratio(seconds["cached"], seconds["bare"]), 0.75),
        # Means: the same script peaks at one of two values 20 MB apart, as its threads happen to allocate.
        Row("peak memory, no cache", statistics.fmean(memory["none"]) / statistics.fmean(memory["bare"]), 1.05),
        Row("peak memory, first start fills the cache", statistics.fmean(memory["fill"]) / statistics.fmean(memory["bare"]), None),
        Row("peak memory, cached", statistics.fmean(memory["cached"]) / statistics.fmean(memory["bare"]), 1.05),
    ]


def camera(seconds: float = 3, rounds: int = 4) -> list[Row]:
    """Measure processor time of a frame at 10 frames a second, for a small and a large net."""
    rows: list[Row] = []
    for size, width in ((96, 16), (224, 32)):
        model = residual_net(size, width, classes=10).SerializeToString()
        image = {"input": np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)}
        calls: Mapping[str, Callable[[], object]] = {
            "bare": partial(_bare(model, spinning=False).run, None, image),
            "camera": partial(open_session(model, profile="camera").run, image),
            "defaults": partial(_bare(model, spinning=True).run, None, image),
        }
        found = measure_duty_cycle(calls, frames_per_s=10, seconds=seconds, rounds=rounds)
        own = found["camera"]
        told = f"{own.cpu_ms:.2f} ms of processor time, {own.p50_ms:.2f} ms a frame"
        what = f"processor time at 10 frames/s, net of {found['bare'].p50_ms:.1f} ms"
        rows.append(Row(what, own.cpu_ms / found["bare"].cpu_ms, 1.05, told))
        rows.append(Row(f"{what}: ONNX Runtime's defaults", found["defaults"].cpu_ms / found["bare"].cpu_ms, None))
    return rows


def footprint() -> list[Row]:
    """Install both sides into empty environments; compare their size on disk, and look for what must not be there."""
    with TemporaryDirectory(prefix="edgerec-footprint-") as name:
        folder = Path(name)
        _quietly([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)])
        wheel = next(folder.glob("edgerec-*.whl"))
        sizes = {
            "bare": _installed(folder / "bare", ["onnxruntime", "numpy", "pillow"]),
            "ours": _installed(folder / "ours", [f"{wheel}[cpu]"]),
        }
    heavy = sorted({one.lower() for one in sizes["ours"] if one.lower() in FORBIDDEN})
    total = {side: sum(own.values()) for side, own in sizes.items()}
    told = f"{total['ours'] / 1e6:.1f} MB, bare {total['bare'] / 1e6:.1f} MB"
    return [
        Row("disk of base and cpu against onnxruntime, numpy and pillow", total["ours"] / total["bare"], 1.05, told),
        Row(f"packages of {', '.join(FORBIDDEN)} in it", len(heavy), 0, ", ".join(heavy)),
    ]


PARTS: dict[str, Callable[[], list[Row]]] = {"start": start, "camera": camera, "footprint": footprint}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the record, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=list(PARTS))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "device_bars.json")
    given = parser.parse_args(arguments)
    check_writable(given.output)
    rows = {part: PARTS[part]() for part in given.parts}
    found = [row for own in rows.values() for row in own]
    show(found)
    old = json.loads(given.output.read_text(encoding="utf-8"))["rows"] if given.output.is_file() else {}
    told = {part: [asdict(row) for row in own] for part, own in rows.items()}
    write_text(given.output, json.dumps({"machine": asdict(machine()), "versions": versions(), "rows": old | told}, indent=1) + "\n")
    return int(any(row.verdict == "MISSED" for row in found))


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    wide = max(len(row.what) for row in rows)
    print(f"{'':<{wide}}  measured   limit")
    for row in rows:
        limit = "" if row.limit is None else f"{row.limit:.2f}"
        print(f"{row.what:<{wide}}  {row.measured:>8.3f}  {limit:>6}  {row.verdict:<6}  {row.remark}".rstrip())


def _process(code: str, folder: Path, cache: str) -> tuple[float, float, str]:
    """Return the wall time of a process, its peak memory in bytes, and what it printed."""
    command = [sys.executable, "-P", "-c", code + PEAK, str(folder / "net.onnx"), str(folder / "image.npy")]
    environment = installed(folder / "bytecode") | {"EDGEREC_CACHE": cache}
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    took = time.perf_counter() - begin
    label, peak_bytes = done.stdout.split()
    return took, float(peak_bytes), label


def _ratio(ours: Sequence[float], bare: Sequence[float]) -> float:
    """Return the median of the ratios within each round."""
    return statistics.median(one / other for one, other in zip(ours, bare, strict=True))


def _bare(model: bytes, *, spinning: bool):  # `onnxruntime.InferenceSession`, for which there is no type at run time
    onnxruntime = load_onnxruntime()
    settings = onnxruntime.SessionOptions()
    if not spinning:
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def _installed(folder: Path, packages: list[str]) -> dict[str, int]:
    """Install into an empty environment; return the size of everything in it but pip, by its top folder."""
    _quietly([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    _quietly([sys.executable, "-m", "pip", "--python", str(python), "install", "-q", *packages])
    site = next(folder.rglob("site-packages"))
    sizes = {one.name: sum(path.stat().st_size for path in [one, *one.rglob("*")] if path.is_file()) for one in site.iterdir()}
    return {name: size for name, size in sizes.items() if size}


def _quietly(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-500:]}")


if __name__ == "__main__":
    sys.exit(main())
