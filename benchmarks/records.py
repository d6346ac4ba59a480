"""What a measurement says about itself: which file, on which machine, with which versions. Plain records, one JSON form."""

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import cast

from ..runtime.cores import usable_cores
from ..runtime.errors import DataError
from .accuracy import Accuracy
from .duty_cycle import DutyCycle
from .json_form import read_as
from .latency import Latency, Speedup
from .measured import Agreement, Corrupted, Resources, Roofline, Scenario, Stages, Watch

SCHEMA_VERSION = 1

# What decides which int8 and fp32 kernels ONNX Runtime picks, as the Linux kernel spells it.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "avx512_bf16", "asimd", "asimddp", "i8mm", "bf16")
_INT8_DOT = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}
_MACOS_NAMES = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.arm64": "asimd",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
}
_PACKAGES = ("edgerec", "numpy", "onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "torch")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine is, as far as it decides speed; nothing in it names a host or a user.

    Attributes:
        cpu: The processor's model name.
        instructions: Those of `INSTRUCTIONS` that it has; empty where the system does not tell.
        cores: Cores this process may use.
        architecture: `x86_64`, `aarch64`, `arm64` ...
        os: System and release.
        python: Version of Python.
    """

    cpu: str
    instructions: tuple[str, ...]
    cores: int
    architecture: str
    os: str
    python: str


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a benchmark: a file, how it was run, and what came out.

    Attributes:
        file: The file's name, without its folder.
        size_bytes: Its size; external data included where onnx is installed.
        sha256: Its hash.
        provider: Execution provider, or `torch` for eager PyTorch.
        threads: Threads of one call.
        latency: Time of one call with one image.
        machine: Where it ran.
        versions: Package to version.
        batch: Images in a call of the throughput run.
        throughput_images_per_s: Images a second at that batch; None when it was not measured.
        accuracy: On the split's images; None without labels.
        speedup: Against the first row; None for a single row.
        placement: Provider to number of nodes that it runs.
        data_fingerprint: Hash of the data set.
        split: Which of its splits was scored.
        profile: Session profile; empty for `torch`.
        fallback_allowed: Whether nodes were allowed to run on the CPU instead of the provider.
        duty_cycle: What a frame costs at a fixed pace; None when it was not measured.
        target: Name of the machine as the user gave it (`--on`); empty for this one.
        watch: What disturbed it.
        resources: What the process costs.
        stages: Where the time of one prediction goes.
        scenarios: MLPerf's.
        agreement: Against the first file; None for the first.
        corrupted: On disturbed images.
        roofline: Under the machine's roof.
        right: Which images it got right, as `change.pack_flags` writes it: what a later run is paired with; empty where it was not kept.
        notes: What could not be measured beside latency, and why.
    """

    file: str
    size_bytes: int
    sha256: str
    provider: str
    threads: int
    latency: Latency
    machine: Machine
    versions: Mapping[str, str]
    batch: int = 1
    throughput_images_per_s: float | None = None
    accuracy: Accuracy | None = None
    speedup: Speedup | None = None
    placement: Mapping[str, int] = field(default_factory=dict[str, int])
    data_fingerprint: str = ""
    split: str = "test"
    profile: str = ""
    fallback_allowed: bool = False
    duty_cycle: DutyCycle | None = None
    target: str = ""
    watch: Watch | None = None
    resources: Resources | None = None
    stages: Stages | None = None
    scenarios: tuple[Scenario, ...] = ()
    agreement: Agreement | None = None
    corrupted: tuple[Corrupted, ...] = ()
    roofline: Roofline | None = None
    right: str = ""
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the one JSON form, with sorted keys."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Read a record back.

        Raises:
            DataError: The text is not a record, or one of a newer edgerec.
        """
        try:
            raw = cast("dict[str, object]", json.loads(text))
            if raw.pop("schema_version") != SCHEMA_VERSION:
                raise DataError("the record has a schema this version cannot read", text[:80], "update edgerec")
            return read_as(cls, raw)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                "this is not a benchmark record", f"{text[:80]!r} ({error})", "give what `edgerec bench --json` wrote"
            ) from error


def machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> Machine:
    """Describe the machine this runs on: fully on Linux and macOS, by the processor's name on other systems.

    Args:
        cpuinfo: Where Linux tells about its processors.
    """
    cpu, flags = _linux(cpuinfo) if cpuinfo.is_file() else _macos() if sys.platform == "darwin" else ("", frozenset[str]())
    return Machine(
        cpu=cpu or platform.processor() or platform.machine(),
        instructions=tuple(name for name in INSTRUCTIONS if name in flags),
        cores=usable_cores(),
        architecture=platform.machine(),
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def has_int8_dot(where: Machine) -> bool:
    """Return whether the machine multiplies 8-bit integers four at a time (VNNI, AMX, dot product), which makes int8 files fast."""
    return not _INT8_DOT.isdisjoint(where.instructions)


def versions() -> dict[str, str]:
    """Return the installed versions of what decides a measurement; nothing is imported for it."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _linux(cpuinfo: Path) -> tuple[str, frozenset[str]]:
    lines = [line.partition(":") for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()]
    fields = {key.strip().lower(): value.strip() for key, _, value in reversed(lines)}  # the first processor's lines win
    # x86 says "flags", ARM says "Features"; many ARM kernels name only the board, under "Hardware" or "Model".
    name = next((fields[key] for key in ("model name", "hardware", "model") if fields.get(key)), "")
    return name, frozenset((fields.get("flags") or fields.get("features") or "").split())


def _macos() -> tuple[str, frozenset[str]]:
    present = frozenset(flag for name, flag in _MACOS_NAMES.items() if _sysctl(name) == "1")
    return _sysctl("machdep.cpu.brand_string"), present


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
