"""Layers that read the same tensor, as one layer with the channels of all of them and a Split behind it."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx.numpy_helper
from onnx import ModelProto, NodeProto

from ...benchmarks.kernel import Precision, kernel_of
from .indexing import attribute, clip_bounds
from .joining import Part, join, join_on_one_grid
from .kernels import Shaped, TimesOf, apply_winners
from .placement import FLOAT_RESULT, PRODUCTS
from .rewriting import Edit, Scene, Shape, make_node, with_operands
from .scheme import Grid, IntegerWeight, Scheme

_Step = tuple[Sequence[NodeProto], Precision]

_ACTIVATIONS = frozenset({"Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Tanh"})
_ROWS = frozenset({"Flatten", "Reshape", "Transpose"})  # these leave the blocks in which float convolutions keep their channels


def merge_layers(model: ModelProto, scheme: Scheme, times_of: TimesOf) -> Shaped:
    """Return a model and a scheme in which int8 layers that read the same tensor are one, where kernel times say that this is faster.

    The written file computes the same integers. A result that goes on in float has its own scale in each channel already. One that is int8 keeps
    its own grid behind the Split, which moves integers: the weights' scales make up for the joint grid in front of it.

    Args:
        model: Prepared float model; it is not changed.
        scheme: What becomes int8, and on which grids.
        times_of: Gives the times of kernels; layers whose kernels the table does not hold stay apart.

    Raises:
        ModelError: Shape inference refuses the graph.
    """
    return apply_winners(Scene.of(model, scheme), (_int8_edits,), times_of)


def float_merging_edits(scene: Scene) -> Iterator[list[Edit]]:
    """Yield, for float layers of one form that read the same tensor, the one layer that does the same.

    Of convolutions only those in front of rows: a Split has no blocked kernel, so between convolutions it costs more than it saves.
    """
    for layers in _groups(_float_layer(scene, node) for node in scene.graph.nodes):
        readers = [scene.only_reader(one.output) for one in layers]
        behind = [one for one in readers if one is not None and one.op_type in _ROWS]
        if layers[0].node.op_type != "Conv" or len(behind) == len(layers):
            yield [_in_float(scene, layers, behind)]


def _int8_edits(scene: Scene) -> Iterator[list[Edit]]:
    for layers in _groups(_int8_layer(scene, node) for node in scene.graph.nodes):
        edit = _with_float_result(scene, layers) if layers[0].node.op_type in FLOAT_RESULT else _with_int8_result(scene, layers)
        if edit is not None:
            yield [edit]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A product with constant weights, and the nodes behind it that become part of the merged layer.

    Attributes:
        node: The product.
        tail: A sum with a bias and an activation, each the only reader of the one before.
        axis: The weight's axis of output channels.
        form: Equal for layers that can be one.
    """

    node: NodeProto
    tail: tuple[NodeProto, ...]
    axis: int
    form: Hashable

    @property
    def nodes(self) -> tuple[NodeProto, ...]:
        """All nodes, in order."""
        return (self.node, *self.tail)

    @property
    def output(self) -> str:
        """The tensor that others read."""
        return self.nodes[-1].output[0]

    def channels(self, scene: Scene) -> int:
        """Return the number of output channels."""
        return scene.graph.constants[self.node.input[1]].dims[self.axis]


def _groups(layers: Iterable[_Layer | None]) -> list[list[_Layer]]:
    groups: dict[Hashable, list[_Layer]] = {}
    for one in layers:
        if one is not None:
            groups.setdefault(one.form, []).append(one)
    return [group for group in groups.values() if len(group) > 1]


def _float_layer(scene: Scene, node: NodeProto) -> _Layer | None:
    return _layer(scene, node, _float_tail(scene, node)) if _is_plain(scene, node) else None


def _int8_layer(scene: Scene, node: NodeProto) -> _Layer | None:
    """Return an int8 layer whose result is float, or a convolution whose result is int8."""
    weight = scene.scheme.weights.get(node.input[1]) if _is_plain(scene, node) else None
    if weight is None or weight.axis is None:
        return None
    if node.op_type in FLOAT_RESULT:
        is_float = not any(scene.is_int8(one) for one in scene.graph.consumers.get(node.output[0], ()))
        return _layer(scene, node, _float_tail(scene, node)) if is_float else None
    absorbed = scene.absorbed_by(node)
    grid = scene.grid(absorbed.output[0] if absorbed else node.output[0])
    if grid is None or (absorbed and absorbed.op_type == "HardSigmoid"):  # its shift goes into the bias
        return None
    low, high = clip_bounds(absorbed, scene.graph) if absorbed else (grid.low, grid.high)
    if grid.low < low - grid.scale / 2 or grid.high > high + grid.scale / 2:  # the activation is more than the ends of the grid
        return None
    return _layer(scene, node, (absorbed,) if absorbed else (), (grid.zero_point, grid.signed))


def _is_plain(scene: Scene, node: NodeProto) -> bool:
    """Tell whether a node multiplies by a weight that can be laid beside another one."""
    if node.op_type not in PRODUCTS or not scene.is_int8(node) or node.input[1] not in scene.graph.constants:
        return False
    return attribute(node, "group", 1) == 1 and node.output[0] in scene.shapes


def _layer(scene: Scene, node: NodeProto, tail: tuple[NodeProto, ...], grid: Hashable = None) -> _Layer | None:
    axis = {"Conv": 0, "MatMul": 1}.get(node.op_type, 0 if attribute(node, "transB", 0) else 1)
    dims = list(scene.graph.constants[node.input[1]].dims)
    channels = dims.pop(axis)
    biases = [*node.input[2:3], *(_bias_name(scene, one) for one in tail if one.op_type == "Add")]
    if any(name and scene.graph.constants[name].dims != [channels] for name in biases):
        return None
    form = tuple(_form(one, one.input[1:] if one.op_type in _ACTIVATIONS else ()) for one in ((node, *tail) if grid is None else (node,)))
    return _Layer(node, tail, axis, (node.input[0], tuple(dims), form, grid))


def _form(node: NodeProto, operands: Sequence[str]) -> Hashable:
    return node.op_type, tuple(sorted(one.SerializeToString() for one in node.attribute)), tuple(operands)


def _float_tail(scene: Scene, node: NodeProto) -> tuple[NodeProto, ...]:
    """Return the float sum with a bias behind a MatMul, and the activation behind that."""
    tail: list[NodeProto] = []
    reader = scene.only_reader(node.output[0])
    if node.op_type == "MatMul" and reader is not None and reader.op_type == "Add" and _bias_name(scene, reader):
        tail.append(reader)
        reader = scene.only_reader(reader.output[0])
    if reader is not None and reader.op_type in _ACTIVATIONS:
        tail.append(reader)
    return tuple(tail)


def _bias_name(scene: Scene, node: NodeProto) -> str:
    return next((name for name in node.input if name in scene.graph.constants), "")


def _in_float(scene: Scene, layers: Sequence[_Layer], readers: Sequence[NodeProto]) -> Edit:
    merged = _merged(scene, layers, join(_parts(scene, layers)), layers[0].tail)
    before = [[*one.nodes, *readers[index : index + 1]] for index, one in enumerate(layers)]
    moves = [[one] for one in readers[1:] if one.op_type == "Transpose"]  # a Reshape costs nothing
    after = [[*merged.nodes, *readers[:1]], *moves]
    return merged.edit(scene, layers, [(one, "fp32") for one in before], [(one, "fp32") for one in after])


def _with_float_result(scene: Scene, layers: Sequence[_Layer]) -> Edit:
    merged = _merged(scene, layers, join(_parts(scene, layers)), layers[0].tail)
    before: list[_Step] = [((one.node,), "int8") for one in layers]
    before += [(one.tail, "fp32") for one in layers if one.tail]
    return merged.edit(scene, layers, before, [(merged.nodes[:1], "int8"), (merged.nodes[1:], "fp32")], merged.nodes[1:])


def _with_int8_result(scene: Scene, layers: Sequence[_Layer]) -> Edit | None:
    source = scene.scheme.activations[layers[0].node.input[0]]
    found = join_on_one_grid(source, [scene.scheme.activations[one.output] for one in layers], _parts(scene, layers))
    if found is None:
        return None
    grid, joint = found
    merged = _merged(scene, layers, joint, (), grid)
    return merged.edit(scene, layers, [(one.nodes, "int8") for one in layers], [(merged.nodes, "int8")])


def _parts(scene: Scene, layers: Sequence[_Layer]) -> list[Part]:
    return [
        Part(
            scene.array(one.node.input[1]).astype(np.float32),
            scene.scheme.weights.get(one.node.input[1]),
            scene.array(one.node.input[2]).astype(np.float32) if len(one.node.input) > 2 and one.node.input[2] else None,
            one.axis,
        )
        for one in layers
    ]


@dataclass(frozen=True, slots=True)
class _Merged:
    """The nodes of a merged layer with the Split behind them, and what is new with them."""

    nodes: tuple[NodeProto, ...]
    constants: Mapping[str, npt.NDArray[np.generic]]
    weights: Mapping[str, IntegerWeight]
    activations: Mapping[str, Grid]
    shapes: Mapping[str, Shape]

    def edit(
        self, scene: Scene, layers: Sequence[_Layer], before: Sequence[_Step], after: Sequence[_Step], floats: Sequence[NodeProto] = ()
    ) -> Edit:
        """Return the edit that puts them in the place of the first layer, with the kernels that ran before and run instead."""
        first, *others = [node.name for one in layers for node in one.nodes]
        tensors = dict(scene.graph.constants)
        tensors |= {name: onnx.numpy_helper.from_array(array, name) for name, array in self.constants.items()}
        shapes = {**scene.shapes, **self.shapes}
        return Edit(
            f"{len(layers)} parallel layers as one",
            {first: self.nodes, **dict.fromkeys(others, ())},
            self.constants,
            self.activations,
            self.weights,
            before=tuple(kernel_of(nodes, shapes, tensors, precision) for nodes, precision in before),
            after=tuple(kernel_of(nodes, shapes, tensors, precision) for nodes, precision in after),
            floats=frozenset(node.name for node in floats),
        )


def _merged(scene: Scene, layers: Sequence[_Layer], joint: Part, tail: Sequence[NodeProto], grid: Grid | None = None) -> _Merged:
    """Return the layer whose node bears the names of all, with what stands behind each of them once, and a Split."""
    first = layers[0]
    result, name = f"{first.output}_joined", "+".join(one.node.name for one in layers)
    constants: dict[str, npt.NDArray[np.generic]] = {f"{result}_weight": joint.weight}
    inputs = [first.node.input[0], f"{result}_weight"]
    if joint.bias is not None:
        inputs.append(f"{result}_bias")
        constants[inputs[-1]] = joint.bias
    nodes = [_named(with_operands(first.node, inputs, f"{result}_0"), name)]
    for index, node in enumerate(tail, 1):
        operands = [nodes[-1].output[0], *node.input[1:]]
        if node.op_type == "Add":
            operands[1] = f"{result}_sum"
            constants[operands[1]] = np.concatenate([scene.array(_bias_name(scene, one.tail[index - 1])) for one in layers])
        nodes.append(_named(with_operands(node, operands, f"{result}_{index}"), f"{name}_{index}"))
    constants[f"{result}_sizes"] = np.array([one.channels(scene) for one in layers], np.int64)
    axis = 1 if first.node.op_type == "Conv" else len(scene.shapes[first.output]) - 1
    split = make_node("Split", [nodes[-1].output[0], f"{result}_sizes"], f"{result}_split", axis=axis)
    split.output[:] = [one.output for one in layers]
    shape = list(scene.shapes[first.output])
    shape[axis] = joint.channels
    shapes = {node.output[0]: tuple(shape) for node in nodes}
    weights = {inputs[1]: joint.integers} if joint.integers is not None else {}
    return _Merged((*nodes, split), constants, weights, {nodes[0].output[0]: grid} if grid else {}, shapes)


def _named(node: NodeProto, name: str) -> NodeProto:
    node.name = name
    return node
