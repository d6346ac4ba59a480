"""The fastest that ONNX Runtime multiplies matrices on this machine: what a model's speed is held against."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ..runtime import cache
from ..runtime.errors import ModelError
from ..runtime.providers import find_provider
from ..runtime.session import open_session
from .kernel_events import open_ort
from .latency import Timing, measure_interleaved
from .records import Machine, machine, versions

KIND = "peak"
_METHOD = 2  # counts changes of what is measured: an older figure in the cache is not this one
_SIZE = 512  # 0.13 GMACs a product: long beside any overhead, and the operands stay in the second-level cache
_WIDE = 2  # int8 products are also this many times larger: ONNX Runtime 1.32 keeps the small one on a single thread
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
    return json.dumps([_METHOD, where.cpu, where.instructions, where.cores, where.architecture, threads, onnxruntime])


def measure_peak(threads: int = 1, size: int = _SIZE) -> Peak:
    """Multiply square matrices of `size`, and convolve, in turns, and take the fastest runs: a peak is what nothing disturbs."""
    products = {
        "int8": Product.integer(size),
        "wide int8": Product.integer(size * _WIDE),
        "matrices": Product.square(size),
        "convolution": Product.convolution(),
    }
    gmacs = rates(products, threads)
    return Peak(max(gmacs["int8"], gmacs["wide int8"]), max(gmacs["matrices"], gmacs["convolution"]), threads)


def machine_half_gmacs(threads: int = 1) -> dict[str, float]:
    """Return `measure_half_gmacs` of this machine; measured once, then taken from the cache.

    Args:
        threads: Threads of the products.
    """
    key = "half " + peak_key(machine(), threads, versions().get("onnxruntime", ""))
    if (stored := cache.load(KIND, key)) is not None:
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            return {str(name): float(rate) for name, rate in json.loads(stored).items()}
    found = measure_half_gmacs(threads)
    cache.store(KIND, key, json.dumps(found).encode())
    return found


def measure_half_gmacs(threads: int = 1, size: int = _SIZE) -> dict[str, float]:
    """Measure the peaks of 16-bit float numbers, 10^9 multiply-accumulates a second, where this machine has them.

    Whether it has them is found out by running: the optimised graph must multiply 16-bit numbers. Elsewhere ONNX Runtime puts a Cast to
    float32 in front (fp16 on x86), or has no kernel and refuses the model (bf16, as of 1.32).

    Returns:
        `fp16` and `bf16` to their peaks, without those that the machine lacks.
    """
    products = {
        "fp16": (Product.square(size, TensorProto.FLOAT16), Product.convolution(TensorProto.FLOAT16)),
        "bf16": (Product.square(size, TensorProto.BFLOAT16),),
    }
    found: dict[str, float] = {}
    for name, candidates in products.items():
        own = {str(number): one for number, one in enumerate(candidates) if one.has_kernel()}
        if own:
            found[name] = max(rates(own, threads).values())
    return found


def rates(products: Mapping[str, "Product"], threads: int) -> dict[str, float]:
    """Run products in turns; return the multiply-accumulates a second of the fastest runs, in 10^9, by the products' names."""
    sessions = {name: open_session(_model(one).SerializeToString(), threads=threads) for name, one in products.items()}
    calls = {name: partial(one.ort.run, None, {"left": products[name].left}) for name, one in sessions.items()}
    return {name: products[name].macs / (one.min_ms * 1e6) for name, one in measure_interleaved(calls, _TIMING).latency.items()}


@dataclass(frozen=True, slots=True)
class Product:
    """One operator that multiplies its input by a constant.

    Attributes:
        op: `MatMul`, `MatMulInteger` or `Conv`.
        left: The input.
        right: The constant.
        macs: Multiply-accumulates.
    """

    op: str
    left: npt.NDArray[np.generic]
    right: npt.NDArray[np.generic]
    macs: int

    @classmethod
    def integer(cls, size: int) -> "Product":
        """Return a square product of unsigned by signed bytes."""
        draws = np.random.default_rng(0)
        return cls(
            "MatMulInteger", draws.integers(0, 255, (size, size), np.uint8), draws.integers(-127, 127, (size, size), np.int8), size**3
        )

    @classmethod
    def square(cls, size: int, kind: int = TensorProto.FLOAT) -> "Product":
        """Return a square product of float numbers of an ONNX type."""
        left, right = _floats((size, size), kind), _floats((size, size), kind)
        return cls("MatMul", left, right, size**3)

    @classmethod
    def convolution(cls, kind: int = TensorProto.FLOAT) -> "Product":
        """Return a 3x3 convolution of float numbers of an ONNX type."""
        image, kernel = _floats((1, _CHANNELS, _PIXELS, _PIXELS), kind), _floats((_CHANNELS, _CHANNELS, 3, 3), kind)
        return cls("Conv", image, kernel, _CHANNELS * (_PIXELS - 2) ** 2 * _CHANNELS * 9)

    def has_kernel(self) -> bool:
        """Whether ONNX Runtime's CPU provider multiplies these numbers themselves, without a Cast to others."""
        with TemporaryDirectory(prefix="edgerec-peak-", ignore_cleanup_errors=True) as name:
            path, optimised = Path(name) / "product.onnx", Path(name) / "optimised.onnx"
            path.write_bytes(_model(self).SerializeToString())
            try:
                open_ort(path, find_provider("cpu"), 1, save_to=optimised)
            except ModelError:
                return False
            return all(node.op_type != "Cast" for node in onnx.load(optimised, load_external_data=False).graph.node)


def _floats(shape: tuple[int, ...], kind: int) -> npt.NDArray[np.generic]:
    return np.random.default_rng(0).random(shape, np.float32).astype(helper.tensor_dtype_to_np_dtype(kind))


def _model(product: Product) -> ModelProto:
    """Return a model that multiplies its input by a constant, as a layer does: ONNX Runtime packs constants once."""
    op, left, right = product.op, product.left, product.right
    kind = helper.np_dtype_to_tensor_dtype(left.dtype)
    result = TensorProto.INT32 if op == "MatMulInteger" else kind
    graph = helper.make_graph(
        [helper.make_node(op, ["left", "right"], ["product"], "product")],
        "peak",
        [helper.make_tensor_value_info("left", kind, left.shape)],
        [helper.make_tensor_value_info("product", result, None)],
        [numpy_helper.from_array(right, "right")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
