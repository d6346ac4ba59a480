"""Intact models with damaged metadata: loaded by the `Recognizer`, which believes what a file says about itself as far as it must."""

from functools import cache
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ...runtime.packed import replay
from ...runtime.recognizer import Recognizer
from ...runtime.session import open_session
from ...runtime.spec import METADATA_KEY
from .models import SPEC
from .specs import PACKED


def samples() -> dict[str, bytes]:
    """Return intact metadata by name."""
    return {"core": SPEC.to_json().encode(), "packed": PACKED.to_json().encode()}


@cache
def _model(name: str) -> bytes:
    """Return a model of free height and width, so that the metadata alone says how large an image is; a packed one takes uint8, channels last."""
    shape = ["n", "h", "w", 3] if name == "packed" else ["n", 3, "h", "w"]
    taken = helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT)
    mean = helper.make_node("ReduceMean", ["f"], ["m"], axes=[1, 2] if name == "packed" else [2, 3], keepdims=0)
    nodes = [taken, mean, helper.make_node("MatMul", ["m", "w"], ["l"]), helper.make_node("Softmax", ["l"], ["y"])]
    kind = TensorProto.UINT8 if name == "packed" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.eye(3, 2, dtype=np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def attempt(name: str, data: bytes, folder: Path) -> None:
    """Load a model with damaged metadata, predict, and replay its golden pair.

    Raises:
        EdgerecError: It is refused.
    """
    del folder
    model = ModelProto.FromString(_model(name))
    entry = model.metadata_props.add(key=METADATA_KEY)
    entry.value = data.decode("utf-8", errors="replace")
    session = open_session(model.SerializeToString(), threads=1)
    recognizer = Recognizer(session)
    if not recognizer.predict(np.zeros((8, 8, 3), np.uint8)):
        raise AssertionError("no prediction")
    if recognizer.spec.packed is not None:
        replay(session, recognizer.spec)
