"""The recognizer on a graph written here: what it takes, what it refuses, what it leaves behind."""

import gc
import io
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgerec.runtime import InputSpec, ModelSpec, Recognizer, open_session
from edgerec.runtime.binding import Binding
from edgerec.runtime.errors import DataError, EdgerecError, ModelError
from edgerec.runtime.finite import is_finite
from edgerec.runtime.placement import Placement
from edgerec.runtime.preprocess import prepare, prepare_batch
from edgerec.runtime.scores import SMALL, rank, softmax_
from edgerec.runtime.session import Runnable

SPEC = ModelSpec((InputSpec(8, 6),), labels=("a", "b", "c"))
RGB = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)


def linear_model(classes: int = 3, spec: ModelSpec | None = SPEC, batch: int | str = "n", kind: int = TensorProto.FLOAT) -> bytes:
    """A classifier by hand: logits are the flattened input times a seeded matrix."""
    weight = np.random.default_rng(1).normal(size=(3 * 8 * 6, classes)).astype(helper.tensor_dtype_to_np_dtype(kind))
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["logits"])],
        "linear",
        [helper.make_tensor_value_info("x", kind, [batch, 3, 8, 6])],
        [helper.make_tensor_value_info("logits", kind, [batch, classes]), helper.make_tensor_value_info("flat", kind, [batch, 144])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if spec:
        helper.set_model_props(model, {"edgerec": spec.to_json()})
    return model.SerializeToString()


def two_input_model(spec: ModelSpec) -> bytes:
    """Logits (mean of left, mean of right + bias), bias an input that takes no image."""
    nodes = [
        helper.make_node("ReduceMean", ["left"], ["l"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["right"], ["r0"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Add", ["r0", "bias"], ["r"]),
        helper.make_node("Unsqueeze", ["l", "one"], ["l1"]),
        helper.make_node("Unsqueeze", ["r", "one"], ["r1"]),
        helper.make_node("Concat", ["l1", "r1"], ["logits"], axis=1),
    ]
    images = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, 2, 2]) for name in ("left", "right")]
    graph = helper.make_graph(
        nodes,
        "pair",
        [*images, helper.make_tensor_value_info("bias", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.array([1], np.int64), "one")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"edgerec": spec.to_json()})
    return model.SerializeToString()


@pytest.fixture
def recognizer() -> Recognizer:
    return Recognizer(open_session(linear_model(), threads=1))


def expected(image: np.ndarray, top: int = 3) -> list[tuple[str, int, object]]:
    """The answer by ONNX Runtime alone and double precision."""
    logits = open_session(linear_model(), threads=1).run({"x": prepare(image, SPEC.input)[np.newaxis]})["logits"][0].astype(np.float64)
    scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    return [(SPEC.labels[i], int(i), pytest.approx(float(scores[i]), rel=1e-6)) for i in np.argsort(-scores, kind="stable")[:top]]


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_every_form_of_an_image_gives_the_same_answer(recognizer: Recognizer, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(RGB)))
    wanted = expected(RGB)
    data = (tmp_path / "a.png").read_bytes()
    tensor = prepare(RGB, SPEC.input)
    for _ in range(2):  # the first run is unbound, the second goes through bound buffers
        for form in (RGB, tmp_path / "a.png", str(tmp_path / "a.png"), data, bytearray(data), memoryview(data), Image.fromarray(RGB)):
            assert recognizer.predict(form) == wanted
        for ready in (tensor, tensor[np.newaxis], {"x": RGB}, {"x": tensor}):
            assert recognizer.predict(ready) == wanted


def test_lists_and_arrays_of_images_give_lists(recognizer: Recognizer) -> None:
    images = [RGB, RGB[::-1], np.repeat(RGB, 3, axis=0)]
    wanted = [recognizer.predict(one) for one in images]
    for _ in range(2):
        assert recognizer.predict(images) == recognizer.predict(tuple(images)) == recognizer.predict_batch(images) == wanted
    assert recognizer.predict_batch(np.stack(images[:2])) == wanted[:2]
    assert recognizer.predict_batch(prepare_batch(images, SPEC.input)) == wanted
    assert recognizer.predict([]) == recognizer.predict_batch([]) == []


@pytest.mark.parametrize("batch", [1, 2])
def test_files_of_a_fixed_batch(batch: int) -> None:
    model = Recognizer(open_session(linear_model(batch=batch), threads=1))
    images = [RGB, RGB[::-1], RGB[:, ::-1]]
    for _ in range(2):
        assert model.predict(images) == [expected(one) for one in images]
        assert model.predict(RGB) == expected(RGB)


def test_half_and_double_precision_inputs_are_filled_directly() -> None:
    for kind, tolerance in ((TensorProto.FLOAT16, 2e-2), (TensorProto.DOUBLE, 1e-6)):
        model = Recognizer(open_session(linear_model(kind=kind), threads=1))
        for form in (RGB, prepare(RGB, SPEC.input)):
            for _ in range(2):
                assert [one.score for one in model.predict(form)] == pytest.approx(
                    [one[2].expected for one in expected(RGB)], abs=tolerance
                )


@pytest.mark.parametrize("classes", [2, SMALL, SMALL + 1, 1000])
def test_ranks_are_softmax_and_a_stable_sort(classes: int) -> None:
    logits = np.random.default_rng(2).normal(size=(4, classes)).astype(np.float32).round(1)  # rounded: many are equal
    spec = ModelSpec((InputSpec(1, 1),), labels=("zero", "one"))
    for row, found in zip(logits, rank(logits, spec, 5), strict=True):
        exact = np.exp(row.astype(np.float64)) / np.exp(row.astype(np.float64)).sum()
        assert [one.index for one in found] == np.argsort(-row, kind="stable")[:5].tolist()
        assert [one.score for one in found] == pytest.approx(exact[[one.index for one in found]].tolist(), rel=1e-5)
        assert [one.label for one in found] == [("zero", "one")[one.index] if one.index < 2 else str(one.index) for one in found]
    probabilities = ModelSpec((InputSpec(1, 1),), scores="probabilities")
    assert rank(softmax_(logits.copy()), probabilities, 1)[0][0].score == pytest.approx(rank(logits, spec, 1)[0][0].score, rel=1e-5)


@pytest.mark.parametrize("classes", [3, 100])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scores", ["logits", "probabilities"])
def test_scores_that_are_not_finite_are_refused(classes: int, value: float, scores: str) -> None:
    logits = np.zeros((2, classes), np.float32)
    logits[1, 1] = value
    with pytest.raises(DataError, match="output is not finite"):
        rank(logits, ModelSpec((InputSpec(1, 1),), scores=scores), 5)  # type: ignore[arg-type]


GREY = InputSpec(2, 2, name="left", color="grey", scale=1.0, mean=(0.0,), std=(1.0,))


def test_several_inputs_by_name() -> None:
    spec = ModelSpec((GREY, InputSpec(2, 2, name="right", color="grey", scale=1.0, mean=(0.0,), std=(1.0,))), labels=("left", "right"))
    model = Recognizer(open_session(two_input_model(spec), threads=1))
    dark, bright, none = np.full((2, 2), 10, np.uint8), np.full((2, 2), 20, np.uint8), np.zeros(1, np.float32)
    for _ in range(2):
        assert model.predict({"left": dark, "right": bright, "bias": none})[0].label == "right"
        assert model.predict({"left": dark, "right": bright, "bias": none - 20})[0].label == "left"
    assert model.run({"left": dark, "right": bright, "bias": none})["logits"].tolist() == [[10, 20]]
    assert [one[0].label for one in model.stream([{"left": bright, "right": dark, "bias": none}])] == ["left"]
    for wrong, word in (({"left": dark}, "right"), (dark, "by name")):
        with pytest.raises(EdgerecError, match=word):
            model.predict(wrong)
    with pytest.raises(DataError, match="one by one"):
        model.predict([{"left": dark, "right": dark, "bias": none}] * 2)


def test_raw_outputs_by_name(recognizer: Recognizer) -> None:
    assert recognizer.outputs == ("logits", "flat")
    found = recognizer.run(RGB)
    np.testing.assert_array_equal(found["flat"][0], prepare(RGB, SPEC.input).reshape(-1))
    assert found["logits"].shape == (1, 3)
    other = Recognizer(open_session(linear_model(spec=ModelSpec(SPEC.inputs, task="other")), threads=1))
    np.testing.assert_array_equal(other.run(RGB)["logits"], found["logits"])
    with pytest.raises(ModelError, match="need a classifier"):
        other.predict(RGB)


def test_a_file_without_metadata_runs_with_a_spec_by_hand(tmp_path: Path) -> None:
    (tmp_path / "foreign.onnx").write_bytes(linear_model(spec=None))
    model = Recognizer.load(tmp_path / "foreign.onnx", spec=SPEC, threads=1, top=1, options={}, allow_fallback=True, min_on_provider=0.5)
    assert model.predict(RGB) == expected(RGB, 1)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((3, 8, 6), np.nan, np.float32), "'x' is not finite: 144 of 144 values"),
        (np.full((1, 3, 8, 6), -np.inf, np.float32), "not finite"),
        (np.array([np.inf, -np.inf] * 72, np.float32).reshape(3, 8, 6), "144 of 144"),
        (np.zeros((2, 3, 8, 6), np.float32), "predict_batch"),
        (np.zeros((8, 6, 3), np.float32), r"float32 \(8, 6, 3\)"),
        (np.zeros((4, 8, 6), np.float32), r"shape \(3, 8, 6\)"),
        (np.zeros((3, 8, 6), np.float64), "dtype float64"),
        (np.zeros((3, 8, 6), ">f4"), "dtype >f4"),
        (np.zeros((8, 6, 3), np.int64), "dtype int64"),
        (np.zeros((8, 6, 3), bool), "dtype bool"),
        (np.empty((8, 6, 3), object), "dtype object"),
        (np.zeros((8, 6), "U3"), "dtype <U3"),
        (np.zeros((8, 6, 2), np.uint8), "channels last"),
        (np.zeros((1, 8, 6, 3), np.uint8), "channels last"),
        (np.zeros((0, 6, 3), np.uint8), "shape"),
        (np.zeros((), np.uint8), "shape"),
        (np.zeros((0, 3, 8, 6), np.float32), "prepared tensor"),
        (None, "a NoneType"),
        (3.5, "a float"),
        ([[1, 2], [3, 4]], "a list"),
        ({"y": RGB}, "give x"),
        (b"", "cannot be decoded"),
        ("no/such/file.jpg", "does not exist"),
        ("", "a folder"),
        ("null\0byte", "cannot be decoded"),
    ],
)
def test_wrong_input_is_named(recognizer: Recognizer, image: object, words: str) -> None:
    for _ in range(2):
        with pytest.raises(DataError, match=words):
            recognizer.predict(image)  # type: ignore[call-overload]
        assert recognizer.predict(RGB) == expected(RGB), "a refused image leaves nothing behind"


def test_large_finite_values_are_no_infinity(recognizer: Recognizer) -> None:
    largest = np.full((3, 8, 6), np.finfo(np.float32).max)
    assert is_finite(largest)
    assert is_finite(-largest)
    tensor = np.full((3, 8, 6), 1e30, np.float32)  # its square is not a float32
    for _ in range(2):
        assert len(recognizer.predict(tensor)) == 3


def test_memory_layouts_do_not_matter(recognizer: Recognizer) -> None:
    wide = np.repeat(RGB, 2, axis=1)
    frozen = RGB.copy()
    frozen.flags.writeable = False
    tensor = prepare(RGB, SPEC.input)
    for _ in range(2):
        for pixels in (np.asfortranarray(RGB), wide[:, ::2], frozen, RGB[::-1][::-1], RGB.view(np.ndarray), np.ma.masked_array(RGB)):
            assert recognizer.predict(pixels) == expected(RGB)
        strided = np.zeros((3, 8, 12), np.float32)[:, :, ::2]
        strided[:] = tensor
        for ready in (np.asfortranarray(tensor), strided):
            assert recognizer.predict(ready) == expected(RGB)


def test_a_session_that_cannot_be_bound_works_all_the_same() -> None:
    class Plain:
        def __init__(self) -> None:
            self.real = open_session(linear_model(), threads=1).ort

        def run(self, output_names: list[str] | None, input_feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            return self.real.run(output_names, input_feed)

    session = open_session(linear_model(), threads=1)
    model = Recognizer(replace(session, ort=Plain()))
    for _ in range(3):
        assert model.predict(RGB) == expected(RGB)


def test_a_model_on_a_device_of_its_own_is_fed_anew_for_every_image() -> None:
    """CUDA's sessions copy a bound input to the device when it is bound, and never again; this one refuses to be bound."""

    class OnDevice:
        def __init__(self, real: Runnable) -> None:
            self.run = real.run

        def io_binding(self) -> object:
            raise AssertionError("bound an input of another device")

    session = open_session(linear_model(), threads=1)
    placement = Placement({"CUDAExecutionProvider": 1, "CPUExecutionProvider": 1})
    model = Recognizer(replace(session, ort=OnDevice(session.ort), placement=placement))
    for image in (RGB, 255 - RGB, RGB):
        assert model.predict(image) == expected(image)


def test_a_bound_run_that_fails_is_explained() -> None:
    binding = Binding(open_session(linear_model(), threads=1), {"x": (3, 8, 5)}, 1)
    for _ in range(2):
        with pytest.raises(DataError, match="the model refuses this input"):
            binding.run()


def test_threads_get_the_serial_answers(recognizer: Recognizer) -> None:
    images = np.random.default_rng(3).integers(0, 256, (40, 8, 6, 3), np.uint8)
    serial = [recognizer.predict(one) for one in images]
    found: dict[int, list[object]] = {}

    def work(number: int) -> None:
        found[number] = [recognizer.predict(one) for _ in range(5) for one in images]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 16
    assert all(one == serial * 5 for one in found.values())


def test_a_call_allocates_its_result_only() -> None:
    spec = ModelSpec((InputSpec(96, 96),))
    weight = numpy_helper.from_array(np.zeros((3, 10), np.float32), "w")
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 96, 96])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [weight],
    )
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    model = Recognizer(open_session(file, threads=1), spec)
    pixels = np.zeros((96, 96, 3), np.uint8)
    for image in (pixels, prepare(pixels, spec.input)):  # 110,592 bytes as float32
        for _ in range(3):
            model.predict(image)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            model.predict(image)
            grown = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
        flags = 96 * 96 * 3 if image.dtype == np.float32 else 0  # of isfinite, above the size that one product checks
        assert grown < 8_000 + flags


def test_closing_is_said_and_gives_memory_back(recognizer: Recognizer) -> None:
    with recognizer as model:
        model.predict(RGB)
    for call in (lambda: model.predict(RGB), lambda: model.run(RGB), lambda: model.outputs, lambda: model.stream([RGB])):
        with pytest.raises(ModelError, match="closed"):
            call()
    model.close()


RELEASE = """
import gc, sys
import numpy as np
from pathlib import Path
from edgerec.runtime import InputSpec, ModelSpec, Recognizer

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

model = Recognizer.load(sys.argv[1], spec=ModelSpec((InputSpec(8, 6),)), threads=1)
for _ in range(3):
    model.predict(np.zeros((8, 6, 3), np.uint8))
full = resident_mb()
model.close()
gc.collect()
print(full - resident_mb())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_close_gives_the_models_memory_back_to_the_system(tmp_path: Path) -> None:
    (tmp_path / "large.onnx").write_bytes(linear_model(classes=100_000, spec=None))  # 57.6 MB of weights
    out = subprocess.run([sys.executable, "-P", "-c", RELEASE, str(tmp_path / "large.onnx")], capture_output=True, text=True, check=True)
    assert float(out.stdout) > 50


def test_nothing_is_left_behind_after_many_calls(recognizer: Recognizer) -> None:
    for _ in range(50):
        recognizer.predict(RGB)
    gc.collect()
    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        for _ in range(2000):
            recognizer.predict(RGB)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - start < 4_000
    finally:
        tracemalloc.stop()
