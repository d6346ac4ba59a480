"""Shortcuts that only move values (Slice with steps, Pad of channels), spelled as a strided convolution with an identity weight."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx.numpy_helper
from onnx import NodeProto

from .rewriting import Edit, Scene, chain_kernel, make_node
from .scheme import IntegerWeight

_CHANNELS, _HEIGHT, _WIDTH = 1, 2, 3


@dataclass(slots=True)
class _Move:
    """What a row of Slices and Pads does to an image: takes every `strides`-th pixel and puts empty channels around the given ones."""

    strides: list[int]
    before: int = 0
    behind: int = 0


def shortcut_edits(scene: Scene) -> Iterator[list[Edit]]:
    """Yield, for every row of int8 Slice and Pad nodes between images, the convolution that does the same.

    Its weight is 1 (or 0) with scale 1, and both sides lie on one grid: the kernel multiplies by exactly 1 and gives back the same integers.
    """
    inside: set[str] = set()
    for node in scene.graph.nodes:
        if node.name in inside or not _moves(scene, node):
            continue
        row = [node]
        while (reader := scene.only_reader(row[-1].output[0])) is not None and _moves(scene, reader):
            row.append(reader)
        inside.update(one.name for one in row)
        edit = _as_convolution(scene, row)
        if edit is not None:
            yield [edit]


def _moves(scene: Scene, node: NodeProto) -> bool:
    return node.op_type in ("Pad", "Slice") and scene.is_int8(node) and len(scene.shapes.get(node.input[0], ())) == 4


def _as_convolution(scene: Scene, row: list[NodeProto]) -> Edit | None:
    source, result = row[0].input[0], row[-1].output[0]
    grids = {scene.grid(name) for name in (source, *(node.output[0] for node in row))}
    move = _Move([1, 1])
    if len(grids) != 1 or None in grids or not all(_follow_(move, scene, node) for node in row) or result not in scene.shapes:
        return None
    channels = scene.shapes[source][_CHANNELS]
    identity = np.eye(channels, dtype=np.float32)
    weight = np.pad(identity, ((move.before, move.behind), (0, 0)))[:, :, None, None]  # (out, in, 1, 1)
    name = f"{result}_identity"
    node = make_node("Conv", [source, name], result, kernel_shape=[1, 1], strides=move.strides)
    integers = IntegerWeight(weight.astype(np.int8), np.ones(len(weight), np.float32))
    return Edit(
        "shortcut as a convolution",
        {**{one.name: () for one in row[:-1]}, row[-1].name: (node,)},
        constants={name: weight},
        weights={name: integers},
        before=(chain_kernel(scene, row),),
        after=(chain_kernel(scene, [node], constants={name: weight}),),
    )


def _follow_(move: _Move, scene: Scene, node: NodeProto) -> bool:
    """Add what a node does to `move`; False where a convolution cannot do it."""
    constants = [_integers(scene, name) for name in node.input[1:] if name]
    if node.op_type == "Pad":
        return _follow_pad_(move, constants[0] if constants else None, len(node.input) > 3 and node.input[3] != "")
    shape = scene.shapes[node.input[0]]
    if len(node.input) < 4 or any(one is None for one in constants):
        return False
    starts, ends, axes = ([int(v) for v in one or ()] for one in constants[:3])
    steps = constants[3] if len(constants) > 3 else None
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(axes), strict=True):
        axis %= len(shape)
        if axis not in (_HEIGHT, _WIDTH) or start != 0 or step < 1 or end < shape[axis]:
            return False
        move.strides[axis - _HEIGHT] *= step
    return True


def _follow_pad_(move: _Move, pads: list[int] | None, has_axes: bool) -> bool:
    if pads is None or has_axes or len(pads) != 8 or any(pads[axis] or pads[axis + 4] for axis in (0, _HEIGHT, _WIDTH)):
        return False
    if min(pads) < 0:
        return False
    move.before += pads[_CHANNELS]
    move.behind += pads[_CHANNELS + 4]
    return True


def _integers(scene: Scene, name: str) -> list[int] | None:
    tensor = scene.graph.constants.get(name)
    return None if tensor is None else [int(one) for one in onnx.numpy_helper.to_array(tensor).ravel()]
