"""Packed files: the core file's scores from plain images, or no file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto

from edgerec.export import Packing, pack, test_card
from edgerec.graph.file import load_onnx, save_onnx, with_spec
from edgerec.graph.versions import opset_of
from edgerec.runtime import ConfigError, GateError, InputSpec, ModelError, ModelSpec, OutputError, Recognizer
from edgerec.runtime.preprocess import normalize, prepare_batch, to_pixels

Make = Callable[..., ModelProto]

LABELS = ("ant", "bee", "cat", "dog")
RGB = InputSpec(16, 16)
GREY = InputSpec(16, 16, color="grey", mean=(0.1,), std=(0.3,))
PHOTO = np.kron(np.random.default_rng(1).integers(0, 256, (7, 9, 3), np.uint8), np.ones((6, 5, 1), np.uint8))  # (42, 45, 3)


def write(folder: Path, model: ModelProto, spec: ModelSpec) -> Path:
    path = folder / "core.onnx"
    save_onnx(with_spec(model, spec), path)
    return path


def reference(path: Path, images: list[np.ndarray]) -> np.ndarray:
    """Scores by the reference preprocessing and the core file."""
    model = Recognizer.load(path)
    return model.scores({model.spec.input.name: prepare_batch(images, model.spec.input)})


def run(path: Path, image: np.ndarray) -> list[np.ndarray]:
    """What a program gets that knows nothing of edgerec; image (N, H, W, C)."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["probabilities", "top_scores", "top_indices"], {"image": image})


@pytest.mark.parametrize(
    ("spec", "core"),
    [
        (RGB, {}),
        (replace(RGB, crop=0.8), {"probabilities": True}),
        (replace(RGB, fit="stretch", mean=(0, 0, 0), std=(1, 1, 1)), {"quantizer": (1 / 255, 0)}),
        (replace(RGB, color="bgr"), {"quantizer": (0.0186, 113)}),
        (replace(RGB, color="bgr", layout="NHWC"), {"layout": "NHWC"}),
        (replace(RGB, layout="NHWC"), {"layout": "NHWC", "quantizer": (0.0186, 113)}),
        (GREY, {"channels": 1}),
        (GREY, {"channels": 1, "quantizer": (0.0131, 20), "opset": 18}),
        (replace(RGB, name="image"), {"name": "image"}),
        (RGB, {"batch": 2}),
        (RGB, {"opset": 13}),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", ["any", "fixed"])
def test_scores_are_the_core_files(spec: InputSpec, core: dict[str, object], size: str, make_core: Make, tmp_path: Path) -> None:
    spec = replace(spec, name=str(core.get("name", "input")))
    scores = "probabilities" if core.get("probabilities") else "logits"
    path = write(tmp_path, make_core(**core), ModelSpec((spec,), LABELS, scores=scores))
    packed = pack(path, tmp_path / "packed.onnx", Packing(size=size, photo=PHOTO))  # type: ignore[arg-type]
    model = Recognizer.load(packed.path, replay=True)
    assert model.spec.packed is not None
    assert model.spec.packed.size == size
    images = [PHOTO, PHOTO[:30], PHOTO[:, :20], PHOTO[:16, :16]]
    fitted = [to_pixels(image, model.spec.input) for image in images]
    for given, off in ((images, 0.02 if size == "any" else 1e-6), (fitted, 1e-6)):
        expected = reference(path, given)
        for image, row in zip(given, expected, strict=True):
            found = {one.index: one.score for one in model.predict(image)}
            assert max(abs(found[index] - score) for index, score in enumerate(row)) <= off
        assert [best[0].index for best in model.predict_batch(given)] == expected.argmax(axis=1).tolist()
    assert len({row.argmax() for row in reference(path, images)}) > 1 or expected.std() > 0.05, "the images are told apart"


def test_what_any_program_gets(make_core: Make, tmp_path: Path) -> None:
    path = write(tmp_path, make_core(), ModelSpec((RGB,), LABELS))
    packed = pack(path, tmp_path / "packed.onnx", Packing(top=3))
    scores, best, indices = run(packed.path, np.stack([PHOTO, PHOTO[::-1]]))
    assert (scores.shape, best.shape, indices.shape) == ((2, 4), (2, 3), (2, 3))
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(indices, np.argsort(-scores, axis=1)[:, :3])
    np.testing.assert_array_equal(best, np.take_along_axis(scores, indices, axis=1))
    metadata = {one.key: one.value for one in load_onnx(packed.path).metadata_props}
    assert metadata["edgerec.labels"].split("\n") == list(LABELS)
    assert [step["step"] for step in packed.spec.provenance.history] == ["pack"]
    assert len(packed.spec.provenance.source_sha256) == 64


def test_old_runtimes_read_a_fixed_size_and_the_versions_are_pinned(make_core: Make, tmp_path: Path) -> None:
    path = write(tmp_path, make_core(), ModelSpec((RGB,)))
    for size, opset in (("fixed", 17), ("any", 18)):
        model = load_onnx(pack(path, tmp_path / "packed.onnx", Packing(size=size)).path)  # type: ignore[arg-type]
        assert (opset_of(model), model.ir_version) == (opset, 8)
        assert {node.op_type for node in model.graph.node}.isdisjoint({"Resize"}) == (size == "fixed")


@pytest.mark.parametrize(
    ("quantizer", "spec", "way"), [((1.0, 0), "raw", "none"), ((0.0186, 113), "imagenet", "folded"), (None, "raw", "float")]
)
def test_the_first_quantization_takes_the_normalisation(
    quantizer: tuple[float, int] | None, spec: str, way: str, make_core: Make, tmp_path: Path
) -> None:
    one = replace(RGB, scale=1.0, mean=(0, 0, 0), std=(1, 1, 1)) if spec == "raw" else RGB
    path = write(tmp_path, make_core(quantizer=quantizer), ModelSpec((one,)))
    packed = pack(path, tmp_path / "packed.onnx", Packing(size="fixed"))
    assert packed.spec.packed is not None
    assert packed.spec.packed.normalisation == way
    kinds = [node.op_type for node in load_onnx(packed.path).graph.node]
    assert ("Cast" in kinds, "QuantizeLinear" in kinds, "Div" in kinds) == (way != "none", way == "folded", False)


def test_the_packed_spec_describes_the_same_function(make_core: Make, tmp_path: Path) -> None:
    spec = replace(RGB, color="bgr")
    packed = pack(write(tmp_path, make_core(), ModelSpec((spec,))), tmp_path / "packed.onnx", Packing(size="fixed")).spec.input
    image = PHOTO[:16, :16]
    rgb_last = normalize(to_pixels(image, packed)[np.newaxis], packed)[0]
    np.testing.assert_array_equal(rgb_last[..., ::-1].transpose(2, 0, 1), prepare_batch([image], spec)[0])


@pytest.mark.parametrize("kernel", ["lanczos", "nearest"])
def test_a_kernel_that_onnx_lacks_fixes_the_size_and_says_so(kernel: str, make_core: Make, tmp_path: Path) -> None:
    path = write(tmp_path, make_core(), ModelSpec((replace(RGB, kernel=kernel),)))  # type: ignore[arg-type]
    packed = pack(path, tmp_path / "packed.onnx").spec.packed
    assert packed is not None
    assert (packed.size, packed.resize_max_levels) == ("fixed", 0)
    assert kernel in packed.reason
    with pytest.raises(GateError, match=kernel):
        pack(path, tmp_path / "other.onnx", Packing(size="any"))
    assert not (tmp_path / "other.onnx").exists()


def test_the_same_input_gives_the_same_bytes(make_core: Make, tmp_path: Path) -> None:
    path = write(tmp_path, make_core(quantizer=(0.0186, 113)), ModelSpec((RGB,), LABELS))
    one, two = (pack(path, tmp_path / name, Packing(photo=PHOTO)).path.read_bytes() for name in ("a.onnx", "b.onnx"))
    assert one == two


def test_a_failed_gate_leaves_the_old_file(make_core: Make, tmp_path: Path) -> None:
    """NaN scores: nothing can be compared with them."""
    model = make_core()
    for one in model.graph.initializer:
        if one.name == "head":
            one.raw_data = np.full((8, 4), np.nan, np.float32).tobytes()
    path, output = write(tmp_path, model, ModelSpec((RGB,))), tmp_path / "packed.onnx"
    output.write_bytes(b"old")
    with pytest.raises((GateError, ModelError, Exception)) as caught:
        pack(path, output)
    assert type(caught.value).__module__ == "edgerec.runtime.errors"
    assert output.read_bytes() == b"old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["core.onnx", "packed.onnx"]


def test_a_model_must_not_configure_its_session(make_core: Make, tmp_path: Path) -> None:
    model = make_core()
    model.metadata_props.add(key="ort_config", value="{}")
    model.metadata_props.add(key="author", value="kept")
    packed = pack(write(tmp_path, model, ModelSpec((RGB,))), tmp_path / "packed.onnx")
    assert {one.key for one in load_onnx(packed.path).metadata_props} == {"author", "edgerec"}


def test_what_cannot_be_packed(make_core: Make, tmp_path: Path) -> None:
    output = tmp_path / "packed.onnx"
    path = write(tmp_path, make_core(), ModelSpec((RGB,)))
    packed = pack(path, output, Packing(size="fixed")).path
    with pytest.raises(ModelError, match="packed already"):
        pack(packed, tmp_path / "twice.onnx")
    with pytest.raises(ModelError, match="need a classifier"):
        pack(path, tmp_path / "x.onnx", spec=ModelSpec((RGB,), task="other"))
    with pytest.raises(ModelError, match="image input"):
        pack(path, tmp_path / "x.onnx", spec=ModelSpec(()))
    with pytest.raises(OutputError):
        pack(path, tmp_path / "missing" / "x.onnx")
    save_onnx(make_core(), path)
    with pytest.raises(ModelError, match="does not say what it expects"):
        pack(path, tmp_path / "x.onnx")
    two = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,3,4,4] a, float[N,3,4,4] b) => (float[N,3,4,4] y) {y = Add (a, b)}'
    )
    save_onnx(two, path)
    with pytest.raises(ModelError, match="one image input"):
        pack(path, tmp_path / "x.onnx", spec=ModelSpec((replace(RGB, name="a"),)))
    with pytest.raises(ConfigError, match="unknown size"):
        Packing(size="tiny")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="top"):
        Packing(top=0)
    assert not (tmp_path / "x.onnx").exists()


def test_more_classes_are_asked_for_than_there_are(make_core: Make, tmp_path: Path) -> None:
    packed = pack(write(tmp_path, make_core(), ModelSpec((RGB,))), tmp_path / "packed.onnx", Packing(top=1000))
    assert run(packed.path, PHOTO[np.newaxis])[1].shape == (1, 4)


def test_the_golden_image_is_small_and_the_photo_itself(make_core: Make, tmp_path: Path) -> None:
    path = write(tmp_path, make_core(), ModelSpec((RGB,)))
    large = np.kron(PHOTO, np.ones((4, 4, 1), np.uint8))
    for photo, shape in ((large, (60, 64)), (PHOTO, (42, 45)), (None, (48, 64))):
        packed = pack(path, tmp_path / "packed.onnx", Packing(photo=photo)).spec.packed
        assert packed is not None
        assert (packed.golden.height, packed.golden.width) == shape


def test_the_data_pipeline_feeds_packed_files(make_core: Make, tmp_path: Path) -> None:
    """Batches of a data split are uint8 images in the model's size: a packed file takes them as they are."""
    from edgerec.runtime.preprocess import prepare_feeds
    from edgerec.runtime.session import open_session

    path = write(tmp_path, make_core(), ModelSpec((RGB,)))
    session = open_session(pack(path, tmp_path / "packed.onnx").path)
    assert session.spec is not None
    batch = np.stack([to_pixels(test_card.draw(*size, 3), session.spec.input) for size in ((20, 30), (40, 17))])
    found = session.predict(prepare_feeds({"image": batch}, session.spec))
    np.testing.assert_allclose(found, reference(path, [*batch]), atol=1e-6)
