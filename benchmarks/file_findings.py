"""Known traps that can be seen in a file, and in the machine it is opened on, without running anything."""

import os
from collections.abc import Iterable
from importlib import metadata

from onnx import ModelProto, NodeProto, TensorProto

from ..graph.file import IR_VERSION, OPSET
from ..runtime.cores import usable_cores
from .executed import constants
from .findings import Finding, Severity
from .profiling import with_names
from .records import Machine, has_int8_dot, machine

_CONVOLUTIONS = ("Conv", "ConvTranspose", "QLinearConv", "ConvInteger")
_WITH_WEIGHTS = (*_CONVOLUTIONS, "Gemm", "MatMul")
_NARROW = {TensorProto.INT8: "int8", TensorProto.UINT8: "uint8"}
_FIRST_OVERRIDABLE = 4  # IR version
_X86 = ("x86_64", "AMD64", "x64")

# Wheels that bring the same `onnxruntime` package; the last one installed wins, file by file.
_FLAVOURS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-qnn", "onnxruntime-migraphx")


def file_findings(model: ModelProto, provider: str = "cpu", where: Machine | None = None) -> list[Finding]:
    """Return what a file gives away.

    Args:
        model: What the file holds.
        provider: The execution provider that it is meant for.
        where: The machine that it is meant for; this one by default.
    """
    graph = _Graph(with_names(model))
    host = where or machine()
    found = [*_opset(model), *_ir_version(model), *_blocked(graph), *_overridable(graph), *_per_tensor(graph)]
    if provider == "cpu":
        found += [*_wide(graph), *_no_dot(graph, host), *(_x86(graph) if host.architecture in _X86 else [])]
    if provider == "cuda":
        found += _on_cuda(graph)
    if provider == "tensorrt":
        found += _on_tensorrt(graph)
    return found


def machine_findings(
    installed: Iterable[str] | None = None, *, host_cores: int | None = None, allowed_cores: int | None = None
) -> list[Finding]:
    """Return what is wrong with the installation and the container.

    Args:
        installed: Names of the installed distributions; by default this environment's.
        host_cores: Cores of the machine.
        allowed_cores: Cores that this process may use.
    """
    present = set(filter(_is_installed, _FLAVOURS)) if installed is None else set(installed)
    flavours = [name for name in _FLAVOURS if name in present]
    found: list[Finding] = []
    if len(flavours) > 1:
        advice = "uninstall all of them, then install the one that you need"
        found.append(_risk(f"{' and '.join(flavours)} are installed together and overwrite each other", (), advice))
    all_cores, allowed = host_cores or os.cpu_count() or 1, allowed_cores or usable_cores()
    if allowed < all_cores:
        advice = f"give the threads yourself: intra_op_num_threads = {allowed}, as edgerec does"
        found.append(_risk(f"ONNX Runtime's own pool would have {all_cores} threads where this process may use {allowed}", (), advice))
    return found


class _Graph:
    """A file's main graph with what the checks look up."""

    def __init__(self, model: ModelProto) -> None:
        self.ir_version = model.ir_version
        self.nodes = list(model.graph.node)
        self.weights = constants(model)
        self.inputs = {one.name for one in model.graph.input}
        self.makers = {name: node for node in self.nodes for name in node.output if name}

    def maker(self, node: NodeProto, index: int) -> NodeProto | None:
        """Return the node behind an operand."""
        return self.makers.get(node.input[index]) if index < len(node.input) else None

    def weight(self, node: NodeProto, index: int) -> TensorProto | None:
        """Return the constant behind an operand."""
        return self.weights.get(node.input[index]) if index < len(node.input) else None

    def quantizers(self) -> list[tuple[NodeProto, TensorProto]]:
        """Return the QuantizeLinear nodes of activations, each with its zero point."""
        found = [(node, self.weight(node, 2)) for node in self.nodes if node.op_type == "QuantizeLinear"]
        return [(node, zero) for node, zero in found if zero is not None and node.input[0] not in self.weights]

    def integer_weights(self) -> list[tuple[NodeProto, TensorProto, TensorProto]]:
        """Return (node, integer weight, its scale) of the nodes that take their weight from a DequantizeLinear, or as integers."""
        found: list[tuple[NodeProto, TensorProto, TensorProto]] = []
        for node in self.nodes:
            maker = self.maker(node, 1) if node.op_type in _WITH_WEIGHTS else None
            of, at = (maker, 0) if maker is not None and maker.op_type == "DequantizeLinear" else (node, 3)
            if of is node and node.op_type != "QLinearConv":
                continue
            weight, scale = self.weight(of, at), self.weight(of, at + 1)
            if weight is not None and scale is not None and weight.data_type in _NARROW:
                found.append((node, weight, scale))
        return found

    def integer_convolutions(self) -> list[str]:
        """Return the names of the convolutions that are meant to run in int8."""
        fed = [node.name for node, _, _ in self.integer_weights() if node.op_type in _CONVOLUTIONS]
        return list(dict.fromkeys([*fed, *(node.name for node in self.nodes if node.op_type == "ConvInteger")]))


def _opset(model: ModelProto) -> list[Finding]:
    newest = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    if newest <= OPSET:
        return []
    advice = "edgerec's files have opset 17, which ONNX Runtime 1.12 (2022) runs; export again if devices are old"
    return [_risk(f"opset {newest} is newer than old runtimes read", (), advice)]


def _ir_version(model: ModelProto) -> list[Finding]:
    if model.ir_version <= IR_VERSION:
        return []
    advice = f"set ir_version to {IR_VERSION}: an opset of 18 or lower needs no more; IR 10 loads from ONNX Runtime 1.18 (2024) on"
    return [_risk(f"IR version {model.ir_version} is newer than old runtimes read", (), advice)]


def _blocked(graph: _Graph) -> list[Finding]:
    names = [node.name for node in graph.nodes if node.domain == "com.microsoft.nchwc"]
    advice = "its layout fits one kind of processor: ship the plain file, and let each device optimise it"
    return [_risk("the file was saved by ONNX Runtime's optimiser", names, advice)] if names else []


def _overridable(graph: _Graph) -> list[Finding]:
    if graph.ir_version < _FIRST_OVERRIDABLE:  # older files list every weight as an input, and mean a constant
        return []
    names = [name for name in graph.weights if name in graph.inputs]
    advice = "take them out of the graph's inputs: only then ONNX Runtime folds, fuses and packs them"
    return [_risk("weights are inputs of the graph, so that they are no constants", names, advice, "cost")] if names else []


def _per_tensor(graph: _Graph) -> list[Finding]:
    names = [
        node.name
        for node, weight, scale in graph.integer_weights()
        if node.op_type in _CONVOLUTIONS and _size(scale) == 1 and weight.dims and weight.dims[0] > 1
    ]
    advice = "quantize with one scale a channel, as edgerec quantize does: depthwise layers lose most without"
    return [_risk("convolution weights have one scale a tensor", names, advice)] if names else []


def _x86(graph: _Graph) -> list[Finding]:
    found: list[Finding] = []
    if names := [node.name for node, zero in graph.quantizers() if zero.data_type == TensorProto.INT8]:
        advice = "quantize activations to uint8: ONNX Runtime rewrites int8 ones to uint8 here, or takes a slow kernel (S8S8)"
        found.append(_risk("activations are int8, on x86", names, advice, "cost"))
    if names := [node.name for node, weight, _ in graph.integer_weights() if weight.data_type == TensorProto.UINT8]:
        advice = "store weights as int8: uint8 times uint8 reaches less than half of the peak of uint8 times int8"
        found.append(_risk("weights are uint8, on x86", names, advice, "cost"))
    return found


def _wide(graph: _Graph) -> list[Finding]:
    names = [node.name for node, zero in graph.quantizers() if zero.data_type not in _NARROW]
    advice = "the CPU's integer kernels take 8 bits only: all of this runs in float, with conversions around it"
    return [_risk("activations are quantized to other than 8 bits", names, advice, "cost")] if names else []


def _no_dot(graph: _Graph, host: Machine) -> list[Finding]:
    names = graph.integer_convolutions()
    if not names or has_int8_dot(host) or not host.instructions or host.architecture not in _X86:
        return []
    advice = "sums of two products saturate at 16 bits: quantize with 7-bit weights for it, and check the accuracy here"
    return [_risk("this processor has no VNNI", names, advice)]


def _on_cuda(graph: _Graph) -> list[Finding]:
    names = graph.integer_convolutions()
    advice = "write float16 for it: edgerec quantize --precision fp16; or run this file on TensorRT"
    return (
        [_risk("int8 convolutions have no kernel on CUDA: they run in float, between conversions", names, advice, "cost")] if names else []
    )


def _on_tensorrt(graph: _Graph) -> list[Finding]:
    names = [node.name for node, zero in graph.quantizers() if zero.data_type != TensorProto.INT8]
    advice = "TensorRT takes symmetric int8 activations: edgerec quantize --target tensorrt"
    return [_risk("activations are uint8, which TensorRT refuses", names, advice)] if names else []


def _risk(title: str, names: Iterable[str], advice: str, severity: Severity = "risk") -> Finding:
    return Finding(title, tuple(names), None, advice, severity)


def _size(tensor: TensorProto) -> int:
    size = 1
    for dim in tensor.dims:
        size *= dim
    return size


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
