"""Layers that read the same tensor, as one layer with the channels of all of them and a Split behind it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx.numpy_helper
from onnx import ModelProto, NodeProto

from ...benchmarks.kernel import Precision, kernel_of
from .feeds import Feeds
from .joining import Part, join, join_on_one_grid
from .kernels import Shaped, TimesOf, apply_winners, shape_kernels
from .parallel import ParallelLayer, bias_name, float_layer, int8_layer, parallel_groups
from .placement import FLOAT_RESULT
from .qdq import write_qdq
from .rewriting import Edit, Scene, Shape, make_node, with_operands
from .scheme import Grid, IntegerWeight, Scheme
from .speed import time_files

_Step = tuple[Sequence[NodeProto], Precision]

_ROWS = frozenset({"Flatten", "Reshape", "Transpose"})  # these leave the blocks in which float convolutions keep their channels


def shape_fastest(model: ModelProto, scheme: Scheme, times_of: TimesOf, images: Sequence[Feeds]) -> Shaped:
    """Return the model as `shape_kernels` does, with parallel layers as one before that where it makes a faster file.

    Kernel times propose; they do not know how the layers are shaped apart, so the clock decides between the two files.

    Args:
        model: Prepared float model; it is not changed.
        scheme: What becomes int8, and on which grids.
        times_of: Gives the times of kernels.
        images: What to time the files on; without any, as for another machine, the kernel times decide alone.
    """
    apart, merged = shape_kernels(model, scheme, times_of), merge_layers(model, scheme, times_of)
    if not merged.rewrites:
        return apart
    both = shape_kernels(merged.model, merged.scheme, times_of)
    both = replace(both, rewrites=(*merged.rewrites, *both.rewrites))
    if images:
        files = {"apart": write_qdq(apart.model, apart.scheme), "merged": write_qdq(both.model, both.scheme)}
        return both if time_files(files, images).speedup["merged"].low > 1 else apart
    return both


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
    for layers in parallel_groups(float_layer(scene, node) for node in scene.graph.nodes):
        readers = [scene.only_reader(one.output) for one in layers]
        behind = [one for one in readers if one is not None and one.op_type in _ROWS]
        if layers[0].node.op_type != "Conv" or len(behind) == len(layers):
            yield [_in_float(scene, layers, behind)]


def _int8_edits(scene: Scene) -> Iterator[list[Edit]]:
    for layers in parallel_groups(int8_layer(scene, node) for node in scene.graph.nodes):
        edit = _with_float_result(scene, layers) if layers[0].node.op_type in FLOAT_RESULT else _with_int8_result(scene, layers)
        if edit is not None:
            yield [edit]


def _in_float(scene: Scene, layers: Sequence[ParallelLayer], readers: Sequence[NodeProto]) -> Edit:
    merged = _merged(scene, layers, join(_parts(scene, layers)), layers[0].tail)
    before = [[*one.nodes, *readers[index : index + 1]] for index, one in enumerate(layers)]
    moves = [[one] for one in readers[1:] if one.op_type == "Transpose"]  # a Reshape costs nothing
    after = [[*merged.nodes, *readers[:1]], *moves]
    return merged.edit(scene, layers, [(one, "fp32") for one in before], [(one, "fp32") for one in after])


def _with_float_result(scene: Scene, layers: Sequence[ParallelLayer]) -> Edit:
    merged = _merged(scene, layers, join(_parts(scene, layers)), layers[0].tail)
    products: list[_Step] = [((one.node,), "int8") for one in layers]
    tails: list[_Step] = [(one.tail, "fp32") for one in layers if one.tail]
    return merged.edit(scene, layers, [*products, *tails], [(merged.nodes[:1], "int8"), (merged.nodes[1:], "fp32")], merged.nodes[1:])


def _with_int8_result(scene: Scene, layers: Sequence[ParallelLayer]) -> Edit | None:
    source = scene.scheme.activations[layers[0].node.input[0]]
    found = join_on_one_grid(source, [scene.scheme.activations[one.output] for one in layers], _parts(scene, layers))
    if found is None:
        return None
    grid, joint = found
    merged = _merged(scene, layers, joint, (), grid)
    return merged.edit(scene, layers, [(one.nodes, "int8") for one in layers], [(merged.nodes, "int8")])


def _parts(scene: Scene, layers: Sequence[ParallelLayer]) -> list[Part]:
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
        self,
        scene: Scene,
        layers: Sequence[ParallelLayer],
        before: Sequence[_Step],
        after: Sequence[_Step],
        floats: Sequence[NodeProto] = (),
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


def _merged(scene: Scene, layers: Sequence[ParallelLayer], joint: Part, tail: Sequence[NodeProto], grid: Grid | None = None) -> _Merged:
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
            constants[operands[1]] = np.concatenate([scene.array(bias_name(scene, one.tail[index - 1])) for one in layers])
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
