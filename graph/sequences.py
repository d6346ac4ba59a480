"""Sequences of tensors: onnx_ir's shape inference gives their names a tensor's type, which ONNX Runtime refuses."""

from onnx import ModelProto

_MAKERS = frozenset({"SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceMap", "SplitToSequence"})


def sequence_makers(model: ModelProto) -> dict[str, str]:
    """Return the names of the main graph's sequences, each with the operator that writes it; `input` for those of the model's inputs."""
    found = {one.name: "input" for one in model.graph.input if one.type.HasField("sequence_type")}
    for node in model.graph.node:
        if node.op_type in _MAKERS or (node.op_type == "Identity" and node.input[0] in found):
            found |= dict.fromkeys(node.output, node.op_type)
    return found


def untype_sequences_(model: ModelProto) -> ModelProto:
    """Drop what the model says about the types of sequences inside its graph; nothing needs it."""
    names = sequence_makers(model)
    kept = [one for one in model.graph.value_info if one.name not in names]
    if len(kept) < len(model.graph.value_info):
        del model.graph.value_info[:]
        model.graph.value_info.extend(kept)
    return model
