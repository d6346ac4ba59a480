"""Tests of graph/precision.py: float16 files against the float32 ones they come from."""

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgerec.graph.execution import open_model
from edgerec.graph.precision import KEPT, half_precision, to_fp16
from edgerec.runtime.errors import ConfigError, ModelError

Array = npt.NDArray[np.generic]


def model_of(
    nodes: list[NodeProto],
    weights: dict[str, Array],
    shape: list[int | str],
    outputs: tuple[str, ...] = ("y",),
    kind: int = TensorProto.FLOAT,
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def network() -> ModelProto:
    """Return a small image classifier with a residual, a resize, and sizes taken from shapes."""
    draw = np.random.default_rng(0)
    weights: dict[str, Array] = {
        "w1": (draw.standard_normal((8, 3, 3, 3)) / 5).astype(np.float32),
        "b1": draw.standard_normal(8).astype(np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "fc": (draw.standard_normal((8, 4)) / 3).astype(np.float32),
        "first": np.array([0], np.int64),
        "rest": np.array([-1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Resize", ["b", "", "scales"], ["c"], "resize", mode="nearest"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], "pool"),
        helper.make_node("Shape", ["d"], ["shape"], "shape"),
        helper.make_node("Gather", ["shape", "first"], ["n"], "gather"),
        helper.make_node("Concat", ["n", "rest"], ["flat"], "sizes", axis=0),
        helper.make_node("Reshape", ["d", "flat"], ["e"], "reshape"),
        helper.make_node("MatMul", ["e", "fc"], ["y"], "head"),
    ]
    return model_of(nodes, weights, ["n_images", 3, 8, 8])


def difference(model: ModelProto, half: ModelProto, feeds: dict[str, Array]) -> float:
    """Return the largest difference of any output, as a fraction of the output's largest value."""
    expected, got = open_model(model, threads=1).run(feeds), open_model(half, threads=1).run(feeds)
    assert list(expected) == list(got)
    assert all(got[name].dtype == array.dtype and got[name].shape == array.shape for name, array in expected.items())
    return max(float(np.abs(got[name] - array).max() / np.abs(array).max()) for name, array in expected.items())


def kinds(model: ModelProto) -> dict[str, int]:
    return {one.name: one.data_type for one in model.graph.initializer}


def test_the_answers_are_those_of_the_float_file_to_eleven_bits() -> None:
    model = network()
    feeds = {"x": np.random.default_rng(1).standard_normal((3, 3, 8, 8)).astype(np.float32)}
    result = half_precision(model)
    onnx.checker.check_model(result.model, full_check=True)
    assert difference(model, result.model, feeds) < 5e-3  # a handful of roundings to 2**-11
    assert dict(result.kept) == {"resize": KEPT["Resize"]}
    assert result.notes == ()


def test_weights_are_half_and_what_other_types_need_is_left() -> None:
    found = kinds(to_fp16(network()))
    assert {name for name, kind in found.items() if kind == TensorProto.FLOAT16} == {"w1", "b1", "fc"}
    assert found["scales"] == TensorProto.FLOAT
    assert found["rest"] == TensorProto.INT64


def test_inputs_and_outputs_keep_name_and_type_behind_casts() -> None:
    half = to_fp16(network())
    assert [(one.name, one.type.tensor_type.elem_type) for one in (*half.graph.input, *half.graph.output)] == [("x", 1), ("y", 1)]
    # One Cast at each edge, and two around the Resize.
    assert sum(node.op_type == "Cast" for node in half.graph.node) == 4


def test_the_model_is_left_alone_and_the_same_model_gives_the_same_bytes() -> None:
    model = network()
    before = model.SerializeToString()
    assert to_fp16(model).SerializeToString() == to_fp16(model).SerializeToString()
    assert model.SerializeToString() == before


def test_a_tensor_that_is_output_and_operand_is_given_in_both_types() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu"), helper.make_node("Exp", ["y"], ["z"], "exp")]
    model = model_of(nodes, {}, [2, 3], ("y", "z"))
    assert difference(model, to_fp16(model), {"x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}) < 2e-3


def test_a_constant_beyond_the_range_keeps_its_node_in_float() -> None:
    model = model_of([helper.make_node("Mul", ["x", "c"], ["a"], "large"), helper.make_node("Relu", ["a"], ["y"], "relu")],
                     {"c": np.array([1e6], np.float32)}, [4])  # fmt: skip
    result = half_precision(model)
    assert dict(result.kept) == {"large": "its constant c lies beyond 65504"}
    assert difference(model, result.model, {"x": np.array([1e-3, 2e-3, 5e-3, 1e-2], np.float32)}) < 1e-3


def test_a_mask_is_limited_and_infinity_stays() -> None:
    mask = np.array([0, -1e9, -np.inf, 0], np.float32)
    model = model_of([helper.make_node("Add", ["x", "mask"], ["a"], "mask_it"), helper.make_node("Softmax", ["a"], ["y"], "softmax")],
                     {"mask": mask}, [4])  # fmt: skip
    result = half_precision(model)
    assert result.notes == ("mask: limited to 65504; its largest value is 1e+09",)
    stored = numpy_helper.to_array(result.model.graph.initializer[0])
    assert stored.tolist() == [0, -65504, -np.inf, 0]
    assert difference(model, result.model, {"x": np.array([1, 2, 3, 4], np.float32)}) < 1e-3


def test_values_that_vanish_are_told() -> None:
    model = model_of([helper.make_node("Mul", ["x", "c"], ["y"], "scale")], {"c": np.array([1e-9, 1, 1, 1], np.float32)}, [4])
    assert half_precision(model).notes == ("c: 1 of 4 values are too small for float16 and became 0",)


def test_activations_beyond_the_range_keep_their_nodes_in_float_when_data_shows_them() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "c"], ["a"], "grow"),
        helper.make_node("Mul", ["a", "d"], ["b"], "shrink"),
        helper.make_node("Relu", ["b"], ["y"], "relu"),
    ]
    model = model_of(nodes, {"c": np.array([1000], np.float32), "d": np.array([0.001], np.float32)}, [2])
    feeds = {"x": np.array([100, 200], np.float32)}
    result = half_precision(model, feeds)
    assert dict(result.kept) == dict.fromkeys(("grow", "shrink"), "a reaches 2e+05, beyond 65504")
    assert difference(model, result.model, feeds) < 1e-3


def test_what_an_inner_graph_reads_stays_float() -> None:
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, ["a"], [f"{name}_y"])], name, [], [helper.make_tensor_value_info(f"{name}_y", 1, [4])]
        )
        for name, op in (("then_branch", "Neg"), ("else_branch", "Abs"))
    }
    nodes = [helper.make_node("Relu", ["x"], ["a"], "relu"), helper.make_node("If", ["yes"], ["y"], "if", **branches)]
    model = model_of(nodes, {"yes": np.array(True)}, [4])
    result = half_precision(model)
    assert result.kept["if"] == "it holds a graph of its own"
    assert difference(model, result.model, {"x": np.array([1, 2, -3, 4], np.float32)}) < 1e-3


def test_sizes_computed_in_float_stay_exact() -> None:
    # 4099 rounds to 4100 in float16.
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], "shape"),
        helper.make_node("Cast", ["shape"], ["real"], "to_float", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "one"], ["same"], "scale"),
        helper.make_node("Cast", ["same"], ["size"], "to_int", to=TensorProto.INT64),
        helper.make_node("Relu", ["x"], ["a"], "relu"),
        helper.make_node("Reshape", ["a", "size"], ["y"], "reshape"),
    ]
    model = model_of(nodes, {"one": np.array([1], np.float32)}, ["n"])
    result = half_precision(model)
    assert result.kept["scale"] == "it computes sizes"
    assert difference(model, result.model, {"x": np.ones(4099, np.float32)}) == 0


def test_constant_nodes_and_weights_among_the_inputs_become_half_constants() -> None:
    constant = helper.make_node("Constant", [], ["c"], "held", value=numpy_helper.from_array(np.array([2], np.float32)))
    model = model_of([constant, helper.make_node("Mul", ["x", "c"], ["a"], "mul"), helper.make_node("Add", ["a", "w"], ["y"], "add")],
                     {"w": np.array([1], np.float32)}, [3])  # fmt: skip
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]))
    half = to_fp16(model)
    assert kinds(half) == {"c": TensorProto.FLOAT16, "w": TensorProto.FLOAT16}
    assert [one.name for one in half.graph.input] == ["x"]
    assert difference(model, half, {"x": np.array([1, 2, 3], np.float32)}) == 0


def test_nodes_stay_float_when_asked() -> None:
    result = half_precision(network(), keep_float=["head"])
    assert result.kept["head"] == "as asked"
    assert kinds(result.model)["fc"] == TensorProto.FLOAT
    with pytest.raises(ConfigError, match="no node of this name: haed"):
        to_fp16(network(), keep_float=["haed"])


def test_refusals() -> None:
    quantized = model_of([helper.make_node("QuantizeLinear", ["x", "s"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s"], ["y"])],
                         {"s": np.array(0.1, np.float32)}, [4])  # fmt: skip
    with pytest.raises(ModelError, match="quantized already"):
        to_fp16(quantized)
    with pytest.raises(ModelError, match="nothing that could compute in float16"):
        to_fp16(model_of([helper.make_node("CumSum", ["x", "axis"], ["y"], "sum")], {"axis": np.array(0)}, [4]))
