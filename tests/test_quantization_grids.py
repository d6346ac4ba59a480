"""Which range a tensor gets, and that a gate's reader decides."""

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import ModelProto, numpy_helper

from edgerec.compress.quantization.calibration import observe
from edgerec.compress.quantization.grids import RangeRule, choose_ranges, grids_for, roots_of
from edgerec.compress.quantization.overrides import Layer
from edgerec.compress.quantization.placement import find_units, tensors_of
from edgerec.compress.quantization.scheme import Grid, gate_grid
from edgerec.compress.quantization.statistics import TensorStatistics
from edgerec.compress.quantization.target import find_target

RNG = np.random.default_rng(0)
X = RNG.normal(0, 4, (16, 1, 8, 8)).astype(np.float32)


def passing_on(body: str) -> ModelProto:
    """Build a model whose first convolution passes x on as `c`."""
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[n, 1, 8, 8] x) => (float[n, 1, 8, 8] y) {{ c = Conv(x, one) {body} }}'
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "one"))
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{index}"
    return onnx.shape_inference.infer_shapes(model)


def statistics_of(model: ModelProto) -> dict[str, TensorStatistics]:
    return dict(observe(model, tensors_of(find_units(model)), [{"x": X}], len(X)).tensors)


def test_hard_swish_is_zero_below_its_bound_so_nothing_is_spent_there() -> None:
    model = passing_on("h = HardSigmoid <alpha=0.16666667, beta=0.5> (c)  m = Mul(c, h)  y = Conv(m, one)")
    ranges = choose_ranges(model, find_units(model), statistics_of(model), RangeRule())
    assert X.min() < -6
    assert ranges["c"] == (pytest.approx(-3, abs=1e-5), X.max())
    assert ranges["x"] == (X.min(), X.max())
    assert grids_for(model, find_units(model), ranges, find_target("x86-vnni"))["h"] == gate_grid()


def test_the_bound_before_a_silu_has_the_smallest_error_behind_it() -> None:
    model = passing_on("s = Sigmoid(c)  m = Mul(c, s)  y = Conv(m, one)")
    low, high = choose_ranges(model, find_units(model), statistics_of(model), RangeRule())["c"]

    def error(start: float) -> float:
        """The error over all values themselves, where the quantizer has only a histogram."""
        values = Grid.covering(start, high).dequantize(Grid.covering(start, high).quantize(X))
        return float(np.square(values / (1 + np.exp(-values)) - X / (1 + np.exp(-X))).sum())

    best = min(error(float(start)) for start in np.linspace(X.min(), -0.3, 200))
    assert error(low) < 1.1 * best
    assert error(low) < 0.8 * error(float(X.min()))
    assert high == X.max()


def test_a_tensor_that_others_read_as_well_keeps_its_range() -> None:
    model = passing_on("h = HardSigmoid <alpha=0.16666667, beta=0.5> (c)  m = Mul(c, h)  y = Add(m, c)")
    assert choose_ranges(model, find_units(model), statistics_of(model), RangeRule())["c"] == (X.min(), X.max())


def test_moved_values_share_the_grid_of_their_source() -> None:
    model = passing_on("p = MaxPool <kernel_shape=[1,1]> (c)  t = Transpose <perm=[0,1,3,2]> (p)  y = Conv(t, one)")
    units = find_units(model)
    assert roots_of(units) == ["x", "c", "y"]
    grids = grids_for(model, units, choose_ranges(model, units, statistics_of(model), RangeRule()), find_target("x86-vnni"))
    assert grids["c"] == grids["p"] == grids["t"]
    assert grids["y"] == grids["c"]  # equal values, another tensor


def test_the_users_word_on_a_layer_counts() -> None:
    model = passing_on("y = Conv(c, one)")
    rules = (Layer("Conv_0", method="percentile", percentile=90.0),)
    ranges = choose_ranges(model, find_units(model), statistics_of(model), RangeRule(), rules)
    assert ranges["y"] == (X.min(), X.max())
    assert ranges["c"][1] == pytest.approx(np.quantile(X, 0.9), rel=0.05)


def test_a_symmetric_target_gets_zero_points_of_zero() -> None:
    model = passing_on("y = Conv(c, one)")
    units = find_units(model)
    grids = grids_for(model, units, choose_ranges(model, units, statistics_of(model), RangeRule()), find_target("tensorrt"))
    assert all(grid.signed and grid.zero_point == 0 for grid in grids.values())
    assert grids["x"].high == pytest.approx(np.abs(X).max(), rel=1e-3)
