"""Copies of models beyond 2 GiB: protobuf copies through one serialized message, which can be no larger."""

from collections.abc import Callable

from onnx import GraphProto, ModelProto, TensorProto


def copy_model(model: ModelProto, keep: Callable[[TensorProto], bool] = lambda tensor: True) -> ModelProto:
    """Return a copy that shares nothing with the model, made piece by piece.

    Args:
        model: A model of any size, each of its tensors below 2 GiB.
        keep: Which initializers are copied; all by default.
    """
    copy = ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            put_field(copy, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            put_field(copy.graph, field.name, value)
    for tensor in model.graph.initializer:
        if keep(tensor):
            copy.graph.initializer.add().CopyFrom(tensor)
    return copy


def size_of(model: ModelProto) -> int:
    """Return the size of a model in bytes, short of a few bytes a tensor: protobuf counts by serializing, which 2 GiB refuse."""
    rest = copy_model(model, keep=lambda tensor: False)
    return rest.ByteSize() + sum(tensor.ByteSize() for tensor in model.graph.initializer)


def put_field(message: ModelProto | GraphProto, name: str, value: object) -> None:
    """Copy the value of a field, of whatever kind that is, into a message."""
    target = getattr(message, name)
    if hasattr(target, "extend"):
        target.extend(value)
    elif hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    else:
        setattr(message, name, value)
