"""Known traps that can be seen in what a session executed, each with what it costs and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from .executed import Executed
from .islands import Island, islands_of, neighbours, stranded

# What ONNX Runtime 1.32 has no 8-bit kernel for (its registered kernel definitions).
NO_INT8_KERNEL = frozenset(
    {
        *("HardSwish", "HardSigmoid", "Gelu", "BiasGelu", "FastGelu", "QuickGelu", "Erf", "Tanh", "Elu", "Mish", "Softplus", "PRelu"),
        *("LayerNormalization", "SkipLayerNormalization", "InstanceNormalization", "GroupNorm", "BatchNormalization", "LRN"),
        *("GRU", "RNN", "LSTM", "ConvTranspose", "Div", "Sub", "Pow", "Sqrt", "Exp", "ReduceMean", "ReduceSum"),
    }
)
_FAST_INPUTS = 4  # channels; others miss the convolution's fast path (a stem of 3 takes twice the time of one of 4)
_FULL_INPUTS = 16  # 8 or 12 channels take longer than 16

Severity = Literal["cost", "risk", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a file, or the way it runs, does to its own disadvantage.

    Attributes:
        title: What it is, as a clause.
        nodes: The nodes it is about, as the file calls them where it knows them.
        cost_ms: Time of these nodes in one run, or None where it cannot be told; not all of it would be saved.
        advice: What to do.
        severity: `cost` takes time, `risk` takes accuracy or keeps the file from running elsewhere, `note` is worth knowing.
    """

    title: str
    nodes: tuple[str, ...]
    cost_ms: float | None
    advice: str
    severity: Severity = "cost"


def execution_findings(nodes: Sequence[Executed], provider: str = "cpu") -> list[Finding]:
    """Return what stands out among the executed nodes.

    Args:
        nodes: The nodes of one session, in order.
        provider: The provider that was asked for.
    """
    checks = (_islands, _stranded, _without_kernel, _odd_channels, _thin, _pads, _layout, _shapes, _dynamic, _casts, _unfolded)
    found = [finding for check in checks for finding in check(nodes)]
    return found if provider == "cpu" else [*found, *_fallen_back(nodes, provider)]


def _islands(nodes: Sequence[Executed]) -> list[Finding]:
    found = islands_of(nodes)
    if not found:
        return []
    names = [name for island in found for name in (island.core or island.nodes)]
    return [
        Finding(
            f"{_count(len(found), 'float island')} between int8 layers",
            tuple(names),
            sum(island.us for island in found) / 1e3,
            f"keep the way in int8 ({_way(found[0])}), or leave the layers around it float",
        )
    ]


def _way(island: Island) -> str:
    inside = f"{island.core[0]} ..." if len(island.core) > 1 else "".join(island.core) or "nothing"
    return f"{island.before[0]} -> {inside} -> {island.behind[0]}"


def _stranded(nodes: Sequence[Executed]) -> list[Finding]:
    found = stranded(nodes)
    causes = {one.op_type for node in found for one in neighbours(node, nodes) if one.kind in ("float", "movement") and not one.is_integer}
    because = f" beside {', '.join(sorted(causes))}" if causes else ""
    if any(node.kind == "int8" for node in nodes):
        advice = "they convert and compute nothing: quantize the operator between them, or take them away"
    else:
        advice = "no node computes on 8-bit integers here: run the float file on this provider, or one in float16"
    return _about(found, f"Quantize/DequantizeLinear stranded{because}", advice)


def _without_kernel(nodes: Sequence[Executed]) -> list[Finding]:
    if not any(node.kind == "int8" for node in nodes):
        return []
    found = [node for node in nodes if node.kind == "float" and node.op_type in NO_INT8_KERNEL]
    kinds = ", ".join(sorted({node.op_type for node in found}))
    return _about(found, f"no int8 kernel for {kinds}", "they stay float: use operators with int8 kernels (ReLU, Clip) where you train")


def _odd_channels(nodes: Sequence[Executed]) -> list[Finding]:
    found = [node for node in _dense(nodes) if node.weight_shape[1] % _FAST_INPUTS]
    return _about(
        found,
        "int8 convolutions whose input channels are no multiple of 4 miss the fast path",
        "fill the input and the weights up with zero channels; the results stay the same",
    )


def _thin(nodes: Sequence[Executed]) -> list[Finding]:
    found = [node for node in _dense(nodes) if not node.weight_shape[1] % _FAST_INPUTS and min(node.weight_shape[:2]) % _FULL_INPUTS]
    found = [node for node in found if min(node.weight_shape[:2]) < _FULL_INPUTS]
    return _about(
        found,
        "int8 convolutions with fewer than 16 channels use a part of the kernel's width",
        "16 channels often take less time than 8 or 12: fill up with zero channels, or choose wider, fewer layers",
    )


def _dense(nodes: Sequence[Executed]) -> list[Executed]:
    return [node for node in nodes if node.op_type == "QLinearConv" and node.groups == 1 and len(node.weight_shape) > 2]


def _pads(nodes: Sequence[Executed]) -> list[Finding]:
    found = [node for node in nodes if node.op_type == "Pad" and any(_slides(one) for one in neighbours(node, nodes))]
    return _about(found, "Pad nodes of their own beside convolutions or pools", "fold them into the pads of these nodes")


def _slides(node: Executed) -> bool:
    return "Conv" in node.op_type or "Pool" in node.op_type


def _layout(nodes: Sequence[Executed]) -> list[Finding]:
    added = [node for node in nodes if node.kind == "layout" and not node.origins]
    return _about(
        added,
        "layout changes that ONNX Runtime added around its convolutions' fast order of dimensions",
        "each operator between convolutions that has no kernel for their order costs a pair: use fewer such operators",
    )


def _shapes(nodes: Sequence[Executed]) -> list[Finding]:
    found = [node for node in nodes if node.kind == "shape"]
    return _about(
        found, "sizes and indices computed anew in every run", "export with fixed input sizes, so that they fold into constants", least=4
    )


def _dynamic(nodes: Sequence[Executed]) -> list[Finding]:
    found = [node for node in nodes if node.op_type in ("ConvInteger", "DynamicQuantizeLinear")]
    if not any(node.op_type == "ConvInteger" for node in found):
        return []
    return _about(found, "dynamically quantized convolutions, many times slower than static ones", "quantize with calibration data")


def _casts(nodes: Sequence[Executed]) -> list[Finding]:
    if not any(node.dtype == "float16" for node in nodes):
        return []
    on_cpu = [node for node in nodes if node.op_type == "Cast" and node.provider == "CPUExecutionProvider"]
    return _about(on_cpu, "float16 on the CPU: Casts around what it can only compute in float32", "use the float32 or an int8 file on CPUs")


def _unfolded(nodes: Sequence[Executed]) -> list[Finding]:
    found = [node for node in nodes if node.op_type == "BatchNormalization"]
    return _about(found, "BatchNormalization that is not folded into a convolution", "fold it: edgerec quantize does before it starts")


def _fallen_back(nodes: Sequence[Executed], provider: str) -> list[Finding]:
    found = [node for node in nodes if node.provider == "CPUExecutionProvider" and node.kind != "shape"]
    return _about(found, f"nodes that run on the CPU instead of {provider}", "each border copies its tensors: use operators it has")


def _about(nodes: Iterable[Executed], title: str, advice: str, least: int = 1) -> list[Finding]:
    found = list(nodes)
    if len(found) < least:
        return []
    return [Finding(title, tuple(dict.fromkeys(node.title for node in found)), sum(node.us for node in found) / 1e3, advice)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
