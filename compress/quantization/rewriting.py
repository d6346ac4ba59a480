"""What every rewrite of a prepared model and its scheme needs: a view of both, an edit of both, and the edit's price."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import onnx.helper
import onnx.numpy_helper
from onnx import ModelProto, NodeProto, TensorProto

from ...benchmarks.kernel import Kernel, conversion, kernel_of
from ...graph.copying import copy_model
from ...graph.shapes import infer_shapes
from .indexing import Graph, tensors_read
from .scheme import Grid, IntegerWeight, Scheme

Floats = npt.NDArray[np.float32]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """A prepared model, the scheme that will be written into it, and look-ups over both.

    Attributes:
        model: Prepared float model.
        scheme: Which of its nodes become int8, and on which grids.
        graph: Look-ups over the model.
        shapes: Tensor to its sizes at batch 1; only tensors whose sizes are all known.
    """

    model: ModelProto
    scheme: Scheme
    graph: Graph
    shapes: Mapping[str, Shape]

    @classmethod
    def of(cls, model: ModelProto, scheme: Scheme) -> "Scene":
        """Index a model and its scheme."""
        inferred = infer_shapes(model)
        known = {name: tuple(size for size in shape if size is not None) for name, shape in inferred.items() if None not in shape}
        return cls(model, scheme, Graph.of(model), known)

    def is_int8(self, node: NodeProto) -> bool:
        """Tell whether a node computes on integers."""
        return node.name in self.scheme.nodes

    def grid(self, name: str) -> Grid | None:
        """Return the grid of a tensor, None where it has none."""
        return self.scheme.activations.get(name)

    def array(self, name: str) -> npt.NDArray[np.generic]:
        """Return the values of an initializer."""
        return onnx.numpy_helper.to_array(self.graph.constants[name])

    def is_free(self, edit: "Edit") -> bool:
        """Tell whether the model has no other tensor or node with a name that the edit brings."""
        others = [node for node in self.graph.nodes if node.name not in edit.nodes]
        present = {*self.graph.constants, *(one.name for one in self.model.graph.input), *_names_of(others)}
        return present.isdisjoint({*edit.constants, *(name for nodes in edit.nodes.values() for name in _names_of(nodes))})

    def only_reader(self, name: str) -> NodeProto | None:
        """Return the node that reads a tensor, if there is one only and the tensor is no output."""
        readers = self.graph.consumers.get(name, ())
        return readers[0] if len(readers) == 1 and name not in self.graph.outputs else None

    def absorbed_by(self, node: NodeProto) -> NodeProto | None:
        """Return the activation behind an int8 node that its kernel takes over: the tensor between them has no grid."""
        reader = self.only_reader(node.output[0])
        fits = reader is not None and reader.op_type in ("Clip", "HardSigmoid", "Relu") and self.is_int8(reader)
        return reader if fits and self.grid(node.output[0]) is None else None


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of a model and its scheme. The written int8 model computes the same integers before and after.

    Attributes:
        what: What it does, for the report.
        nodes: Node that is replaced to the nodes that take its place, none where it is dropped; they are int8 but for those in `floats`.
        constants: New initializers.
        activations: Grids of new tensors.
        weights: New weights, by initializer name.
        resized: Tensors that keep their names and get other sizes.
        before: Kernels that run without it.
        after: Kernels that run instead.
        floats: Names of new nodes that compute in float.
    """

    what: str
    nodes: Mapping[str, tuple[NodeProto, ...]]
    constants: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict[str, npt.NDArray[np.generic]])
    activations: Mapping[str, Grid] = field(default_factory=dict[str, Grid])
    weights: Mapping[str, IntegerWeight] = field(default_factory=dict[str, IntegerWeight])
    resized: frozenset[str] = frozenset()
    before: tuple[Kernel | None, ...] = ()
    after: tuple[Kernel | None, ...] = ()
    floats: frozenset[str] = frozenset()


def applied(scene: Scene, edit: Edit) -> Scene:
    """Return the model and the scheme with an edit."""
    model = copy_model(scene.model)
    del model.graph.node[:]
    for node in scene.model.graph.node:
        model.graph.node.extend(edit.nodes.get(node.name, (node,)))
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in edit.constants.items())
    _drop_unused_(model)
    infos = [one for one in model.graph.value_info if one.name not in edit.resized]
    present = {one.name for one in (*infos, *model.graph.output)}
    new = [name for name in (*edit.activations, *sorted(edit.resized)) if name not in present]
    del model.graph.value_info[:]
    model.graph.value_info.extend([*infos, *(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in new)])
    added = {node.name for nodes in edit.nodes.values() for node in nodes} - edit.floats
    scheme = replace(
        scene.scheme,
        nodes=(scene.scheme.nodes - set(edit.nodes)) | added,
        activations={**scene.scheme.activations, **edit.activations},
        weights={**scene.scheme.weights, **edit.weights},
    )
    return Scene.of(model, scheme)


def chain_kernel(
    scene: Scene,
    nodes: Sequence[NodeProto],
    shapes: Mapping[str, Shape] | None = None,
    constants: Mapping[str, npt.NDArray[np.generic]] | None = None,
) -> Kernel | None:
    """Return the int8 kernel of nodes in a row, with the step from float in front where the first of them reads an input of the model.

    Args:
        scene: What is rewritten.
        nodes: Each reads the result of the one before.
        shapes: Sizes of new tensors.
        constants: New initializers.
    """
    tensors = dict(scene.graph.constants)
    tensors |= {name: onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()}
    kernel = kernel_of(nodes, {**scene.shapes, **(shapes or {})}, tensors, "int8")
    source = nodes[0].input[0]
    if kernel is None or source in scene.graph.producer:
        return kernel
    return replace(kernel, operators=(*conversion(scene.shapes[source], to_int8=True).operators, *kernel.operators))


def make_node(op_type: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> NodeProto:
    """Return a node whose name is that of its output."""
    node = onnx.helper.make_node(op_type, inputs, [output], output)
    node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in attributes.items())
    return node


def with_operands(node: NodeProto, inputs: Sequence[str], output: str | None = None) -> NodeProto:
    """Return a copy of a node that reads, and writes, other tensors."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = inputs
    if output is not None:
        copy.output[0] = output
    return copy


def attribute_list(node: NodeProto, name: str, default: Sequence[int]) -> tuple[int, ...]:
    """Return an attribute that is a list of integers."""
    return next((tuple(one.ints) for one in node.attribute if one.name == name), tuple(default))


def set_attribute_(node: NodeProto, name: str, value: int | Sequence[int]) -> None:
    """Give a node an attribute, in place of the one that it has."""
    others = [one for one in node.attribute if one.name != name]
    del node.attribute[:]
    node.attribute.extend([*others, onnx.helper.make_attribute(name, value)])


def _names_of(nodes: Iterable[NodeProto]) -> set[str]:
    return {name for node in nodes for name in (node.name, *node.output)}


def _drop_unused_(model: ModelProto) -> None:
    used = {name for node in model.graph.node for name in tensors_read(node)} | {one.name for one in model.graph.output}
    kept = [one for one in model.graph.initializer if one.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    written = {name for node in model.graph.node for name in node.output}
    infos = [one for one in model.graph.value_info if one.name in written]
    del model.graph.value_info[:]
    model.graph.value_info.extend(infos)
