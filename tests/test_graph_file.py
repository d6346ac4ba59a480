"""Loading refuses whatever is damaged or dangerous, saving is atomic and repeatable, and the spec survives both."""

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgerec.graph.file import files_of, load_onnx, read_spec, save_onnx, with_spec, writing_onnx
from edgerec.runtime.errors import GateError, ModelError, OutputError
from edgerec.runtime.session import open_session
from edgerec.runtime.spec import InputSpec, ModelSpec

SPEC = ModelSpec(inputs=(InputSpec(4, 4, color="grey", mean=(0.5,), std=(0.5,)),), labels=("cat", "dog"))


def tiny(weight_rows: int = 2) -> ModelProto:
    """Return logits = flatten(input) @ W^T with W of shape (weight_rows, 16)."""
    weight = np.random.default_rng(0).standard_normal((weight_rows, 16)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "weight"], ["logits"], name="linear", transB=1),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 4, 4])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", weight_rows])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, [numpy_helper.from_array(weight, "weight")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiny.onnx"


def test_what_is_saved_is_loaded(path: Path) -> None:
    save_onnx(tiny(), path)
    assert load_onnx(path) == tiny()
    assert [one.name for one in path.parent.iterdir()] == ["tiny.onnx"]


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    save_onnx(with_spec(tiny(), SPEC), tmp_path / "a.onnx")
    save_onnx(with_spec(tiny(), SPEC), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_the_spec_travels_and_the_argument_is_left_alone(path: Path) -> None:
    model = tiny()
    save_onnx(with_spec(model, SPEC), path)
    assert read_spec(load_onnx(path)) == SPEC
    assert model == tiny()
    assert read_spec(model) is None


def test_a_new_spec_replaces_the_old_one_and_keeps_foreign_metadata() -> None:
    model = tiny()
    model.metadata_props.add(key="author", value="somebody")
    twice = with_spec(with_spec(model, ModelSpec(inputs=())), SPEC)
    assert [prop.key for prop in twice.metadata_props] == ["author", "edgerec"]
    assert read_spec(twice) == SPEC


def test_a_damaged_spec_is_an_error() -> None:
    model = tiny()
    model.metadata_props.add(key="edgerec", value='{"schema_version": 1, "inputs": 3}')
    with pytest.raises(ModelError, match="damaged"):
        read_spec(model)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not ONNX"),
        (b"hello", "not ONNX"),
        (bytes(500), "not ONNX"),
    ],
)
def test_what_is_not_onnx_is_refused(path: Path, content: bytes | None, told: str) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=told) as caught:
        load_onnx(path)
    assert str(path) in caught.value.given
    assert caught.value.fix


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a folder"):
        load_onnx(tmp_path)


def test_damaged_files_raise_nothing_but_model_error(path: Path) -> None:
    save_onnx(with_spec(tiny(), SPEC), path)
    whole = path.read_bytes()
    choose = random.Random(0)
    mutants = [whole[: len(whole) * part // 60] for part in range(60)]
    for _ in range(400):
        mutant = bytearray(whole)
        for _ in range(choose.choice((1, 1, 4))):
            mutant[choose.randrange(len(mutant))] = choose.randrange(256)
        mutants.append(bytes(mutant))
    refused = 0
    for mutant in mutants:
        path.write_bytes(mutant)
        try:
            load_onnx(path)  # a flipped weight or label is still a model
        except ModelError:
            refused += 1
    assert refused > len(mutants) / 4


def test_a_graph_that_contradicts_itself_is_refused(path: Path) -> None:
    model = tiny()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3  # the weight gives 2
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="damaged"):
        load_onnx(path)


def test_large_weights_go_into_a_content_named_file(path: Path) -> None:
    model = tiny(weight_rows=200)
    before = model.SerializeToString()
    save_onnx(model, path, inline_limit_bytes=1000)
    data = next(path.parent.glob("tiny-*.data"))
    assert path.stat().st_size < 1000 < data.stat().st_size
    assert model.SerializeToString() == before
    loaded = load_onnx(path)
    np.testing.assert_array_equal(numpy_helper.to_array(loaded.graph.initializer[0]), numpy_helper.to_array(model.graph.initializer[0]))
    image = np.ones((3, 1, 4, 4), np.float32)
    expected = image.reshape(3, 16) @ numpy_helper.to_array(model.graph.initializer[0]).T
    np.testing.assert_allclose(open_session(path).run({"input": image})["logits"], expected, rtol=1e-5)


def test_the_files_of_a_model(path: Path) -> None:
    save_onnx(tiny(), path)
    assert files_of(path) == (path,)
    save_onnx(tiny(weight_rows=200), path, inline_limit_bytes=1000)
    (data,) = path.parent.glob("tiny-*.data")
    assert files_of(path) == (path, data)
    data.write_bytes(b"")  # nobody reads it
    assert files_of(path) == (path, data)
    data.unlink()
    with pytest.raises(ModelError, match="external data is missing"):
        files_of(path)
    path.write_bytes(b"hello")
    with pytest.raises(ModelError, match="not ONNX"):
        files_of(path)


def test_saving_large_weights_again_changes_nothing(path: Path) -> None:
    save_onnx(tiny(200), path, inline_limit_bytes=1000)
    first = {one.name: one.read_bytes() for one in path.parent.iterdir()}
    save_onnx(tiny(200), path, inline_limit_bytes=1000)
    assert {one.name: one.read_bytes() for one in path.parent.iterdir()} == first


@pytest.mark.parametrize("limit", [1000, 1 << 30])
def test_a_failed_gate_leaves_the_old_file_or_none(path: Path, limit: int) -> None:
    def write(model: ModelProto) -> None:
        with writing_onnx(model, path, inline_limit_bytes=limit) as temporary:
            assert load_onnx(temporary).graph.name == "tiny", "the gate sees the whole file"
            raise GateError("no")

    def fail(model: ModelProto) -> None:
        with pytest.raises(GateError):
            write(model)

    fail(tiny(200))
    assert list(path.parent.iterdir()) == []
    save_onnx(tiny(300), path, inline_limit_bytes=limit)
    old = {one.name: one.read_bytes() for one in path.parent.iterdir()}
    fail(tiny(200))
    fail(tiny(300))  # the old file's own data file must survive this one
    assert {one.name: one.read_bytes() for one in path.parent.iterdir()} == old


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        save_onnx(tiny(), tmp_path / "missing" / "tiny.onnx", inline_limit_bytes=10)


def _external(path: Path, location: str) -> None:
    model = tiny()
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], location)
    model.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", ""])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(128))
    folder = tmp_path / "model"
    folder.mkdir()
    _external(folder / "tiny.onnx", location)
    with pytest.raises(ModelError, match="outside its folder"):
        load_onnx(folder / "tiny.onnx")


def test_external_data_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(128))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "data.bin").symlink_to(tmp_path / "secret.bin")
    _external(folder / "tiny.onnx", "data.bin")
    with pytest.raises(ModelError, match="outside its folder"):
        load_onnx(folder / "tiny.onnx")


def test_missing_and_short_external_data_are_refused(path: Path) -> None:
    _external(path, "data.bin")
    with pytest.raises(ModelError, match="is missing"):
        load_onnx(path)
    (path.parent / "data.bin").write_bytes(bytes(7))
    with pytest.raises(ModelError, match="damaged"):
        load_onnx(path)


def test_external_data_inside_an_attribute_is_refused_too(tmp_path: Path) -> None:
    value = TensorProto(name="value", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    value.external_data.add(key="location", value="../secret.bin")
    model = tiny()
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=value))
    (tmp_path / "tiny.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="outside its folder"):
        load_onnx(tmp_path / "tiny.onnx")
