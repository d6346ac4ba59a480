"""int8 LSTM layers, against ONNX Runtime's float ones."""

import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgerec.compress.quantization.recurrent import find_lstms, write_lstms
from edgerec.runtime.session import open_session

RNG = np.random.default_rng(0)
STEPS, FEATURES, HIDDEN = 6, 10, 12


def lstm(directions: int = 1, **attributes: int | str) -> ModelProto:
    """A model x (steps, 1, features) -> y (steps, directions, 1, hidden)."""

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        return RNG.normal(0, 0.4, (directions, *shape)).astype(np.float32)

    weights = {"w": normal(4 * HIDDEN, FEATURES), "r": normal(4 * HIDDEN, HIDDEN), "b": normal(8 * HIDDEN)}
    node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], "layer", hidden_size=HIDDEN, **attributes)  # type: ignore[arg-type]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [STEPS, 1, FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("directions", "direction"), [(1, "forward"), (1, "reverse"), (2, "bidirectional")])
def test_int8_weights_give_nearly_the_same_answer(directions: int, direction: str) -> None:
    model = lstm(directions, direction=direction, layout=0)
    written = write_lstms(model, find_lstms(model))
    x = {"x": RNG.normal(0, 1, (STEPS, 1, FEATURES)).astype(np.float32)}
    reference, answer = (open_session(one.SerializeToString()).run(x)["y"] for one in (model, written))
    assert reference.shape == (STEPS, directions, 1, HIDDEN)
    assert np.square(reference - answer).sum() < 1e-3 * np.square(reference).sum()  # 30 dB
    assert not np.array_equal(reference, answer)
    stored = {one.name: one.data_type for one in written.graph.initializer}
    assert stored["w_quantized"] == stored["r_quantized"] == TensorProto.INT8
    assert not {"w", "r"} & stored.keys()
    assert model.graph.node[0].op_type == "LSTM"


def test_layers_the_kernel_cannot_take_are_left_alone() -> None:
    assert find_lstms(lstm(layout=1)) == ()
    free = lstm()
    free.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1, 4 * HIDDEN, FEATURES]))
    del free.graph.initializer[0]
    assert find_lstms(free) == ()
    model = lstm()
    assert write_lstms(model, ()) == model
