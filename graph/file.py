"""ONNX files: load with every check, save so that nobody ever sees half a file, and the spec inside."""

import hashlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from ..runtime.errors import ModelError
from ..runtime.files import check_writable, replacing
from ..runtime.spec import METADATA_KEY, ModelSpec
from .copying import copy_model, put_field

# Opset 17 runs on ONNX Runtime 1.12 (2022) and TensorRT 8.5 (JetPack 5); torch's exporter writes 18. onnxscript's converter goes from
# 18 to 17 for no graph with a Pad or a ReduceMean, that is for no residual and no pooled network (torch 2.13, onnxscript 0.7), so
# `graph.opset.lower_opset_` does it. A graph with an operator that 17 does not know (an antialiased Resize, say) stays at 18.
OPSET = 17
# IR 8 is the version that came with opset 17 and 18; torch writes 10, which only ONNX Runtime 1.18 (2024) and later read.
IR_VERSION = 8

MAX_INLINE_BYTES = 2**31 - 2**20  # protobuf refuses 2 GiB; the rest of the graph needs room as well
_EXTERNAL_FROM_BYTES = 1024  # smaller tensors (shapes, axes, scalars) stay inline: shape inference reads them
_ALIGNMENT = 4096  # so that a runtime can map each tensor into memory

# What onnx and protobuf raise on damaged files, from thousands of byte-flipped models (tests/test_graph_file.py).
_DAMAGED = (
    DecodeError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    ValueError,
    RuntimeError,
    TypeError,
    MemoryError,
)


def load_onnx(path: Path) -> ModelProto:
    """Load an ONNX file with its external data, after the full checker has passed.

    Raises:
        ModelError: The file is missing, empty, damaged or not ONNX, or its external data lies outside its folder.
    """
    _check_file(path)
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
        external = [tensor for tensor in _tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
        _check_locations(external, path)
        onnx.checker.check_model(path, full_check=True)
        onnx.load_external_data_for_model(model, str(path.parent))
        for tensor in external:
            numpy_helper.to_array(tensor)  # raises when the data file is too short, which onnx itself lets pass
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    return model


def files_of(path: Path) -> tuple[Path, ...]:
    """Return every file of a model: the `.onnx` first, then its external data, sorted; the data themselves are not read.

    Raises:
        ModelError: A file is missing, the first is empty or not ONNX, or external data lies outside its folder.
    """
    _check_file(path)
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    external = [tensor for tensor in _tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
    _check_locations(external, path)
    return (path, *sorted({path.parent / _location(tensor) for tensor in external}))


def save_onnx(model: ModelProto, path: Path, *, inline_limit_bytes: int = MAX_INLINE_BYTES) -> None:
    """Write a model as `writing_onnx` does, without a gate."""
    with writing_onnx(model, path, inline_limit_bytes=inline_limit_bytes):
        pass


@contextmanager
def writing_onnx(model: ModelProto, path: Path, *, inline_limit_bytes: int = MAX_INLINE_BYTES) -> Generator[Path]:
    """Write a model under a temporary name beside `path` and yield that; leaving the block renames it, an exception removes it.

    Equal models give equal bytes. Above the limit the weights go first, into a file named by their own hash: a reader finds either the
    old pair or the new one.

    Args:
        model: What to write; it is not changed.
        path: Where to write it.
        inline_limit_bytes: Largest size of all weights together that stays inside the file.

    Raises:
        OutputError: The folder is missing or read-only, or the disk is full.
    """
    check_writable(path)
    data = None
    if sum(tensor.ByteSize() for tensor in model.graph.initializer) > inline_limit_bytes:
        model, data = _with_external_data(model, path)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(model.SerializeToString(deterministic=True))
            yield temporary
    except BaseException:
        if data:
            data.unlink(missing_ok=True)
        raise


def read_spec(model: ModelProto) -> ModelSpec | None:
    """Return what the file says about itself; None for a file that edgerec did not write.

    Raises:
        ModelError: The metadata is damaged or newer than this edgerec.
    """
    texts = [prop.value for prop in model.metadata_props if prop.key == METADATA_KEY]
    return ModelSpec.from_json(texts[0]) if texts else None


def with_spec(model: ModelProto, spec: ModelSpec) -> ModelProto:
    """Return a copy of the model whose metadata holds `spec` in place of any older one."""
    copy = copy_model(model)
    kept = [prop for prop in model.metadata_props if prop.key != METADATA_KEY]
    del copy.metadata_props[:]
    copy.metadata_props.extend(kept)
    copy.metadata_props.add(key=METADATA_KEY, value=spec.to_json())
    return copy


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ModelError("an ONNX file is needed, not a folder", path, "give the file inside it")
    if not path.is_file():
        raise ModelError("the ONNX file does not exist", path, "check the path")
    if path.stat().st_size == 0:
        raise ModelError("the ONNX file is empty", path, "export it again; an interrupted copy leaves empty files")


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        "the file is damaged or not ONNX", f"{path} ({_first_line(error)})", "export the file again, or check that it is an ONNX file"
    )


def _unreadable(path: Path, error: OSError) -> ModelError:
    return ModelError("the file cannot be read", f"{path} ({error.strerror or error})", "check its permissions")


def _check_locations(external: Iterable[TensorProto], path: Path) -> None:
    """Refuse a model that would read files beyond its own folder."""
    folder = path.parent.resolve()
    for tensor in external:
        location = _location(tensor)
        target = (folder / location).resolve()
        if not location or PurePosixPath(location).is_absolute() or not target.is_relative_to(folder):
            raise ModelError(
                "the model's external data lies outside its folder", f"{path}: {location!r}", "put the data file beside the model"
            )
        if not target.is_file():
            raise ModelError("the model's external data is missing", target, "copy the data file together with the model")


def _location(tensor: TensorProto) -> str:
    """Return where a tensor's data lies, relative to the model's folder."""
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from _attribute_tensors(attribute)


def _attribute_tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    yield from (attribute.t, *attribute.tensors)
    for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
        yield from (sparse.values, sparse.indices)
    for graph in (attribute.g, *attribute.graphs):
        yield from _graph_tensors(graph)


def _with_external_data(model: ModelProto, path: Path) -> tuple[ModelProto, Path | None]:
    """Write the large weights beside `path`; return the model that refers to them, and the data file if it is new."""
    large = [one for one in model.graph.initializer if len(one.raw_data) >= _EXTERNAL_FROM_BYTES]
    digest = hashlib.sha256()
    for tensor in large:
        digest.update(_padded(tensor))
    data = path.with_name(f"{path.stem}-{digest.hexdigest()[:16]}.data")
    is_new = not data.exists()
    if is_new:
        with replacing(data) as temporary, temporary.open("wb") as file:
            for tensor in large:
                file.write(_padded(tensor))
    return _referring(model, data.name), data if is_new else None


def _padded(tensor: TensorProto) -> bytes:
    return tensor.raw_data + bytes(-len(tensor.raw_data) % _ALIGNMENT)


def _referring(model: ModelProto, location: str) -> ModelProto:
    """Copy everything but the large weights, which may be more than the memory holds twice."""
    copy = ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            put_field(copy, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            put_field(copy.graph, field.name, value)
    offset = 0
    for tensor in model.graph.initializer:
        length = len(tensor.raw_data)
        if length < _EXTERNAL_FROM_BYTES:
            copy.graph.initializer.add().CopyFrom(tensor)
            continue
        stub = copy.graph.initializer.add(
            name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=TensorProto.EXTERNAL
        )
        for key, text in (("location", location), ("offset", str(offset)), ("length", str(length))):
            stub.external_data.add(key=key, value=text)
        offset += length + -length % _ALIGNMENT
    return copy


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
