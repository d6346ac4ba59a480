"""Run a network node by node over all calibration inputs, so that a layer can be changed before what follows has seen it."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper

from ...graph.execution import open_model
from .feeds import images_of
from .indexing import tensors_read

Array = npt.NDArray[np.generic]
Feeds = Mapping[str, Array]


class Stepper:
    """One forward pass that stops where it is told to; only tensors that are still needed are kept.

    Attributes:
        constants: The initializers by name; a change counts for nodes that have not run yet.
        states: For each run of a few images, its live tensors by name.
    """

    def __init__(self, model: onnx.ModelProto, runs: Sequence[Feeds]) -> None:
        """Stand before the first node."""
        self.constants = {one.name: one for one in model.graph.initializer}
        self.states: list[dict[str, Array]] = [dict(feeds) for feeds in runs]
        self._model = model
        self._nodes = list(model.graph.node)
        self._places = {node.name: index for index, node in enumerate(self._nodes)}
        self._last_use = {name: index for index, node in enumerate(self._nodes) for name in tensors_read(node)}
        self._next = 0

    def advance(self, name: str, *, past: bool = False) -> None:
        """Run every node before the one of this name, and that one as well if `past`."""
        stop = self._places[name] + past
        nodes, self._next = self._nodes[self._next : stop], stop
        written = [name for node in nodes for name in node.output if self._last_use.get(name, stop) >= stop]
        if not written:
            return
        made = {name for node in nodes for name in node.output}
        read = [name for name in dict.fromkeys(name for node in nodes for name in tensors_read(node)) if name not in made]
        session = open_model(self._part(nodes, read, written), optimise=False)
        for state in self.states:
            results = session.run({name: state[name] for name in read if name in state})
            for gone in [name for name in state if self._last_use.get(name, -1) < stop]:
                del state[gone]
            state |= results

    def _part(self, nodes: Sequence[onnx.NodeProto], read: Sequence[str], written: Sequence[str]) -> onnx.ModelProto:
        state = self.states[0]
        inputs = [_value_info(name, state[name]) for name in read if name in state]
        outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in written]
        graph = onnx.helper.make_graph(nodes, "part", inputs, outputs, [self.constants[name] for name in read if name in self.constants])
        return onnx.helper.make_model(
            graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version, functions=self._model.functions
        )


def cut_runs(model: onnx.ModelProto, calibration: Sequence[Feeds], values_at_once: int = 200_000) -> list[Feeds]:
    """Cut batches into runs of a few images, or of as many as the model takes at once where that is fixed; a rest is left out."""
    dims = next((one.type.tensor_type.shape.dim for one in model.graph.input if one.type.tensor_type.shape.dim), None)
    fixed = dims[0].dim_value if dims else 0
    runs: list[Feeds] = []
    for feeds in calibration:
        first = next(array for array in feeds.values() if array.ndim)
        size = fixed or max(1, values_at_once // max(first[0].size, 1))
        starts = range(0, len(first) - (fixed or 1) + 1, size)
        runs.extend(images_of(feeds, start, start + size) for start in starts)
    return runs


def _value_info(name: str, value: Array | Sequence[Array]) -> onnx.ValueInfoProto:
    if not isinstance(value, np.ndarray):  # a sequence of tensors
        element = onnx.helper.np_dtype_to_tensor_dtype(value[0].dtype) if value else onnx.TensorProto.FLOAT
        return onnx.helper.make_tensor_sequence_value_info(name, element, None)
    element = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    return onnx.helper.make_tensor_value_info(name, element, [None] * value.ndim)
