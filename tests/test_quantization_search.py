"""Ranges by the error at the output: against judges whose answer is known, and against numpy."""

from collections.abc import Mapping

import numpy as np
import onnx.numpy_helper
import onnx.parser
import pytest
from onnx import ModelProto

from edgerec.compress.quantization.calibration import observe
from edgerec.compress.quantization.grids import RangeRule, choose_ranges
from edgerec.compress.quantization.overrides import Layer
from edgerec.compress.quantization.placement import Unit, find_units, tensors_of
from edgerec.compress.quantization.ranges import Range
from edgerec.compress.quantization.search import RULES, choose_rule, output_noise, refine
from edgerec.compress.quantization.statistics import TensorStatistics

HEAD = '<ir_version: 8, opset_import: ["" : 17]> net'
IMAGES = {"input": np.random.default_rng(1).normal(size=(32, 900, 6)).astype(np.float32)}
IMAGES["input"][0, 0] = 40  # a few outliers in every tensor: methods differ


@pytest.fixture(scope="module")
def scene() -> tuple[ModelProto, tuple[Unit, ...], Mapping[str, TensorStatistics]]:
    """Two dense layers with a Relu between them, and what they do on the images."""
    body = "[first] h = MatMul (input, w0) [act] r = Relu (h) [last] logits = MatMul (r, w1)"
    model = onnx.parser.parse_model(f"{HEAD} (float[N, 900, 6] input) => (float[N, 900, 4] logits) {{ {body} }}")
    draw = np.random.default_rng(0)
    for name, shape in {"w0": (6, 8), "w1": (8, 4)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(draw.normal(size=shape).astype(np.float32), name))
    model = onnx.shape_inference.infer_shapes(model)
    units = find_units(model)
    return model, units, observe(model, tensors_of(units), [IMAGES], 32).tensors


Scene = tuple[ModelProto, tuple[Unit, ...], Mapping[str, TensorStatistics]]


def test_a_method_must_be_clearly_better_than_the_first(scene: Scene) -> None:
    model, units, statistics = scene
    ranges = [choose_ranges(model, units, statistics, rule) for rule in RULES]
    for gain, expected in ((0.95, 0), (0.9, 1)):  # 7 % less noise is luck
        chosen = choose_rule(model, units, statistics, lambda one, gain=gain: gain if one == ranges[1] else 1.0)
        assert (chosen.rule, chosen.ranges) == (RULES[expected], ranges[expected])
        assert chosen.noise == (gain if expected else 1.0)


def test_equal_ranges_are_judged_once(scene: Scene) -> None:
    model, units, statistics = scene
    asked: list[Mapping[str, Range]] = []

    def judge(ranges: Mapping[str, Range]) -> float:
        asked.append(ranges)
        return 1.0

    choose_rule(model, units, statistics, judge, rules=(RangeRule("minmax"), RangeRule("percentile", 100), RangeRule("mse")))
    assert len(asked) == 2, "100 % of the values are all of them"


def test_single_tensors_get_what_serves_the_output(scene: Scene) -> None:
    """The best answer is known: each tensor's distance from it is the noise, so that coordinate search finds the best of all methods."""
    model, units, statistics = scene
    best = choose_ranges(model, units, statistics, RangeRule("mse"))

    def judge(ranges: Mapping[str, Range]) -> float:
        return 1e-9 + sum(abs(float(np.log(ranges[name][1] / best[name][1]))) for name in best)

    start = choose_rule(model, units, statistics, judge, rules=[RangeRule("minmax")])
    found = refine(model, units, statistics, judge, start)
    assert {name: high for name, (_, high) in found.ranges.items()} == {name: high for name, (_, high) in best.items()}
    assert found.noise < start.noise
    assert found.rule == RangeRule("minmax"), "what most tensors followed before"


def test_what_brings_nothing_changes_nothing(scene: Scene) -> None:
    model, units, statistics = scene
    start = choose_rule(model, units, statistics, lambda _ranges: 1.0)
    assert refine(model, units, statistics, lambda _ranges: 0.98, start) is start, "3 % less noise is luck"


@pytest.mark.parametrize("name", ["first", "act"])
def test_a_method_that_the_user_names_is_not_tried_against(scene: Scene, name: str) -> None:
    model, units, statistics = scene
    layers = (Layer(name, method="minmax"),)
    high = statistics["r"].high

    def judge(ranges: Mapping[str, Range]) -> float:
        return float(ranges["r"][1])  # the smaller the better: the search would cut

    start = choose_rule(model, units, statistics, judge, layers)
    assert refine(model, units, statistics, judge, start, layers).ranges["r"] == (0, high)
    free = choose_rule(model, units, statistics, judge)
    assert refine(model, units, statistics, judge, free).ranges["r"][1] < high


def test_noise_is_averaged_over_outputs_and_summed_over_runs() -> None:
    def scaled(one: float, other: float) -> ModelProto:
        body = (
            f"c = Constant <value = float {{{one}}}> () d = Constant <value = float {{{other}}}> () x = Mul (input, c) y = Mul (input, d)"
        )
        return onnx.parser.parse_model(
            f"{HEAD} (float[N, 900, 6] input) => (float[N, 900, 6] x, float[N, 900, 6] y) {{ {body} s = Shape (input) }}"
        )

    runs = [{"input": IMAGES["input"][:1]}, {"input": IMAGES["input"][1:]}]
    noise = output_noise(scaled(1, 2), runs)
    assert noise(scaled(1, 2)) == 0
    assert noise(scaled(1.1, 2)) == pytest.approx((0.1**2 + 0) / 2, rel=1e-4)
    assert noise(scaled(1.1, 1)) == pytest.approx((0.1**2 + 0.5**2) / 2, rel=1e-4)
    assert noise(scaled(float(np.finfo(np.float32).max), 2)) == float("inf"), "an output that overflows is no candidate"
    assert output_noise(scaled(0, 2), runs)(scaled(1, 2)) == 0.5, "where nothing is expected, anything is noise"
