"""For which processor or provider a file is made, and what that one takes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from ...benchmarks.records import Machine, has_int8_dot, machine
from ...runtime.errors import ConfigError
from .placement import INT8_OPS, PRODUCTS

Guard = Literal["none", "data", "bound"]

_ARM = ("aarch64", "arm64")


@dataclass(frozen=True, slots=True)
class Target:
    """What a processor or a provider takes. Weights are symmetric int8 everywhere.

    Attributes:
        name: The word of `--target`.
        provider: Execution provider that is to run the file, a name of `runtime.providers.PROVIDERS`.
        signed: Activations are int8 instead of uint8.
        symmetric: Zero lies in the middle of every activation's grid.
        guard: What must exclude saturating 16-bit sums: nothing, the calibration data, or a bound that holds for any data.
        integer_bias: Biases are int32 behind a DequantizeLinear; otherwise they stay float.
        per_channel: Operators whose weight may have a scale for each output channel.
        op_types: Operators that run on integers there.
        note: One sentence for the report.
    """

    name: str
    provider: str = "cpu"
    signed: bool = False
    symmetric: bool = False
    guard: Guard = "none"
    integer_bias: bool = True
    per_channel: Collection[str] = PRODUCTS
    op_types: Collection[str] = INT8_OPS
    note: str = ""


# Sources: for x86 and ARM, ONNX Runtime's kernels themselves (reduction.py) and its quantization guide; for the others see each entry.
TARGETS: Mapping[str, Target] = {
    one.name: one
    for one in (
        Target("x86-vnni", note="uint8 x int8 is exact: VNNI, AVX-VNNI and AMX add the products in 32 bits."),
        Target(
            "x86-avx2",
            guard="data",
            note="Pairs of products are added in 16 bits, which saturate (also on AVX-512 without VNNI): weights are narrowed where the "
            "calibration data come near that.",
        ),
        # The dot kernels for a symmetric weight exist for int8 activations only; uint8 ones take the general path.
        Target(
            "arm-dot",
            signed=True,
            note="int8 x int8 has the fastest kernels on ARM64; integer results are exact, with dot product or without.",
        ),
        Target(
            "any",
            guard="bound",
            note="One file for x86 with and without VNNI and for ARM64. Integer results are the same bits, but for sums of two tensors, where "
            "ARM64 differs by one step in five of a million values; float parts may move a value to the next step. Outputs agree to 50 dB.",
        ),
        # Zero points must be 0, and DequantizeLinear takes no int32 there (onnxruntime issues 10743 and 14229, NVIDIA's guide to explicit
        # quantization).
        Target(
            "tensorrt",
            provider="tensorrt",
            signed=True,
            symmetric=True,
            integer_bias=False,
            op_types=PRODUCTS | {"Add", "AveragePool", "Clip", "Flatten", "GlobalAveragePool", "MaxPool", "Relu", "Reshape", "Transpose"},
            note="TensorRT takes symmetric int8 with zero point 0 for activations and weights, and float biases.",
        ),
        # Its documentation ("Quantized models compute and restrictions"); a file of ours was run with onnxruntime-openvino 1.24.
        Target("openvino", provider="openvino", note="OpenVINO takes uint8 activations with any zero point and int8 weights."),
        # onnxruntime/quantization/execution_providers/qnn/quant_config.py: Conv and ConvTranspose per channel, MatMul never.
        Target(
            "qnn",
            provider="qnn",
            per_channel=frozenset({"Conv"}),
            note="Qualcomm's HTP takes uint8 activations with any zero point, and one scale for each channel in convolutions only.",
        ),
    )
}
TARGET_NAMES = ("host", *TARGETS)


def find_target(name: str = "host", where: Machine | None = None) -> Target:
    """Return the target of this name.

    Args:
        name: One of `TARGET_NAMES`; `host` is the processor this runs on.
        where: The machine that `host` means; by default this one.

    Raises:
        ConfigError: There is no such target.
    """
    if name == "host":
        return TARGETS[_processor(where or machine())]
    if name not in TARGETS:
        raise ConfigError("unknown target", repr(name), f"choose one of {', '.join(TARGET_NAMES)}")
    return TARGETS[name]


def _processor(where: Machine) -> str:
    if where.architecture.lower() in _ARM:
        return "arm-dot"
    # Where the system does not tell its instructions (Windows), the careful choice runs well on both.
    return "x86-vnni" if has_int8_dot(where) else "x86-avx2"
