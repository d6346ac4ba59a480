"""Random inputs fit what the model declares, are always the same, and come in an order worth trying."""

import numpy as np
import onnx
import pytest

from edgerec.graph.random_inputs import random_feeds
from edgerec.runtime.errors import ModelError


def model(takes: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> g ({takes}) => (float[2] y) <float[2] w = {{1.0, 2.0}}> {{ y = Neg (w) }}'
    )


def test_shapes_and_types_are_the_declared_ones() -> None:
    takes = "float[N, 3, 8, 8] image, int64[N, 5] token, uint8[4, 4] raw, bool flag, float16[N] half, double d, float[2] w"
    feeds = next(iter(random_feeds(model(takes))))
    assert {name: (array.dtype.name, array.shape) for name, array in feeds.items()} == {
        "image": ("float32", (2, 3, 8, 8)),
        "token": ("int64", (2, 5)),
        "raw": ("uint8", (4, 4)),
        "flag": ("bool", ()),
        "half": ("float16", (2,)),
        "d": ("float64", ()),
    }
    assert set(np.unique(feeds["token"])) <= {0, 1}
    assert feeds["raw"].max() > 1


def test_free_sizes_are_tried_and_known_ones_are_not() -> None:
    assert [feeds["x"].shape for feeds in random_feeds(model("float[N, 3] x"))] == [(2, 3), (2, 3)]
    shapes = [feeds["x"].shape for feeds in random_feeds(model("float[N, 3, H, H] x"))]
    assert shapes[0] == (2, 3, 32, 32)
    assert len(set(shapes)) == 5


def test_the_second_draw_has_no_negative_number() -> None:
    first, second = random_feeds(model("float[100] x"))
    assert first["x"].min() < 0 <= second["x"].min()


def test_every_call_gives_the_same() -> None:
    for one, other in zip(random_feeds(model("float[N, H] x")), random_feeds(model("float[N, H] x")), strict=True):
        np.testing.assert_array_equal(one["x"], other["x"])


@pytest.mark.parametrize(("takes", "reason"), [("seq(float[2]) x", "no tensor"), ("string[2] x", "neither number nor truth value")])
def test_other_inputs_are_refused(takes: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        next(iter(random_feeds(model(takes))))
