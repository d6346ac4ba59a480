"""In which order ONNX Runtime's int8 kernels add up products.

Every kernel for a product of activations and weights, MLAS's QGEMM as well as its indirect NHWC convolution, takes four neighbours of
the reduction at a time and, without VNNI, adds the first two and the last two of them in 16 bits. So the neighbours matter:

- Conv, any group and rank: the taps of the kernel in row-major order, and within a tap the input channels of the group. With an odd
  number of channels a pair reaches over two taps. Padding holds the input's zero point.
- Gemm and MatMul: the rows of the weight, one after the other. LSTM: likewise, each gate's row of W and of R on its own.

A convolution with one input and one output channel a group (depthwise) multiplies in 32 bits and has no pairs. Read in MLAS's sources
(qlinearconv.cc, convsym.cpp, QgemmU8X8KernelAvx2, ConvSymKernelAvx2) and confirmed against emulated AVX2 by
`benchmarks/saturation_check.py`.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from .indexing import attribute
from .patches import windows

T = TypeVar("T", bound=np.generic)
Integers = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float32]


def has_pairs(node: NodeProto, weight: Sequence[int]) -> bool:
    """Return whether the kernel of this product adds pairs in 16 bits.

    Args:
        node: A Conv, Gemm or MatMul with constant weight.
        weight: The weight's shape.
    """
    return node.op_type != "Conv" or weight[1] > 1 or weight[0] != attribute(node, "group", 1)


def rows(node: NodeProto, weight: npt.NDArray[T]) -> npt.NDArray[T]:
    """Return the weight in the kernel's order.

    Args:
        node: A Conv, Gemm or MatMul, or an LSTM.
        weight: Its constant operand as the model stores it; of an LSTM, W or R of one direction, shape (gates * hidden, inputs).

    Returns:
        Shape (groups, outputs of a group, K); K is the length of the reduction.
    """
    if node.op_type == "Conv":
        outputs = weight.shape[0]
        group = attribute(node, "group", 1)
        return np.moveaxis(weight, 1, -1).reshape(group, outputs // group, -1)
    is_transposed = node.op_type == "LSTM" or (node.op_type == "Gemm" and attribute(node, "transB", 0))
    return (weight if is_transposed else weight.T)[None]


def columns(node: NodeProto, weight: Sequence[int], values: Integers, padding: int) -> Integers:
    """Return the input in the kernel's order, one line for each output position.

    Args:
        node: A Conv, Gemm or MatMul.
        weight: Shape of its constant operand.
        values: Its input as integers, shape (N, C, ...) for Conv, (..., K) for the others.
        padding: The integer that means 0.

    Returns:
        Shape (groups, positions, K), dtype of `values`.
    """
    if node.op_type != "Conv":
        return values.reshape(1, -1, values.shape[-1])
    kernel, group = tuple(weight[2:]), attribute(node, "group", 1)
    rank = len(kernel)
    strides, dilations = (_several(node, name, rank) for name in ("strides", "dilations"))
    extent = tuple((size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True))
    views = windows(values, kernel, strides, dilations, _pads(node, values.shape[2:], extent, strides), padding)
    images, channels = values.shape[:2]
    split = views.reshape(images, group, channels // group, -1, int(np.prod(kernel)))  # (N, g, C/g, positions, taps)
    return split.transpose(1, 0, 3, 4, 2).reshape(group, -1, split.shape[-1] * split.shape[2])  # (g, N * positions, taps * C/g)


def _several(node: NodeProto, name: str, rank: int) -> tuple[int, ...]:
    return next((tuple(one.ints) for one in node.attribute if one.name == name), (1,) * rank)


def _pads(node: NodeProto, size: Sequence[int], extent: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return (before, after) of each axis, from `pads` or `auto_pad`."""
    rank = len(extent)
    auto = next((one.s for one in node.attribute if one.name == "auto_pad"), b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        needed = [max((-(-one // step) - 1) * step + wide - one, 0) for one, wide, step in zip(size, extent, strides, strict=True)]
        halves = [(one // 2, one - one // 2) for one in needed]
        return halves if auto == b"SAME_UPPER" else [(after, before) for before, after in halves]
    pads = next((tuple(one.ints) for one in node.attribute if one.name == "pads"), (0,) * (2 * rank))
    return list(zip(pads[:rank], pads[rank:], strict=True))
