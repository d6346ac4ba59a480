"""Run a model that is in memory, whatever its size, and look at the tensors inside it."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto

from ..runtime.session import Session, open_session
from .file import MAX_INLINE_BYTES, save_onnx

Array = npt.NDArray[np.generic]
Feeds = Mapping[str, Array]


def open_model(
    model: ModelProto,
    *,
    threads: int | None = None,
    taps: Iterable[str] = (),
    optimise: bool = True,
    inline_limit_bytes: int = MAX_INLINE_BYTES,
) -> Session:
    """Open a CPU session on a model in memory.

    Args:
        model: What to run; it is not changed.
        threads: Threads of the session; by default the cores this process may use.
        taps: Names of inner tensors that become outputs, behind the model's own; inputs and outputs among them are left out.
        optimise: Let ONNX Runtime rewrite the graph; without it every node computes what its operator says, and loading is faster.
        inline_limit_bytes: Largest size of all weights that protobuf takes in one piece; above it they go through a temporary folder.

    Raises:
        ModelError: ONNX Runtime cannot run the model.
        OutputError: The temporary folder is full.
        ProviderError: onnxruntime is not installed.
    """
    extra = _as_outputs(model, taps)
    if sum(tensor.ByteSize() for tensor in model.graph.initializer) <= inline_limit_bytes:
        return open_session(model.SerializeToString() + extra, threads=threads, optimise=optimise)
    # ONNX Runtime maps the data file, and keeps the mapping when the name is gone; Windows keeps the name as well.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.onnx"
        save_onnx(model, path, inline_limit_bytes=inline_limit_bytes)
        with path.open("ab") as file:
            file.write(extra)
        return open_session(path, threads=threads, optimise=optimise)


def first_bad_tensor(model: ModelProto, feeds: Feeds) -> tuple[str, str] | None:
    """Return the first node, in the order of the graph, that gives NaN on these inputs, and which of its tensors holds it.

    Infinity does not count: attention masks with it on purpose.

    Args:
        model: Any model; only nodes of its main graph are looked at.
        feeds: One array for each input, by name.

    Returns:
        (name of the node, or its operator where it has none; name of the tensor), or None where no node gives NaN.

    Raises:
        DataError: The arrays do not fit the model.
        ModelError: ONNX Runtime cannot run the model.
    """
    makers = {name: node.name or node.op_type for node in model.graph.node for name in node.output if name}
    arrays = open_model(model, taps=makers, optimise=False).run(feeds)
    return next(((node, tensor) for tensor, node in makers.items() if has_nan(arrays[tensor])), None)


def has_nan(array: object) -> bool:
    """Tell whether an array of floats holds NaN; anything else a model may give (texts, sequences) does not."""
    return isinstance(array, np.ndarray) and np.issubdtype(array.dtype, np.floating) and bool(np.isnan(array).any())


def _as_outputs(model: ModelProto, names: Iterable[str]) -> bytes:
    """Serialize further outputs so that they can be put behind the model: protobuf merges what is concatenated, and no weight is copied."""
    present = {value.name for value in (*model.graph.output, *model.graph.input)}
    graph = GraphProto()
    for name in dict.fromkeys(names):
        if name not in present:
            graph.output.add(name=name)  # ONNX Runtime works out the type
    return ModelProto(graph=graph).SerializeToString() if graph.output else b""
