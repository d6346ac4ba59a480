"""Sessions, providers and the recognizer, on graphs written here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgerec.runtime import InputSpec, ModelSpec, Recognizer, open_session
from edgerec.runtime.cores import usable_cores
from edgerec.runtime.errors import ConfigError, DataError, GateError, ModelError, ProviderError
from edgerec.runtime.placement import Placement, check_placement
from edgerec.runtime.providers import find_provider, parse_options
from edgerec.runtime.scores import softmax_
from edgerec.runtime.session import Session
from edgerec.runtime.tensors import Tensor

SPEC = ModelSpec((InputSpec(2, 2, color="grey", scale=1.0, mean=(0.0,), std=(1.0,)),), labels=("dark", "bright"))


def brightness_model(spec: ModelSpec | None = SPEC) -> bytes:
    """A classifier by hand: logits (0, sum of the four pixels - 510)."""
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
    ]
    weight = helper.make_tensor("weight", TensorProto.FLOAT, (4, 2), [0, 1] * 4)
    bias = helper.make_tensor("bias", TensorProto.FLOAT, (2,), [0, -510])
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 2, 2])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    model = helper.make_model(
        helper.make_graph(nodes, "brightness", [image], [logits], [weight, bias]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    if spec:
        helper.set_model_props(model, {"edgerec": spec.to_json()})
    return model.SerializeToString()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "brightness.onnx"
    path.write_bytes(brightness_model())
    return path


def test_outputs_by_name_and_proof_of_placement(file: Path) -> None:
    session = open_session(file, threads=1)
    out = session.run({"input": np.full((3, 1, 2, 2), 200, np.float32)})
    np.testing.assert_array_equal(out["logits"], [[0, 290]] * 3)
    assert session.spec == SPEC
    assert session.placement.share("CPUExecutionProvider") == 1
    assert (session.inputs[0], session.threads) == (Tensor("input", ("batch", 1, 2, 2), "tensor(float)"), 1)


def test_a_provider_that_gives_no_outputs_is_said(file: Path) -> None:
    class Silent:
        def run(self, output_names: list[str] | None, input_feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            return []

    with pytest.raises(ModelError, match="gave no outputs"):
        replace(open_session(file), ort=Silent()).run({})


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"x": np.zeros((1, 1, 2, 2), np.float32)},
        {"input": np.zeros((1, 1, 3, 2), np.float32)},
        {"input": np.zeros((1, 1, 2, 2), np.uint8)},
        {"input": np.zeros(4, np.float32)},
    ],
)
def test_a_refused_input_says_what_the_model_takes(file: Path, feeds: dict[str, np.ndarray]) -> None:
    with pytest.raises(DataError, match=r"it takes input tensor\(float\)"):
        open_session(file).run(feeds)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08", brightness_model()[:60]])
def test_corrupt_files_are_model_errors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        open_session(tmp_path / "bad.onnx")


def test_byte_flips_never_escape_the_error_tree() -> None:
    data = bytearray(brightness_model())
    refused = 0
    for position in range(0, len(data), 3):
        mutant = bytes(data[:position]) + bytes([data[position] ^ 0x41]) + bytes(data[position + 1 :])
        try:
            open_session(mutant).run({"input": np.zeros((1, 1, 2, 2), np.float32)})
        except (ModelError, DataError):
            refused += 1
    assert refused > 20, "many of the flips must damage the file, else this proves nothing"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        open_session(tmp_path / "no.onnx")


def test_unknown_provider_lists_the_choices(file: Path) -> None:
    with pytest.raises(ProviderError, match="cpu, cuda, tensorrt"):
        open_session(file, provider="gpu")


def test_a_provider_that_is_not_installed_says_what_brings_it() -> None:
    import onnxruntime

    if "MIGraphXExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("MIGraphX is installed here")
    with pytest.raises(ProviderError) as caught:
        find_provider("migraphx")
    assert "onnxruntime-migraphx" in caught.value.fix
    assert caught.value.exit_code == 1


def test_onnxruntimes_own_names_work() -> None:
    assert find_provider("CPUExecutionProvider").name == "cpu"


def test_a_provider_that_does_not_run_the_nodes_fails_the_gate() -> None:
    cuda = find_provider("cpu").__class__("cuda", "CUDAExecutionProvider", "")
    with pytest.raises(GateError, match="10% of 10") as caught:
        check_placement(Placement({cuda.ort_name: 1, "CPUExecutionProvider": 9}), cuda, 0.9)
    assert "--allow-fallback" in caught.value.fix
    check_placement(Placement({cuda.ort_name: 10}), cuda, 0.9)
    check_placement(Placement({cuda.ort_name: 1, "CPUExecutionProvider": 9}), cuda, 0.1)


def test_threads_and_options_are_checked(file: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        open_session(file, threads=0)
    assert parse_options(["device_id=0", "a=b=c"]) == {"device_id": "0", "a": "b=c"}
    with pytest.raises(ConfigError, match="key=value"):
        parse_options(["device_id"])


def test_the_containers_quota_bounds_the_cores(tmp_path: Path) -> None:
    here = usable_cores(tmp_path / "none", tmp_path / "none")
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert usable_cores(tmp_path, tmp_path / "none") == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cores(tmp_path, tmp_path / "none") == here


def test_predict_from_array_bytes_and_path(file: Path, tmp_path: Path) -> None:
    from PIL import Image

    bright = np.full((2, 2), 255, np.uint8)
    Image.fromarray(bright).save(tmp_path / "bright.png")
    model = Recognizer.load(file)
    for image in (bright, tmp_path / "bright.png", str(tmp_path / "bright.png"), (tmp_path / "bright.png").read_bytes()):
        best = model.predict(image)[0]
        assert (best.label, best.index) == ("bright", 1)
        assert best.score == pytest.approx(1.0)


def test_scores_are_softmax_and_batches_equal_singles(file: Path) -> None:
    images = [np.full((2, 2), level, np.uint8) for level in (0, 127, 128, 255)]
    model = Recognizer.load(file)
    batch = model.predict_batch(images)
    assert batch == [model.predict(image) for image in images]
    # Level 127 gives the logits (0, -2): 1 / (1 + e^-2) by hand.
    assert batch[1][0].score == pytest.approx(1 / (1 + np.exp(-2)))
    assert model.predict_batch([]) == []


def test_softmax_survives_large_logits() -> None:
    np.testing.assert_allclose(softmax_(np.array([[1000.0, 1000.0]], np.float32)), [[0.5, 0.5]])


def test_a_file_without_metadata_needs_a_spec(tmp_path: Path) -> None:
    (tmp_path / "foreign.onnx").write_bytes(brightness_model(None))
    with pytest.raises(ModelError, match="ModelSpec"):
        Recognizer.load(tmp_path / "foreign.onnx")
    spec = ModelSpec((InputSpec(2, 2, name="anything", color="grey", scale=1.0, mean=(0.0,), std=(1.0,)),))
    assert Recognizer.load(tmp_path / "foreign.onnx", spec=spec).predict(np.zeros((2, 2), np.uint8))[0].label == "0"


class NotFinite:
    """A session whose output overflowed."""

    def run(self, output_names: list[str] | None, input_feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [np.array([[np.nan, 1.0]], np.float32)]


def test_an_output_that_is_not_finite_is_said() -> None:
    session = Session(
        (Tensor("input", ("n", 1, 2, 2), "tensor(float)"),),
        (Tensor("logits", ("n", 2), "tensor(float)"),),
        SPEC,
        Placement({}),
        "cpu",
        1,
        NotFinite(),
    )
    with pytest.raises(DataError, match="not finite"):
        Recognizer(session).predict(np.zeros((2, 2), np.uint8))
