"""Pixels: the network computes the same, borders included, and reads exact integers."""

import numpy as np
import onnx
import onnx.parser
import onnx.shape_inference
import pytest

from edgerec.compress.quantization.pixels import find_lattice, restore_pixels
from edgerec.graph.execution import open_model

Array = np.ndarray
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def normalised(seed: int = 0, mean: Array = MEAN, std: Array = STD) -> tuple[Array, Array]:
    """Return pixels and what the network gets of them."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 3, 16, 16)).astype(np.float32)
    return pixels, (pixels / 255 - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)


def build(op: str = "Conv<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(x, w, b)") -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> net (float[n,3,h,v] x) => (float[n,c,i,j] y) {{ y = {op} }}')
    for name, shape in {"w": (6, 3, 3, 3), "b": (6,)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    return onnx.shape_inference.infer_shapes(model)


def test_outputs_stay_and_the_new_tensor_holds_the_pixels() -> None:
    pixels, images = normalised()
    model = build()
    restored = restore_pixels(model, [{"x": images}])
    ((name, (low, high)),) = restored.ranges.items()
    inner = open_model(restored.model, taps=[name], optimise=False).run({"x": images})
    np.testing.assert_allclose(inner["y"], open_model(model).predict({"x": images}), atol=2e-5)
    np.testing.assert_allclose(inner[name][:, :3], pixels + low, atol=1e-3)
    np.testing.assert_array_equal(inner[name][:, 3], high)
    assert high - low == 255


def test_the_lattice_of_normalised_pixels_is_found() -> None:
    found = find_lattice([normalised()[1], normalised(1)[1]])
    assert found is not None
    np.testing.assert_allclose(found[0], 1 / (255 * STD), rtol=1e-5)
    np.testing.assert_allclose(found[1], 255 * MEAN, rtol=1e-5)


@pytest.mark.parametrize(
    "images",
    [
        np.random.default_rng(0).normal(size=(4, 3, 16, 16)).astype(np.float32),  # no grid
        normalised()[1] ** 2,  # not evenly spaced
        np.zeros((4, 3, 16, 16), np.float32),
        np.clip(normalised()[1], -1, 1),  # black and white are unknown
    ],
)
def test_other_values_leave_the_model_alone(images: Array) -> None:
    model = build()
    assert restore_pixels(model, [{"x": images}]).model is model


@pytest.mark.parametrize("op", ["Relu(x)", "Conv<kernel_shape=[3,3]>(x, x)"])
def test_other_layers_leave_the_model_alone(op: str) -> None:
    model = build(op)
    assert restore_pixels(model, [{"x": normalised()[1]}]).model is model
