"""What does not depend on the input is worked out once: constants, and sizes that follow from the declared shapes."""

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes

from .editing import Array, add_initializer, constant, is_op, main_graph, operand
from .execution import open_model
from .known_sizes import Partial, known_sizes

_RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
_ALWAYS_FOLDED_BYTES = 2**16  # larger results are kept out of the file unless they are smaller than what they are made of


def fold_constants_(model: ir.Model) -> bool:
    """Replace everything that can be computed before the model runs by its value, under its own name.

    Sizes let constants be folded, and constants (paddings, target shapes) let further sizes be inferred, so the steps are repeated.
    """
    changed = False
    model.graph.sort()
    while _fold_once_(model):
        changed = True
    return changed


def _fold_once_(model: ir.Model) -> bool:
    passes.ShapeInferencePass(strict_mode=False)(model)
    known = known_sizes(model.graph)
    whole = {value: one.values for value, one in known.items() if one.is_whole and value.uses() and not value.is_graph_output()}
    for value, array in whole.items():
        _settle_(model.graph, value, array)
    targets = [node for node in model.graph if is_op(node, "Reshape") and _settle_target_(node, known)]
    passes.RemoveUnusedNodesPass()(model)
    folded = _fold_nodes_(model)
    passes.RemoveUnusedNodesPass()(model)
    return bool(whole or targets or folded)


def _settle_(graph: ir.Graph, value: ir.Value, array: Array) -> None:
    """Turn the result of a node into an initializer of the same name; the node is left without users."""
    name, value.name = value.name or "", None
    value.replace_all_uses_with(add_initializer(graph, name, np.ascontiguousarray(array).reshape(array.shape)))


def _settle_target_(node: ir.Node, known: dict[ir.Value, Partial]) -> bool:
    """Write -1 for the only size of a Reshape's target that is not known: the number of elements leaves it no choice."""
    value = operand(node, 1)
    target = known.get(value) if value is not None else None
    if target is None or (~target.known).sum() != 1 or (target.values[target.known] == -1).any() or node.attributes.get_int("allowzero", 0):
        return False
    sizes = np.where(target.known, target.values, -1).astype(np.int64)
    node.replace_input_with(1, add_initializer(main_graph(node), f"{node.outputs[0].name}_shape", sizes))
    return True


def _fold_nodes_(model: ir.Model) -> int:
    """Run all nodes that read constants only, in one session, and keep what others read of them."""
    nodes = _constant_nodes(model.graph)
    inside = set(nodes)
    wanted = [value for node in nodes for value in node.outputs if any(use.node not in inside for use in value.uses())]
    if not wanted:
        return 0
    results = open_model(_as_model(model, nodes, wanted), threads=1, optimise=False).run({})
    kept = [value for value in wanted if _is_worth_keeping(results[value.name or ""], nodes)]
    for value in kept:
        _settle_(model.graph, value, results[value.name or ""])
    return len(kept)


def _constant_nodes(graph: ir.Graph) -> list[ir.Node]:
    found: list[ir.Node] = []
    settled: set[ir.Value] = set()
    for node in graph:
        reads_constants = all(value is None or value in settled or constant(value) is not None for value in node.inputs)
        if reads_constants and _is_foldable(node):
            found.append(node)
            settled.update(node.outputs)
    return found


def _is_foldable(node: ir.Node) -> bool:
    has_subgraph = any(one.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for one in node.attributes.values())
    is_plain = node.domain in ("", "ai.onnx") and node.op_type not in _RANDOM and not has_subgraph
    # A result of the model stays a result: older runtimes take no initializer for one.
    return is_plain and not any(value.is_graph_output() for value in node.outputs)


def _is_worth_keeping(result: object, nodes: list[ir.Node]) -> bool:
    if not isinstance(result, np.ndarray) or result.dtype == np.object_:  # sequences, texts
        return False
    largest = max(
        (value.const_value.nbytes for node in nodes for value in node.inputs if value is not None and value.const_value), default=0
    )
    return result.nbytes <= max(_ALWAYS_FOLDED_BYTES, largest)


def _as_model(model: ir.Model, nodes: list[ir.Node], outputs: list[ir.Value]) -> onnx.ModelProto:
    graph = onnx.GraphProto(name="constants")
    graph.node.extend(ir.to_proto(node) for node in nodes)
    graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in outputs)
    for value in dict.fromkeys(value for node in nodes for value in node.inputs if value is not None and value.is_initializer()):
        if value.const_value is not None:
            tensor = ir.to_proto(value.const_value)
            tensor.name = value.name or ""
            graph.initializer.append(tensor)
    copy = onnx.ModelProto(ir_version=model.ir_version, graph=graph)
    copy.opset_import.extend(onnx.OperatorSetIdProto(domain=domain, version=version) for domain, version in model.opset_imports.items())
    return copy
