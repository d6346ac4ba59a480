"""From pixels to floats or to integers: the same bits as the reference, for every pixel value of every channel."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerec.export.normalising import Quantizer, add_floats, add_integers, add_order, find_quantizer
from edgerec.export.steps import Steps
from edgerec.graph.execution import open_model
from edgerec.runtime.preprocess import normalize
from edgerec.runtime.spec import InputSpec

RAW = InputSpec(256, 1, scale=1.0, mean=(0, 0, 0), std=(1, 1, 1))
UNIT = InputSpec(256, 1, mean=(0, 0, 0), std=(1, 1, 1))
IMAGENET = InputSpec(256, 1)
GREY = InputSpec(256, 1, color="grey", mean=(0.1307,), std=(0.3081,))
EVERY = np.arange(256, dtype=np.uint8).reshape(1, 256, 1, 1)


def values(spec: InputSpec) -> np.ndarray:
    """Every value in every channel, differently ordered in each, so that mixed up channels are seen."""
    return np.concatenate([np.roll(EVERY, 85 * channel, axis=1) for channel in range(spec.channels)], axis=3)


def run(steps: Steps, result: str, spec: InputSpec, kind: int) -> np.ndarray:
    steps.call(result, "result")
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 256, 1, spec.channels])
    graph = helper.make_graph(steps.nodes, "g", [pixels], [helper.make_tensor_value_info("result", kind, None)], steps.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return open_model(model, threads=1).run({"pixels": values(spec)})["result"]


def in_order(spec: InputSpec) -> np.ndarray:
    """RGB as the model wants it, by numpy."""
    return values(spec)[..., ::-1] if spec.color == "bgr" else values(spec)


@pytest.mark.parametrize(
    "spec",
    [
        RAW,
        UNIT,
        IMAGENET,
        GREY,
        InputSpec(256, 1, layout="NHWC"),
        InputSpec(256, 1, color="bgr"),
        InputSpec(256, 1, color="bgr", layout="NHWC"),
    ],
    ids=str,
)
def test_floats_are_the_references_bit_for_bit(spec: InputSpec) -> None:
    steps = Steps("test")
    found = run(steps, add_floats(steps, add_order(steps, "pixels", spec), spec), spec, TensorProto.FLOAT)
    np.testing.assert_array_equal(found, normalize(in_order(spec), spec))


@pytest.mark.parametrize(
    ("spec", "scale", "zero_point", "way"),
    [
        (RAW, 1.0, np.uint8(0), "none"),
        (UNIT, 1 / 255, np.uint8(0), "none"),
        # Calibrated on 0..255: -0.4242 lies at 33.3 steps, which rounds away in every value alike.
        (GREY, 1 / (255 * 0.3081), np.uint8(33), "none"),
        (RAW, 1.0, np.int8(-128), "folded"),
        (UNIT, 0.9 / 255, np.uint8(0), "folded"),  # clips
        (GREY, 0.02, np.uint8(20), "folded"),
        (IMAGENET, 0.01858341, np.uint8(113), "folded"),
        (IMAGENET, 0.01858341, np.int8(-15), "folded"),
        (InputSpec(256, 1, color="bgr", layout="NHWC"), 0.0186, np.uint8(113), "folded"),
    ],
)
def test_integers_are_the_quantizers_own(spec: InputSpec, scale: float, zero_point: np.uint8 | np.int8, way: str) -> None:
    quantizer = Quantizer("q", np.float32(scale), zero_point)
    steps = Steps("test")
    result, found_way = add_integers(steps, add_order(steps, "pixels", spec), spec, quantizer)
    kind = helper.np_dtype_to_tensor_dtype(np.asarray(zero_point).dtype)
    ends = np.iinfo(zero_point.dtype)
    # QuantizeLinear by its definition, on the reference's floats.
    steps_from_zero = np.rint(normalize(in_order(spec), spec) / np.float32(scale))
    expected = np.clip(steps_from_zero + int(zero_point), ends.min, ends.max).astype(zero_point.dtype)
    np.testing.assert_array_equal(run(steps, result, spec, kind), expected)
    assert found_way == way


def test_a_fold_that_would_move_one_integer_is_not_taken() -> None:
    """Every pixel lies on a tie: (p * 0.1 - 0.05) / 0.1 = p - 1/2. In full it is broken by float32's roundings, folded to even."""
    spec = InputSpec(256, 1, color="grey", scale=0.1, mean=(0.05,), std=(0.1,))
    quantizer = Quantizer("q", np.float32(1), np.uint8(7))
    steps = Steps("test")
    result, way = add_integers(steps, add_order(steps, "pixels", spec), spec, quantizer)
    assert way == "float"
    expected = np.clip(np.rint(normalize(values(spec), spec)) + 7, 0, 255)
    np.testing.assert_array_equal(run(steps, result, spec, TensorProto.UINT8), expected)
    folded = np.clip(np.rint(np.arange(256, dtype=np.float32) - np.float32(0.5)) + 7, 0, 255)
    assert (folded != expected.ravel()).any(), "the fold would have been wrong"


MODEL = """<ir_version: 8, opset_import: ["" : 17]> g (float[1, 3, 2, 2] x) => (float[A, B, C, D] y)
<float s = {0.5}, uint8 z = {3}> { BODY }"""


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)", True),
        ("q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) y = Add (d, x)", False),
        ("r = Relu (x) q = QuantizeLinear (r, s, z) y = DequantizeLinear (q, s, z)", False),
        ("q = QuantizeLinear (x, s) y = DequantizeLinear (q, s)", False),
        ("t = Exp (s) q = QuantizeLinear (x, t, z) y = DequantizeLinear (q, t, z)", False),
    ],
)
def test_the_quantizer_is_found_only_where_it_is_alone(body: str, found: bool) -> None:
    model = onnx.parser.parse_model(MODEL.replace("BODY", body))
    quantizer = find_quantizer(model, "x")
    assert (quantizer is not None) == found
    if quantizer:
        assert (quantizer.output, float(quantizer.scale), int(quantizer.zero_point)) == ("q", 0.5, 3)


def test_a_scale_per_channel_is_left_alone() -> None:
    model = onnx.parser.parse_model(
        MODEL.replace("BODY", "q = QuantizeLinear <axis = 1> (x, s3, z3) y = DequantizeLinear <axis = 1> (q, s3, z3)")
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "s3"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.uint8), "z3"))
    assert find_quantizer(model, "x") is None
