"""What calibration is given and what the user says: images that do not fit, statistics files, rules for single layers."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx.numpy_helper
import onnx.parser
import pytest
from onnx import ModelProto

from edgerec.compress.quantization import (
    Corrections,
    Layer,
    Quantization,
    QuantizationReport,
    Rules,
    calibrate,
    load_statistics,
    merge,
    quantize,
    save_statistics,
)
from edgerec.graph.file import with_spec
from edgerec.runtime.errors import ConfigError, DataError, ModelError
from edgerec.runtime.session import open_session
from edgerec.runtime.spec import InputSpec, ModelSpec

Array = np.ndarray
NONE = Corrections(equalise=False, correct_bias=False, round_weights=False)
# OpenVINO's kernels are not timed here: all that can be int8 is.
CONFIG = Quantization(method="minmax", target="openvino", corrections=NONE)


def net(batch: str = "N", opset: int = 17) -> ModelProto:
    """Two convolutions, a residual sum, a dense layer."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        net (float[{batch}, 3, 8, 8] input) => (float[{batch}, 4] logits) {{
            [stem] a = Conv <pads = [1, 1, 1, 1]> (input, w0, b0)
            [act] r = Relu (a)
            [inner] b = Conv <pads = [1, 1, 1, 1]> (r, w1)
            [sum] s = Add (b, r)
            [pool] p = GlobalAveragePool (s)
            [flat] f = Flatten (p)
            [head] logits = Gemm <transB = 1> (f, w2)
        }}""")
    draw = np.random.default_rng(0)
    for name, shape in {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 8, 3, 3), "w2": (4, 8)}.items():
        values = draw.normal(size=shape) * float(np.prod(shape[1:])) ** -0.5
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    return model


def feeds(count: int = 16, seed: int = 1, shape: tuple[int, ...] = (3, 8, 8)) -> dict[str, Array]:
    return {"input": np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)}


def run(model: ModelProto, images: Mapping[str, Array]) -> Array:
    return next(iter(open_session(model.SerializeToString(), threads=1).run(images).values()))


def precisions(report: QuantizationReport) -> dict[str, str]:
    return {one.name: one.precision for one in report.layers}


def test_ranges_are_those_of_the_activations() -> None:
    images = feeds()
    found = quantize(net(), [images], CONFIG).report.ranges
    assert found["input"] == pytest.approx((images["input"].min(), images["input"].max()), abs=1e-6)
    assert found["logits"] == pytest.approx((run(net(), images).min(), run(net(), images).max()), abs=1e-5)
    assert found["r"][0] == 0


def test_batching_and_order_do_not_matter() -> None:
    whole = feeds(12)["input"]
    parts = [{"input": whole[start : start + 5]} for start in range(0, 12, 5)]
    one, other = quantize(net(), [{"input": whole}], CONFIG), quantize(net(), reversed(parts), CONFIG)
    assert one.model.SerializeToString() == other.model.SerializeToString()
    assert one.report.ranges == other.report.ranges


def test_samples_bound_what_is_read() -> None:
    def batches() -> Iterator[dict[str, Array]]:
        yield feeds(8)
        yield feeds(8)
        raise AssertionError("12 images are enough")

    assert quantize(net(), batches(), replace(CONFIG, samples=12)).report.images == 12


def test_a_fixed_batch_is_filled_over_the_batches_that_come() -> None:
    whole = feeds(12)["input"]
    parts = [{"input": whole[start : start + 3]} for start in range(0, 12, 3)]
    one, other = quantize(net("4"), [{"input": whole}], CONFIG), quantize(net("4"), parts, CONFIG)
    assert one.report.images == other.report.images == 12
    assert one.model.SerializeToString() == other.model.SerializeToString()
    assert quantize(net("4"), [feeds(10)], CONFIG).report.images == 8, "whole batches only"


def test_fewer_images_than_a_fixed_batch_are_refused() -> None:
    with pytest.raises(DataError, match="at least 4 images"):
        quantize(net("4"), [feeds(3)], CONFIG)
    with pytest.raises(DataError, match="samples is 3"):
        quantize(net("4"), [feeds(8)], replace(CONFIG, samples=3))


@pytest.mark.parametrize("method", ["auto", "minmax", "percentile", "mse", "entropy"])
def test_one_image_only_and_a_dead_one(method: str) -> None:
    config = Quantization(method=method, target="openvino")
    single = quantize(net(), [feeds(1)], config)
    assert single.report.images == 1
    assert np.isfinite(run(single.model, feeds())).all()
    dead = quantize(net(), [{"input": np.zeros((1, 3, 8, 8), np.float32)}], config)
    assert np.isfinite(run(dead.model, feeds())).all()
    assert any("always zero" in note and "input" in note for note in dead.report.notes)


def test_a_dead_layer_is_named_and_does_no_harm() -> None:
    model = net()
    next(one for one in model.graph.initializer if one.name == "w1").CopyFrom(
        onnx.numpy_helper.from_array(np.zeros((8, 8, 3, 3), np.float32), "w1")
    )
    result = quantize(model, [feeds()], replace(CONFIG, corrections=Corrections()))
    assert any("always zero" in note and "b" in note.split(": ")[1].split(", ") for note in result.report.notes)
    expected = run(model, feeds(seed=2))
    assert run(result.model, feeds(seed=2)) == pytest.approx(expected, abs=0.05 * float(np.abs(expected).max()))


NOT_FINITE = feeds()
NOT_FINITE["input"][9, 0, 0, 0] = np.nan
WRONG: dict[str, tuple[list[dict[str, Array]], str]] = {
    "none": ([], "at least 1 image"),
    "no image": ([feeds(0)], "at least 1 image"),
    "other size": ([feeds(shape=(3, 10, 8))], "takes float32 of shape anyx3x8x8"),
    "other size later": ([feeds(), feeds(shape=(3, 10, 8))], r"\(16, 3, 10, 8\)"),
    "other rank": ([{"input": feeds()["input"][0]}], r"\(3, 8, 8\)"),
    "scalar": ([{"input": np.array(1, np.float32)}], r"float32 \(\)"),
    "other name": ([{"image": feeds()["input"]}], "image; the model takes input"),
    "one too many": ([{**feeds(), "mask": feeds()["input"]}], "input, mask"),
    "pixels": ([{"input": np.zeros((2, 3, 8, 8), np.uint8)}], "uint8"),
    "doubles": ([{"input": np.zeros((2, 3, 8, 8))}], "float64"),
    "NaN": ([{"input": np.full((2, 3, 8, 8), np.nan, np.float32)}], "NaN or infinity: image 0"),
    "infinity": ([{"input": np.full((2, 3, 8, 8), np.inf, np.float32)}], "NaN or infinity: image 0"),
    "NaN in one image": ([NOT_FINITE], "'input' contain NaN or infinity: image 9"),
}


@pytest.mark.parametrize(("images", "told"), WRONG.values(), ids=WRONG.keys())
def test_wrong_calibration_images_are_refused(images: list[dict[str, Array]], told: str) -> None:
    for model in (net(), net(opset=11)):
        with pytest.raises(DataError, match=told) as caught:
            quantize(model, images, CONFIG)
        assert caught.value.problem
        assert caught.value.given
        assert caught.value.fix


def test_an_input_without_a_shape_is_refused() -> None:
    model = net()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelError, match="shape of its input 'input'"):
        quantize(model, [feeds()], CONFIG)


@pytest.mark.parametrize(("scale", "warns"), [(1 / 255, True), (1, False), (255, True)])
def test_a_wrong_scale_is_told_from_the_first_statistics(scale: float, warns: bool) -> None:
    raw = ModelSpec((InputSpec(8, 8, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3),))  # the file expects pixels of 0 to 255
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3, 8, 8))
    report = quantize(with_spec(net(), raw), [{"input": (pixels * scale).astype(np.float32)}], CONFIG).report
    assert any("calibration images look" in note for note in report.notes) == warns


def test_statistics_from_a_file_stand_for_the_images(tmp_path: Path) -> None:
    save_statistics(calibrate(net(), [feeds()], CONFIG), tmp_path / "net.stat")
    kept = load_statistics(tmp_path / "net.stat")
    for method in ("minmax", "percentile", "mse", "entropy"):
        config = replace(CONFIG, method=method)
        fresh, again = quantize(net(), [feeds()], config), quantize(net(), [], config, statistics=kept)
        assert again.report.ranges == fresh.report.ranges
        assert again.model.SerializeToString() == fresh.model.SerializeToString()
        assert (again.report.images, again.report.sqnr_db) == (16, None)


def test_statistics_of_two_halves_add_up() -> None:
    whole = feeds()["input"]
    halves = [calibrate(net(), [{"input": part}], CONFIG) for part in (whole[:5], whole[5:])]
    parts = [replace(one, key=replace(one.key, shards=2, done=(shard,))) for shard, one in enumerate(halves)]
    result = quantize(net(), [], CONFIG, statistics=merge(*parts))
    assert result.report.ranges == quantize(net(), [{"input": whole}], CONFIG).report.ranges


def test_statistics_of_something_else_are_refused() -> None:
    other = net()
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w0"))
    with pytest.raises(DataError, match="statistics are of another model"):
        quantize(net(), [], CONFIG, statistics=calibrate(other, [feeds()], CONFIG))
    scaled, raw = (with_spec(net(), ModelSpec((InputSpec(8, 8, scale=scale),))) for scale in (1.0, 0.5))
    with pytest.raises(DataError, match="statistics are of another preprocessing"):
        quantize(scaled, [], CONFIG, statistics=calibrate(raw, [feeds()], CONFIG))
    few = calibrate(net(), [feeds()], replace(CONFIG, rules=Rules(op_types=("Gemm",))))
    with pytest.raises(DataError, match="statistics lack tensors"):
        quantize(net(), [], CONFIG, statistics=few)
    with pytest.raises(DataError, match="no calibration data"):
        quantize(net(), [], replace(CONFIG, target="x86-avx2", speed="int8"), statistics=calibrate(net(), [feeds()], CONFIG))


@pytest.mark.parametrize("patterns", [("stem",), ("st*",), ("s*m", "h?ad")])
def test_what_the_user_keeps_stays_float(patterns: tuple[str, ...]) -> None:
    report = quantize(net(), [feeds()], replace(CONFIG, rules=Rules(patterns))).report
    kept = [one.name for one in report.layers if one.reason == "kept by the user"]
    assert kept == (["stem", "sum", "head"] if len(patterns) == 2 else ["stem"])
    assert all(one.precision == "float" for one in report.layers if one.reason)


def test_operators_that_the_user_lists_are_the_only_ones() -> None:
    report = quantize(net(), [feeds()], replace(CONFIG, rules=Rules(op_types=("Conv",)))).report
    assert [name for name, precision in precisions(report).items() if precision == "int8"] == ["stem", "inner"]


def test_rules_for_single_layers() -> None:
    wide = feeds()
    wide["input"][0, 0, 0, 0] = 100  # an outlier that min-max keeps and entropy cuts
    layers = (Layer("inner", precision="float"), Layer("head", weight_bits=7), Layer("stem", method="entropy"))
    result = quantize(net(), [wide], replace(CONFIG, layers=layers))
    plain = quantize(net(), [wide], CONFIG)
    assert precisions(result.report)["inner"] == "float"
    assert result.report.ranges["r"][1] < plain.report.ranges["r"][1]
    assert result.report.ranges["logits"] == plain.report.ranges["logits"]
    heads = {
        np.abs(onnx.numpy_helper.to_array(one).astype(int)).max()
        for one in result.model.graph.initializer
        if one.data_type == onnx.TensorProto.INT8 and tuple(one.dims) in ((4, 8), (8, 4))
    }
    assert heads == {63}


@pytest.mark.parametrize(
    "config", [{"rules": Rules(("gone",))}, {"layers": (Layer("gone", "float"),)}, {"layers": (Layer("gone", "int8"),)}]
)
def test_names_that_no_node_has_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"no node has this name: gone.*stem"):
        quantize(net(), [feeds()], replace(CONFIG, **config))


def test_operators_without_an_int8_form_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no int8 form: Loop, Softmax.*Conv"):
        Rules(op_types=("Conv", "Softmax", "Loop"))
    with pytest.raises(ModelError, match="nothing to quantize"):
        quantize(net(), [feeds()], replace(CONFIG, rules=Rules(("*",))))


@pytest.mark.parametrize(
    "fields",
    [{"method": "best"}, {"percentile": 0.999}, {"percentile": 101}, {"samples": 0}, {"speed": "slow"}, {"target": "toaster"}],
)
def test_settings_out_of_range_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        Quantization(**fields)
    assert caught.value.problem
    assert caught.value.given
    assert caught.value.fix
