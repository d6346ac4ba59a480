"""Sensitivities against a unit whose noise is known, and against the noise of all units together."""

import math

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest
from onnx import ModelProto

from edgerec.benchmarks.noise import sqnr_db
from edgerec.compress.quantization.placement import Unit, find_units, tensors_of
from edgerec.compress.quantization.qdq import write_qdq
from edgerec.compress.quantization.scheme import Grid, Scheme, round_weight
from edgerec.compress.quantization.sensitivity import measure_sensitivities
from edgerec.graph.execution import open_model
from edgerec.runtime.errors import DataError, ModelError

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3, 8, 8] input) => (float[N, 8, 1, 1] y) {
    [first] a = Conv <pads = [1, 1, 1, 1]> (input, w0)
    [relu] b = Relu (a)
    [pool] p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)
    [second] c = Conv <pads = [1, 1, 1, 1]> (p, w1)
    [mean] y = GlobalAveragePool (c)
}
"""


def make_model(scale: float = 1.0) -> ModelProto:
    model = onnx.parser.parse_model(TEXT)
    random = np.random.default_rng(0)
    for name, shape in (("w0", (8, 3, 3, 3)), ("w1", (8, 8, 3, 3))):
        weight = (random.normal(0, math.prod(shape[1:]) ** -0.5, shape) * scale).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    return onnx.shape_inference.infer_shapes(model)


def calibration() -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    return [{"input": random.normal(size=(8, 3, 8, 8)).astype(np.float32)} for _ in range(2)]


def make_scheme(model: ModelProto, units: tuple[Unit, ...], **widened: float) -> Scheme:
    """Ranges from the images; those in `widened` are so many times as wide."""
    names = tensors_of(units)
    inner = [name for name in names if name != "input"]
    feeds = calibration()[0]
    arrays = feeds | open_model(model, taps=inner).run(feeds)
    grids = {}
    for name in names:
        factor = widened.get(name, 1)
        grids[name] = Grid.covering(factor * float(arrays[name].min()), factor * float(arrays[name].max()))
    grids["p"] = grids["b"]
    weights = {one.name: round_weight(onnx.numpy_helper.to_array(one)) for one in model.graph.initializer}
    return Scheme(frozenset(node for unit in units for node in unit.nodes), grids, weights)


def test_a_coarse_grid_makes_its_unit_the_most_sensitive_one() -> None:
    model = make_model()
    units = find_units(model)
    told: list[int] = []
    fine = measure_sensitivities(model, make_scheme(model, units), units, calibration(), done=told.append)
    coarse = measure_sensitivities(model, make_scheme(model, units, c=20), units, calibration())
    assert list(fine) == ["first", "pool", "second", "mean"]
    assert told == [1, 1, 1, 1]
    assert fine["pool"] == 0, "integers only move"
    assert all(0 < error < 1e-2 for name, error in fine.items() if name != "pool")
    assert max(coarse, key=coarse.__getitem__) in ("second", "mean")
    assert coarse["second"] > 50 * fine["second"]
    assert coarse["first"] == fine["first"]


def test_one_units_error_is_that_of_its_own_file_and_they_add_up() -> None:
    model = make_model()
    units = find_units(model)
    scheme = make_scheme(model, units)
    errors = measure_sensitivities(model, scheme, units, calibration())
    expected, alone, together = (
        np.concatenate([open_model(one).run(feeds)["y"] for feeds in calibration()])
        for one in (
            model,
            write_qdq(model, Scheme(frozenset(units[0].nodes), scheme.activations, scheme.weights)),
            write_qdq(model, scheme),
        )
    )
    assert -10 * math.log10(errors["first"]) == pytest.approx(sqnr_db(expected, alone))
    assert -10 * math.log10(sum(errors.values())) == pytest.approx(sqnr_db(expected, together), abs=4)


def test_bad_input_is_refused() -> None:
    model = make_model()
    units = find_units(model)
    scheme = make_scheme(model, units)
    with pytest.raises(DataError, match="at least one image"):
        measure_sensitivities(model, scheme, units, [])
    with pytest.raises(ModelError, match="zeros or not finite"):
        measure_sensitivities(make_model(0.0), scheme, units, calibration())
    with pytest.raises(ModelError, match="zeros or not finite"):
        measure_sensitivities(make_model(math.nan), scheme, units, calibration())
