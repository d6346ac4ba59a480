"""A piece of a graph while it is written: nodes and constants whose names cannot meet the model's own."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

Array = npt.NDArray[np.generic]
Attributes = Mapping[str, int | float | str | Sequence[int]]

PREFIX = "packed/"


class Steps:
    """Nodes in the order in which they run, each with one result.

    Args:
        part: What the piece does; it stands in every name.
    """

    def __init__(self, part: str) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._prefix = f"{PREFIX}{part}"

    def add(self, kind: str, *inputs: str, attributes: Attributes | None = None) -> str:
        """Append a node and return the name of its result."""
        name = f"{self._prefix}/{kind}_{len(self.nodes)}"
        node = helper.make_node(kind, list(inputs), [name], name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in (attributes or {}).items())
        self.nodes.append(node)
        return name

    def constant(self, array: Array) -> str:
        """Return the name of a constant; equal ones are stored once."""
        tensor = numpy_helper.from_array(np.asarray(array))
        for known in self.constants:
            if (known.raw_data, known.data_type, known.dims) == (tensor.raw_data, tensor.data_type, tensor.dims):
                return known.name
        tensor.name = f"{self._prefix}/constant_{len(self.constants)}"
        self.constants.append(tensor)
        return tensor.name

    def integers(self, *values: int) -> str:
        """Return the name of a list of integers, as shapes and axes are written."""
        return self.constant(np.array(values, np.int64))

    def call(self, result: str, name: str) -> None:
        """Give a result the name that the model's nodes read."""
        if self.nodes and self.nodes[-1].output[0] == result:
            self.nodes[-1].output[0] = name
        else:
            self.nodes.append(helper.make_node("Identity", [result], [name], f"{self._prefix}/Identity_{len(self.nodes)}"))
