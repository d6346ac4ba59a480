"""The fastest that ONNX Runtime multiplies matrices on this machine: what a model's speed is held against."""

import contextlib
import json
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ..runtime import cache
from ..runtime.session import open_session
from .latency import Timing, measure_interleaved
from .records import Machine, machine, versions

KIND = "peak"
_SIZE = 512  # 0.13 GMACs a product: long beside any overhead, and the operands stay in the second-level cache
_CHANNELS, _PIXELS = 64, 34  # of the 3x3 convolution: 32x32 results
_TIMING = Timing(rounds=12, block_seconds=0.01, warmup_seconds=0.05)


@dataclass(frozen=True, slots=True)
class Peak:
    """Multiply-accumulates a second, in 10^9.

    Attributes:
        int8_gmacs: u8 times s8 into int32 (MatMulInteger), the product inside int8 convolutions.
        float_gmacs: float32: MatMul or a convolution, whichever is faster.
        threads: Threads of both.
    """

    int8_gmacs: float
    float_gmacs: float
    threads: int


def machine_peak(threads: int = 1) -> Peak:
    """Return this machine's peak; measured once (a quarter of a second), then taken from the cache.

    Args:
        threads: Threads of the products.
    """
    key = peak_key(machine(), threads, versions().get("onnxruntime", ""))
    if (stored := cache.load(KIND, key)) is not None:
        with contextlib.suppress(ValueError, TypeError):  # a damaged entry costs a measurement
            return Peak(**json.loads(stored))
    peak = measure_peak(threads)
    cache.store(KIND, key, json.dumps(asdict(peak)).encode())
    return peak


def peak_key(where: Machine, threads: int, onnxruntime: str) -> str:
    """Return what the peak depends on, as text: processor, its instructions, threads, ONNX Runtime; not the Python that calls it."""
    return json.dumps([where.cpu, where.instructions, where.cores, where.architecture, threads, onnxruntime])


def measure_peak(threads: int = 1, size: int = _SIZE) -> Peak:
    """Multiply square matrices of `size`, and convolve, in turns, and take the fastest runs: a peak is what nothing disturbs."""
    generator = np.random.default_rng(0)
    u8 = generator.integers(0, 255, (size, size), np.uint8)
    s8 = generator.integers(-127, 127, (size, size), np.int8)
    image, kernel = (
        generator.random((1, _CHANNELS, _PIXELS, _PIXELS), np.float32),
        generator.random((_CHANNELS, _CHANNELS, 3, 3), np.float32),
    )
    work = {
        "MatMulInteger": (u8, s8, size**3),
        "MatMul": (u8.astype(np.float32), s8.astype(np.float32), size**3),
        "Conv": (image, kernel, _CHANNELS * (_PIXELS - 2) ** 2 * _CHANNELS * 9),
    }
    sessions = {op: open_session(_model(op, left, right).SerializeToString(), threads=threads) for op, (left, right, _) in work.items()}
    latency = measure_interleaved({op: partial(one.run, {"left": work[op][0]}) for op, one in sessions.items()}, _TIMING).latency
    gmacs = {op: work[op][2] / (one.min_ms * 1e6) for op, one in latency.items()}
    return Peak(gmacs["MatMulInteger"], max(gmacs["MatMul"], gmacs["Conv"]), threads)


def _model(op: str, left: npt.NDArray[np.generic], right: npt.NDArray[np.generic]) -> ModelProto:
    """Return a model that multiplies its input by a constant, as a layer does: ONNX Runtime packs constants once."""
    kind = helper.np_dtype_to_tensor_dtype(left.dtype)
    result = TensorProto.INT32 if op == "MatMulInteger" else TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(op, ["left", "right"], ["product"], "product")],
        "peak",
        [helper.make_tensor_value_info("left", kind, left.shape)],
        [helper.make_tensor_value_info("product", result, None)],
        [numpy_helper.from_array(right, "right")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
