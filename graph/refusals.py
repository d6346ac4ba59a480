"""Models that no clean-up, and no quantization after it, can do anything for."""

from collections.abc import Iterator

from onnx import ModelProto, NodeProto

from ..runtime.errors import ModelError

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_QUANTIZED = frozenset(
    (
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QAttention",
        "QGemm",
        "QuantizeLinear",
    )
)


def refuse_quantized(model: ModelProto) -> None:
    """Let no model pass that computes on integers already, anywhere in it.

    Raises:
        ModelError: It does; the operators are named.
    """
    found = sorted({node.op_type for node in all_nodes(model) if node.op_type in _QUANTIZED or node.op_type.startswith("QLinear")})
    if found:
        raise ModelError("the model is quantized already", f"it contains {', '.join(found)}", "give the float model it was made from")


def refuse_unknown_domains(model: ModelProto) -> None:
    """Let no model pass with operators that neither ONNX nor ONNX Runtime nor the file itself defines.

    Raises:
        ModelError: There is one; the first is named.
    """
    own = {(function.domain, function.name) for function in model.functions}
    for node in all_nodes(model):
        if node.domain not in _DOMAINS and (node.domain, node.op_type) not in own:
            raise ModelError(
                "the model has an operator of an unknown domain",
                f"{node.domain}::{node.op_type} ({node.name})",
                "export it with standard ONNX operators",
            )


def all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Yield every node of a model: of its main graph, of the graphs inside nodes, of its functions."""
    waiting = [*reversed(model.graph.node), *(node for function in model.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting.extend(reversed(graph.node))
