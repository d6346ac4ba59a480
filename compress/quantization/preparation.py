"""Bring any float ONNX file into the one form that calibration and QDQ placement expect.

First version: onnx's version converter and ONNX Runtime's basic optimiser do the work.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference
import onnx.version_converter

from ...graph.file import IR_VERSION, OPSET
from ...runtime.errors import EdgerecError, ModelError, OutputError
from ...runtime.providers import load_onnxruntime

# A per-channel DequantizeLinear needs opset 13; ONNX Runtime refuses to load one in an older file.
_LEAST_OPSET = 13
_ONNX_DOMAINS = ("", "ai.onnx")
_KNOWN_DOMAINS = (*_ONNX_DOMAINS, "ai.onnx.ml", "com.microsoft")
_QUANTIZED_OPS = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "ConvInteger",
        "MatMulInteger",
        "DynamicQuantizeLSTM",
        "QAttention",
        "QGemm",
    }
)


def prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equivalent model: opset 13 or later, constants and batch norms folded, shapes inferred.

    Args:
        model: Any float model; it is not changed.

    Raises:
        ModelError: The model is quantized already, has operators of an unknown domain, or cannot be converted or loaded.
        OutputError: The temporary folder is full.
        ProviderError: onnxruntime is not installed.
    """
    _refuse_quantized(model)
    _refuse_unknown_domains(model)
    prepared = _with_constant_initializers(model)
    try:
        prepared = _with_recent_opset(prepared)
        prepared = onnx.shape_inference.infer_shapes(_with_row_biases(_optimised(prepared)))
    except EdgerecError:
        raise
    except Exception as error:  # onnx and onnxruntime share no base class; whatever they raise here is about this model
        first_line = str(error).strip().partition("\n")[0][:300]
        raise ModelError(
            "the model cannot be prepared for quantization", first_line or type(error).__name__, "check it with onnx.checker"
        ) from error
    del prepared.metadata_props[:]
    prepared.metadata_props.extend(model.metadata_props)  # the converter and the optimiser drop or add entries
    prepared.graph.name = model.graph.name
    # Old runtimes refuse a file by its IR version even where they know all its operators.
    prepared.ir_version = max(IR_VERSION, onnx.helper.find_min_ir_version_for(prepared.opset_import, ignore_unknown=True))
    for index, node in enumerate(prepared.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"  # placement and report speak of nodes by name
    return prepared


def _refuse_quantized(model: onnx.ModelProto) -> None:
    found = sorted({node.op_type for node in model.graph.node if node.op_type in _QUANTIZED_OPS or node.op_type.startswith("QLinear")})
    if found:
        raise ModelError("the model is quantized already", f"it contains {', '.join(found)}", "give the float model it was made from")


def _refuse_unknown_domains(model: onnx.ModelProto) -> None:
    local = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        if node.domain not in _KNOWN_DOMAINS and (node.domain, node.op_type) not in local:
            raise ModelError(
                "the model has an operator of an unknown domain",
                f"{node.domain}::{node.op_type} ({node.name})",
                "export it with standard ONNX operators",
            )


def _with_constant_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose initializers are no inputs: as inputs, files of IR version 3, they count as changeable and nothing folds."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    constant = {initializer.name for initializer in copied.graph.initializer}
    inputs = [one for one in copied.graph.input if one.name not in constant]
    del copied.graph.input[:]
    copied.graph.input.extend(inputs)
    copied.ir_version = max(copied.ir_version, IR_VERSION)
    return copied


def _with_recent_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    version = next((one.version for one in model.opset_import if one.domain in _ONNX_DOMAINS), 1)
    return model if version >= _LEAST_OPSET else onnx.version_converter.convert_version(model, OPSET)


def _optimised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants, batch norms and identities with ONNX Runtime's basic level, which keeps to standard operators."""
    onnxruntime = load_onnxruntime()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 4  # it warns that the file is for this machine; the basic level is not
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0, read_config_from_model=0
            )
        except Exception as error:  # onnxruntime's exceptions share no base class
            if "serialization failed" not in str(error):
                raise
            raise OutputError("the temporary folder takes no more", folder, "free some space, or point TMPDIR elsewhere") from error
        optimised = onnx.load(target)
    used = {node.domain for node in _all_nodes(optimised.graph.node)} | {""}
    imports = [one for one in optimised.opset_import if one.domain in used]
    del optimised.opset_import[:]
    optimised.opset_import.extend(imports)
    return optimised


def _with_row_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every constant Gemm bias the shape (N,): onnxruntime 1.32's QDQ writer fails on (1, N), which MatMul + Add turn into."""
    constants = {one.name: one for one in model.graph.initializer}
    for node in model.graph.node:
        bias = constants.get(node.input[2]) if node.op_type == "Gemm" and len(node.input) == 3 else None
        if bias is not None and len(bias.dims) == 2 and bias.dims[0] == 1:
            row = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias).reshape(-1), f"{bias.name}_row")
            node.input[2] = row.name
            if row.name not in constants:
                constants[row.name] = row
                model.graph.initializer.append(row)
    return model


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all_nodes(graph.node)
