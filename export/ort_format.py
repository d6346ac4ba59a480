"""A packed file in ONNX Runtime's own format, and what a build of ONNX Runtime needs that runs nothing else."""

import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto, TensorProto

from ..graph.file import load_onnx
from ..runtime.errors import ModelError
from ..runtime.files import check_writable, replacing
from ..runtime.packed import replay
from ..runtime.providers import load_onnxruntime
from ..runtime.session import open_session

# What ONNX Runtime's build script takes; the file's own metadata say the rest.
BUILD = (
    "./build.sh --config MinSizeRel --build_shared_lib --parallel --skip_tests --minimal_build --disable_ml_ops"
    " --include_ops_by_config {config} --enable_reduced_operator_type_support"
)


@dataclass(frozen=True, slots=True)
class OrtFormat:
    """What belongs to a reduced build.

    Attributes:
        path: The model, `.ort`.
        operators: The operators it needs, for `--include_ops_by_config`.
        types: The same with the types of each operator: a smaller library, which runs this model only.
        build: The command that builds such a library, in a checkout of ONNX Runtime.
    """

    path: Path
    operators: Path
    types: Path
    build: str


def write_ort(packed: Path) -> OrtFormat:
    """Write a packed ONNX file in ORT format beside it, with the lists of its operators.

    The bytes of the `.ort` file differ from run to run, because ONNX Runtime writes in the order of a hash that it seeds anew; the lists do not.
    The graph is optimised up to what runs on every CPU: ONNX Runtime's further level lays tensors out for the vector units of this machine.
    Its golden pair is replayed before it takes its name.

    Args:
        packed: A packed `.onnx` file.

    Raises:
        ModelError: The file is damaged or not packed, or ONNX Runtime cannot convert it.
        GateError: The converted file gives another golden answer.
        OutputError: A file cannot be written.
    """
    paths = [packed.with_suffix(suffix) for suffix in (".ort", ".required_operators.config", ".required_operators_and_types.config")]
    for path in paths:
        check_writable(path)
    with replacing(paths[0]) as temporary:
        _convert(packed, temporary, signed=_is_signed(load_onnx(packed)))
        session = open_session(temporary)
        if session.spec is None:
            raise ModelError("the file in ORT format has lost its metadata", packed, "use the .onnx file")
        replay(session, session.spec)
        _list_operators([temporary], paths[1], types=False)
        _list_operators([temporary], paths[2], types=True)
    return OrtFormat(*paths, build=BUILD.format(config=paths[2].name))


def _convert(packed: Path, path: Path, *, signed: bool) -> None:
    onnxruntime = load_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    settings.optimized_model_filepath = str(path)
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 1
    settings.add_session_config_entry("session.save_model_format", "ORT")
    if signed:
        # Else int8 activations become uint8, as x86 wants them, in a file that was made for ARM's faster kernels.
        settings.add_session_config_entry("session.qdqisint8allowed", "1")
    try:
        onnxruntime.InferenceSession(str(packed), settings, providers=["CPUExecutionProvider"], enable_fallback=0, read_config_from_model=0)
    # ONNX Runtime's exceptions share no base of their own.
    except Exception as error:
        raise ModelError("ONNX Runtime cannot convert this file", f"{packed} ({error})", "use the .onnx file") from error


def _list_operators(models: Iterable[Path], path: Path, *, types: bool) -> None:
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    from onnxruntime.tools.ort_format_model import create_config_from_models, utils  # onnxruntime's own tool for exactly this

    # Importing it configures the whole process's logging, which is the caller's own affair.
    root.handlers[:], root.level = handlers, level
    utils.log.setLevel(logging.WARNING)
    with replacing(path) as temporary:
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # it leaves its files open
            create_config_from_models(models, temporary, types)
        # Its comments name the folder that it was made in.
        lines = [one for one in temporary.read_text(encoding="utf-8").splitlines() if not one.startswith("#")]
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _is_signed(model: ModelProto) -> bool:
    """Tell whether activations are int8: a QuantizeLinear writes that."""
    kinds = {one.name: one.data_type for one in model.graph.initializer}
    zero_points = [node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear" and len(node.input) > 2]
    return any(kinds.get(one) == TensorProto.INT8 for one in zero_points)
