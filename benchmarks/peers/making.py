"""Make a case's quantized files: one command a tool, each kept, so that an interrupted comparison goes on where it stopped."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ...data.sources import open_data
from ...data.splits import DataSet
from ...graph.file import load_onnx, read_spec
from ...runtime.errors import EdgerecError, ModelError
from ...runtime.files import replacing, sha256, write_text
from ...runtime.preprocess import prepare_feeds
from ...runtime.session import open_session
from ...runtime.spec import ModelSpec
from .commands import EDGEREC, Limits, last_object, run_command
from .environments import installed, ready
from .models import PIXELS, Case, float_file, foreign_options, make_pixels
from .registry import Peer

OURS = "edgerec"
_SOURCES = ("runtime", "data", "graph", "benchmarks", "compress", "cli")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Made:
    """What a tool made of a model.

    Attributes:
        tool: Its name.
        path: The quantized file; meaningless where `error` is not empty.
        versions: Package to version, of everything in its environment.
        seconds: From the start of its process to the file.
        own_seconds: The quantization alone, as it says itself; None where it does not say.
        peak_mb: Largest resident set of its process, 10^6 bytes.
        error: Why there is no file, in the tool's own words.
    """

    tool: str
    path: Path
    versions: Mapping[str, str]
    seconds: float = 0.0
    own_seconds: float | None = None
    peak_mb: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """A case whose float file and data are at hand.

    Attributes:
        name: Of the case.
        case: What the table says about it.
        path: The float file.
        sha256: Its hash.
        spec: What it expects.
        text: What `--data` is given.
        images: The opened data.
    """

    name: str
    case: Case
    path: Path
    sha256: str
    spec: ModelSpec
    text: str
    images: DataSet


@dataclass(frozen=True, slots=True)
class Maker:
    """How files are made.

    Attributes:
        work: Folder of everything that is made.
        venvs: Folder of the peers' environments.
        samples: Calibration images.
        limits: What each command may use.
        say: Told what is being done.
    """

    work: Path
    venvs: Path
    samples: int
    limits: Limits
    say: Say

    def ours(self, subject: Subject) -> Made:
        """Quantize with this edgerec, as a user does."""
        own = ["--samples", str(min(self.samples, len(subject.images.calibration))), *foreign_options(subject.case.input)]
        command = [*EDGEREC, "quantize", str(subject.path), "--data", subject.text, *own, "-q", "-o"]
        return self._made(subject, OURS, installed(), [_digest_of_sources(), *own], lambda output: [*command, str(output)])

    def peers(self, subject: Subject, name: str, peer: Peer) -> Made:
        """Quantize with a peer, on the same calibration images."""
        try:
            python = ready(peer.script, self.venvs, self.say)
            versions = installed(python)
        except EdgerecError as error:
            return Made(name, self.work, {}, error=str(error))

        def command(output: Path) -> list[str]:
            images = calibration_file(subject, self.work, self.samples)
            return [str(python), "-I", str(peer.script), str(subject.path), str(images), str(output), *peer.options]

        return self._made(subject, name, versions, [sha256(peer.script), *peer.options], command)

    def _made(self, subject: Subject, tool: str, versions: dict[str, str], told: list[str], command: Callable[[Path], list[str]]) -> Made:
        """Run a tool, or return what it made earlier of the same model, data and versions: a failure as well."""
        key = _key([subject.sha256, subject.images.fingerprint, self.samples, versions, told, asdict(self.limits)])
        output = self.work / f"{subject.name}.{tool.replace(' ', '-')}.{key}.onnx"
        record = output.with_suffix(".json")
        made = Made(tool, output, versions)
        if record.is_file():
            self.say(f"{subject.name}: {tool}: made earlier")
            return replace(made, **json.loads(record.read_text(encoding="utf-8")))
        self.say(f"{subject.name}: {tool} ...")
        run = run_command(command(output), self.limits)
        error = run.error or ("" if output.is_file() else "it ended well and wrote no file")
        found = {
            "seconds": run.seconds,
            "own_seconds": last_object(run.printed).get("seconds"),
            "peak_mb": run.peak_mb,
            "error": error,
        }
        write_text(record, json.dumps(found))
        self.say(f"{subject.name}: {tool}: {error or f'{run.seconds:.1f} s, {run.peak_mb:.0f} MB'}")
        return replace(made, **found)


def prepare(name: str, case: Case, models: Path, work: Path, data: Mapping[str, str]) -> Subject:
    """Find or make a case's float file and its data.

    Args:
        name: Of the case.
        case: Its description.
        models: Where files lie.
        work: Where files are made.
        data: What `--data` is given instead of a data set's name.

    Raises:
        EdgerecError: Something is missing.
    """
    text = data.get(case.data, case.data)
    path = float_file(name, case, models, work, text)
    if case.data == PIXELS:
        assert case.input is not None
        file = work / f"{name}.{PIXELS}.npz"
        if not file.is_file():
            make_pixels(file, case.input)
        text = str(file)
    known = ModelSpec((case.input,)) if case.input else read_spec(load_onnx(path))
    if known is None:
        raise ModelError("the file does not say what it expects", path, "give a file that edgerec wrote")
    return Subject(name, case, path, sha256(path), open_session(path, threads=1).fit(known), text, open_data(text))


def calibration_file(subject: Subject, work: Path, samples: int) -> Path:
    """Write the images that edgerec calibrates with, ready for the model and one by one, for the peers; once."""
    key = _key([subject.sha256, subject.images.fingerprint, samples])
    path = work / f"{subject.name}.calibration.{key}.npz"
    if path.is_file():
        return path
    batches = subject.images.calibration.take(samples).batches(1, subject.spec.inputs)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for number, batch in enumerate(batches):
            for name, array in prepare_feeds(batch.feeds, subject.spec).items():
                with archive.open(zipfile.ZipInfo(f"{number}/{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.ascontiguousarray(array))
    return path


def _key(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _digest_of_sources() -> str:
    """Return a hash of the code that quantizes: two states of a working copy have the same version."""
    root, digest = Path(__file__).parents[2], hashlib.sha256()
    for folder in _SOURCES:
        for path in sorted((root / folder).rglob("*.py")):
            if Path(__file__).parent not in path.parents:
                digest.update(path.read_bytes())
    return digest.hexdigest()
