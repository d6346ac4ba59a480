"""Copies are equal and share nothing."""

import numpy as np
import onnx
from onnx import numpy_helper

from edgerec.graph.copying import copy_model


def _model() -> onnx.ModelProto:
    text = """<ir_version: 8, opset_import: ["" : 17, "mine" : 1], producer_name: "test">
        g (float[N, 2] x) => (float[N, 2] y) <float[2] w = {1.0, 2.0}, float v = {3.0}> { a = mine.f (x) b = Mul (a, w) y = Add (b, v) }
        <domain: "mine", opset_import: ["" : 17]> f (p) => (q) { q = Relu (p) }"""
    parsed = onnx.parser.parse_model(text)
    parsed.metadata_props.add(key="note", value="kept")
    return parsed


def test_a_copy_is_equal_and_shares_nothing() -> None:
    one = _model()
    copy = copy_model(one)
    assert copy.SerializeToString(deterministic=True) == one.SerializeToString(deterministic=True)
    copy.graph.initializer[0].name = copy.graph.node[0].name = copy.functions[0].name = "changed"
    assert one.SerializeToString(deterministic=True) == _model().SerializeToString(deterministic=True)


def test_weights_can_be_left_behind() -> None:
    copy = copy_model(_model(), keep=lambda tensor: numpy_helper.to_array(tensor).ndim == 0)
    assert [one.name for one in copy.graph.initializer] == ["v"]
    assert np.array_equal(numpy_helper.to_array(copy.graph.initializer[0]), 3)
