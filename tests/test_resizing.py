"""Resizing inside a graph against Pillow's own: at most one grey level apart, and cropped at the very same pixel."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgerec.export import test_card
from edgerec.export.resizing import add_resize, has_kernel, largest_difference
from edgerec.export.steps import Steps
from edgerec.graph.execution import open_model
from edgerec.runtime.preprocess import to_pixels
from edgerec.runtime.session import Session
from edgerec.runtime.spec import InputSpec


def resizer(spec: InputSpec) -> Session:
    steps = Steps("test")
    steps.call(add_resize(steps, "image", spec), "pixels")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        steps.nodes,
        "g",
        [value("image", TensorProto.UINT8, ["n", "h", "w", "c"])],
        [value("pixels", TensorProto.UINT8, None)],
        steps.constants,
    )
    return open_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), threads=1)


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(32, 32),
        InputSpec(48, 20, fit="stretch"),
        InputSpec(33, 57, crop=0.875),
        InputSpec(28, 28, color="grey", mean=(0,), std=(1,), fit="stretch"),
        InputSpec(32, 24, antialias=False),
    ],
    ids=str,
)
def test_at_most_one_grey_level_off_pillow(spec: InputSpec) -> None:
    sizes = [(32, 32), (33, 32), (17, 23), (96, 65), (61, 200), (200, 31), (1, 1), (1, 90)]
    images = [test_card.draw(*size, spec.channels) for size in sizes]
    assert largest_difference(spec, images) <= 1
    assert to_pixels(images[4], spec).std() > 10, "there is something to see"


@pytest.mark.parametrize("surplus", range(10))
@pytest.mark.parametrize("upright", [False, True])
def test_the_crop_rounds_as_python_does(surplus: int, upright: bool) -> None:
    image = np.arange(6 * (6 + surplus) * 3, dtype=np.uint8).reshape(6, 6 + surplus, 3)
    left = round(surplus / 2)  # halves to even
    expected = image[:, left : left + 6]
    if upright:
        image, expected = image.transpose(1, 0, 2), expected.transpose(1, 0, 2)
    found = resizer(InputSpec(6, 6)).run({"image": image[np.newaxis]})["pixels"][0]
    np.testing.assert_array_equal(found, expected)


def test_an_image_that_fits_is_neither_resized_nor_cropped() -> None:
    image = test_card.draw(14, 10, 3)
    found = resizer(InputSpec(14, 10, crop=0.5)).run({"image": np.stack([image, image[::-1]])})["pixels"]
    np.testing.assert_array_equal(found, [image, image[::-1]])


def test_bicubic_agrees_where_pillow_resizes_along_the_rows_first() -> None:
    images = [test_card.draw(*size, 3) for size in [(32, 32), (96, 65), (61, 200), (17, 23), (1, 90)]]
    assert largest_difference(InputSpec(40, 40, kernel="bicubic", crop=0.9), images) <= 1


def test_a_card_shows_a_wrong_kernel() -> None:
    image = test_card.draw(200, 300, 3)
    plain, wide = InputSpec(32, 32, antialias=False, fit="stretch"), InputSpec(32, 32, fit="stretch")
    expected = to_pixels(image, wide).astype(int)
    found = resizer(plain).run({"image": image[np.newaxis]})["pixels"][0].astype(int)
    assert np.abs(found - expected).max() > 20


@pytest.mark.parametrize(
    ("kernel", "antialias"), [("box", True), ("hamming", True), ("lanczos", True), ("bicubic", False), ("nearest", True)]
)
def test_kernels_that_onnx_lacks(kernel: str, antialias: bool) -> None:
    assert not has_kernel(InputSpec(8, 8, kernel=kernel, antialias=antialias))  # type: ignore[arg-type]
    assert has_kernel(InputSpec(8, 8))


def test_the_card_is_the_same_every_time() -> None:
    card = test_card.draw(20, 30, 3)
    assert card.shape == (20, 30, 3)
    np.testing.assert_array_equal(card, test_card.draw(20, 30, 3))
    assert test_card.draw(1, 1, 1).shape == (1, 1, 1)
