"""The comparison with the original: what counts as equal, what is told of a difference, and which inputs are tried."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from edgerec.graph.reference import Reference
from edgerec.runtime.errors import DataError, ModelError


def model(body: str, takes: str = "float[N, 4] x", gives: str = "float[A, B] y") -> ModelProto:
    weights = "<float one = {1.0}, float near = {1.00005}, float far = {1.001}, float huge = {1e38}, float[4] spread = {1e6, 1.0, 1.0, 1.0}, int64[2] t = {4, 2}>"
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g ({takes}) => ({gives}) {weights} {{ {body} }}')


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("y = Mul (x, one)", "y = Mul (x, near)", None),
        ("y = Mul (x, one)", "y = Mul (x, far)", "output y: values differ by"),
        ("y = Mul (x, spread)", "a = Mul (x, spread) y = Add (a, one)", None),  # small beside the largest value
        ("y = Relu (x)", "a = Relu (x) y = Reshape (a, t)", "instead of float32"),
        ("a = Mul (x, huge) b = Mul (a, huge) y = Relu (b)", "a = Mul (x, huge) y = Relu (a)", "values differ"),  # infinity is a value
        ("y = Relu (x)", "a = Sub (x, x) y = Div (a, a)", "values differ by nan"),
    ],
)
def test_a_difference_is_measured_against_the_largest_value(before: str, after: str, fault: str | None) -> None:
    found = Reference.of(model(before)).fault(model(after))
    assert (found is None) if fault is None else (fault in (found or ""))


def test_integers_must_be_equal() -> None:
    before, after = (model(body, gives="int64[A, B] y") for body in ("y = Cast <to = 7> (x)", "a = Round (x) y = Cast <to = 7> (a)"))
    reference = Reference.of(before)
    assert reference.fault(before) is None
    assert reference.fault(after) == "output y: other values"


def test_a_missing_output_is_told() -> None:
    two = model("y = Relu (x) z = Neg (x)", gives="float[A, B] y, float[A, B] z")
    assert Reference.of(two).fault(model("y = Relu (x)")) == "the outputs are y instead of y, z"


def test_sequences_are_compared_by_their_arrays() -> None:
    split, other = (model(f"y = SplitToSequence <axis = {axis}> (x)", gives="seq(float[A, B]) y") for axis in (1, 0))
    assert Reference.of(split).fault(split) is None
    assert Reference.of(split).fault(other) == "output y: other values"


def test_a_size_that_the_model_takes_is_found() -> None:
    # 32 and 7 do not divide into 3 x 64; 64 is the first of the sizes that does not fail.
    body = "s = Reshape (x, k) y = ReduceMax <keepdims = 0, axes = [1]> (s)"
    one = model(body, "float[2, H] x")
    one.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 64]), "k"))
    del one.graph.output[0].type.tensor_type.shape.dim[1]
    assert Reference.of(one).feeds["x"].shape == (2, 64)


def test_a_model_that_is_made_for_positive_numbers_gets_them() -> None:
    assert (Reference.of(model("y = Log (x)")).feeds["x"] >= 0).all()


def test_nan_names_the_node() -> None:
    with pytest.raises(ModelError, match="node 'Div' gives it first, in tensor 'b'"):
        Reference.of(model("a = Sub (x, x) b = Div (a, a) y = Relu (b)"))
    with pytest.raises(ModelError, match="node 'Sqrt' gives it first"):
        Reference.of(model("y = Sqrt (x)"), {"x": np.full((1, 4), -1, np.float32)})


def test_a_model_that_takes_nothing_of_it_tells_its_own_reason() -> None:
    with pytest.raises((DataError, ModelError), match="Reshape"):
        Reference.of(model("y = Reshape (x, t)", "float[3, 3] x"))
