"""The real values of a file's tensors by their float names, whether the file keeps them as floats or as integers with a scale."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx.numpy_helper
from onnx import ModelProto, NodeProto

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """How to read one tensor of a run.

    Attributes:
        source: The tensor that holds it.
        scale: Of the integers; None for floats.
        zero_point: Of the integers.
        axis: Dimension along which scales differ, where there are several.
    """

    source: str
    scale: npt.NDArray[np.float32] | None = None
    zero_point: npt.NDArray[np.int32] | None = None
    axis: int = 1

    def read(self, arrays: Mapping[str, Array]) -> Array:
        """Return the real values from the arrays of a run by name, as DequantizeLinear does."""
        values = arrays[self.source]
        if self.scale is None:
            return values
        shape = [-1 if one == self.axis % values.ndim else 1 for one in range(values.ndim)] if self.scale.ndim else []
        zero_point = 0 if self.zero_point is None else self.zero_point.reshape(shape)
        return (values.astype(np.int32) - zero_point).astype(np.float32) * self.scale.reshape(shape)


def list_views(model: ModelProto) -> dict[str, View]:
    """Return a view of each tensor that depends on the input, in the order of the graph: inputs first.

    Only the main graph counts. A pair of QuantizeLinear and DequantizeLinear gives its integers two names: what is behind it and what is in front.
    """
    fixed = _constants(model)
    found = {one.name: View(one.name) for one in model.graph.input if one.name not in fixed}
    producer = {name: node for node in model.graph.node for name in node.output}
    pairs: dict[str, View] = {}
    for node in model.graph.node:
        found |= {name: View(name) for name in node.output if name and name not in fixed}
        view = _dequantized(node, fixed)
        if view is None or node.input[0] in fixed:
            continue
        found[node.output[0]] = view
        before = producer.get(node.input[0])
        if before is not None and before.op_type == "QuantizeLinear":
            pairs.setdefault(before.input[0], view)
    return found | {name: view for name, view in pairs.items() if name in found}


def has_integers(model: ModelProto) -> bool:
    """Whether a file is quantized."""
    return any(node.op_type in ("DequantizeLinear", "QuantizeLinear") or node.op_type.startswith("QLinear") for node in model.graph.node)


def ancestors(model: ModelProto, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return for each of `names` which others of them it is computed from, without any of them in between, in the order of the graph."""
    nearest: dict[str, tuple[str, ...]] = {}
    found: dict[str, tuple[str, ...]] = {name: () for name in names if name in {one.name for one in model.graph.input}}
    for node in model.graph.node:
        sources = dict.fromkeys(source for read in node.input for source in ((read,) if read in names else nearest.get(read, ())) if source)
        for name in node.output:
            nearest[name] = tuple(sources)
            if name in names:
                found[name] = tuple(sources)
    return found


def _dequantized(node: NodeProto, fixed: Mapping[str, Array | None]) -> View | None:
    """Return the view that a DequantizeLinear with constant scale gives."""
    scale = fixed.get(node.input[1]) if node.op_type == "DequantizeLinear" else None
    if scale is None:
        return None
    zero_point = fixed.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
    return View(node.input[0], scale.astype(np.float32), None if zero_point is None else zero_point.astype(np.int32), axis)


def _constants(model: ModelProto) -> dict[str, Array | None]:
    """Return every tensor that does not depend on the input; with its value where no arithmetic is needed to know it."""
    small = 1 << 16  # scales and zero points are; larger weights are never read
    known: dict[str, Array | None] = {
        one.name: onnx.numpy_helper.to_array(one) if np.prod(one.dims) <= small else None for one in model.graph.initializer
    }
    for node in model.graph.node:
        if all(name in known for name in node.input if name) and not any(one.HasField("g") for one in node.attribute):
            value = next((one.t for one in node.attribute if one.name == "value" and node.op_type == "Constant"), None)
            known |= {name: None if value is None else onnx.numpy_helper.to_array(value) for name in node.output}
    return known
