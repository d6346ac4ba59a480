"""examples/cpp, built with the headers in ONNXRUNTIME_INCLUDE and the library inside the onnxruntime wheel: the same digits as Python's."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto
from PIL import Image

from edgerec.export import Packing, pack, test_card
from edgerec.export.ort_format import write_ort
from edgerec.graph.file import save_onnx, with_spec
from edgerec.runtime import InputSpec, ModelSpec, Recognizer

SOURCE = Path(__file__).resolve().parents[1] / "examples" / "cpp"
LABELS = ("ant", "honey bee", "käfer", "dog")


def what_is_missing() -> str:
    if not Path(os.environ.get("ONNXRUNTIME_INCLUDE", ""), "onnxruntime_cxx_api.h").is_file() or "ONNXRUNTIME_INCLUDE" not in os.environ:
        return "ONNXRUNTIME_INCLUDE names no folder with onnxruntime_cxx_api.h (.ci/onnxruntime-headers fetches one)"
    return ", ".join(f"no {one}" for one in ("cmake", "c++") if shutil.which(one) is None)


pytestmark = pytest.mark.skipif(bool(what_is_missing()), reason=f"the C++ example was not built: {what_is_missing()}")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cpp")
    libraries = [*(Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")]
    assert len(libraries) == 1
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):  # the wheel has only the full name; the loader looks for the second
        (folder / name).symlink_to(libraries[0])
    settings = {
        "ONNXRUNTIME_INCLUDE": os.environ["ONNXRUNTIME_INCLUDE"],
        "ONNXRUNTIME_LIBRARY": folder / "libonnxruntime.so",
        "CMAKE_CXX_FLAGS": "-Werror -Wpedantic",
        "CMAKE_BUILD_TYPE": "Debug",
    }
    build = folder / "build"
    configure = ["cmake", "-S", SOURCE, "-B", build, *(f"-D{key}={value}" for key, value in settings.items())]
    for command in (configure, ["cmake", "--build", build]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "recognize"


@pytest.fixture(scope="module")
def folder(make_core: Callable[..., ModelProto], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed models and images of both kinds."""
    folder = tmp_path_factory.mktemp("models")
    grey = InputSpec(16, 16, color="grey", mean=(0.1,), std=(0.3,))
    cores = {
        "rgb": (make_core(), InputSpec(16, 16)),
        "int8": (make_core(quantizer=(0.0186, 113)), InputSpec(16, 16, crop=0.9)),
        "grey": (make_core(channels=1), grey),
    }
    for name, (core, spec) in cores.items():
        save_onnx(with_spec(core, ModelSpec((spec,), LABELS)), folder / "core.onnx")
        write_ort(pack(folder / "core.onnx", folder / f"{name}.onnx", Packing(size="any", top=3)).path)
    pack(folder / "core.onnx", folder / "fixed.onnx", Packing(size="fixed"))
    for number, size in enumerate([(16, 16), (33, 50), (120, 47), (1, 9)]):
        Image.fromarray(test_card.draw(*size, 3)).save(folder / f"{number}.ppm")
        Image.fromarray(test_card.draw(*size, 1)[:, :, 0]).save(folder / f"{number}.pgm")
    return folder


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=30)


def lines(model: Path, image: Path | np.ndarray) -> str:
    return "".join(f"{one.label}\t{one.score:.6f}\n" for one in Recognizer.load(model, threads=1, top=3).predict(image))


@pytest.mark.parametrize("model", ["rgb.onnx", "rgb.ort", "int8.onnx", "int8.ort", "grey.onnx", "grey.ort"])
def test_the_same_digits_as_python(model: str, program: Path, folder: Path) -> None:
    seen: set[str] = set()
    for image in sorted((*folder.glob("*.ppm"), *folder.glob("*.pgm"))):
        done = run(program, folder / model, image)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == lines(folder / model, image), image.name
        seen.add(done.stdout)
    assert len(seen) > 2, "images are told apart"


def test_frames_of_a_camera(program: Path, folder: Path) -> None:
    for model, channels in (("rgb.onnx", 3), ("grey.onnx", 1)):
        frame = test_card.draw(30, 20, channels)
        (folder / "frame.raw").write_bytes(frame.tobytes())
        done = run(program, folder / model, folder / "frame.raw", "--raw", "20x30", "--threads", 2)
        assert (done.stdout, done.stderr, done.returncode) == (lines(folder / model, frame), "", 0)


def test_headers_with_comments(program: Path, folder: Path, tmp_path: Path) -> None:
    pixels = test_card.draw(4, 5, 3)
    (tmp_path / "a.ppm").write_bytes(b"P6 # made by hand\n# twice\n5\t4\n#\n255\n" + pixels.tobytes())
    assert run(program, folder / "rgb.onnx", tmp_path / "a.ppm").stdout == lines(folder / "rgb.onnx", pixels)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not a binary PPM"),
        (b"P6", "lacks a number"),
        (b"P3 2 2 255 ", "not a binary PPM"),
        (b"\x89PNG\r\n\x1a\n", "not a binary PPM"),
        (b"P6 2", "lacks a number"),
        (b"P6 -2 2 255\n" + bytes(12), "lacks a number"),
        (b"P6 2 2 255", "does not end"),
        (b"P6 2 2 65535\n" + bytes(24), "8 bits"),
        (b"P6 2 2 255\n" + bytes(11), "11 bytes of pixels, 12 expected"),
        (b"P6 0 2 255\n", "0x2 pixels"),
        (b"P6 2147483647 2147483647 255\n", "2147483647x2147483647 pixels"),
        (b"P6 9000 9000 255\n", "9000x9000 pixels"),
        (b"P6 99999999999999999999999999 2 255\n", "too large"),
        (b"P6 #" + bytes(100), "lacks a number"),
    ],
)
def test_bad_images(content: bytes, told: str, program: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.ppm").write_bytes(content)
    done = run(program, folder / "rgb.onnx", tmp_path / "bad.ppm")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_bad_models_and_arguments(program: Path, folder: Path, tmp_path: Path) -> None:
    image = folder / "1.ppm"
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    (tmp_path / "frame.raw").write_bytes(bytes(10))
    for arguments, told in [
        ((folder / "core.onnx", image), "not a packed model"),
        ((folder / "missing.onnx", image), "no such model file"),
        ((folder, image), "no such model file"),
        ((tmp_path / "bad.onnx", image), "error: "),
        ((folder / "fixed.onnx", folder / "1.pgm"), "takes 16x16 pixels only, the image has 50x33"),
        ((folder / "rgb.onnx", folder / "missing.ppm"), "cannot be opened"),
        ((folder / "rgb.onnx", folder), "cannot be read"),
        ((folder / "rgb.onnx",), "a model and an image"),
        ((folder / "rgb.onnx", image, "--fast"), "unknown option --fast"),
        ((folder / "rgb.onnx", image, "--raw"), "needs a value"),
        ((folder / "rgb.onnx", image, "--raw", "2by2"), "not a size"),
        ((folder / "rgb.onnx", image, "--raw", "0x2"), "0x2 pixels"),
        ((folder / "rgb.onnx", tmp_path / "frame.raw", "--raw", "2x2"), "10 bytes, 12 expected"),
        ((folder / "rgb.onnx", image, "--threads", "0"), "--threads 0"),
    ]:
        done = run(program, *arguments)
        assert (done.returncode, done.stdout) == (1, ""), arguments
        assert told in done.stderr, done.stderr
        assert done.stderr.startswith("error: ")


def test_a_fixed_size_that_fits(program: Path, folder: Path) -> None:
    assert run(program, folder / "fixed.onnx", folder / "0.pgm").stdout.startswith(lines(folder / "fixed.onnx", folder / "0.pgm"))
