"""The operator set of any file, raised or lowered to the one that the rest of edgerec works with."""

import onnx
import onnx_ir as ir
from onnx import ModelProto
from onnx.version_converter import convert_version

from .copying import copy_model
from .file import IR_VERSION, OPSET
from .opset import lower_opset_

# The oldest ONNX Runtime that edgerec runs on, the first release with the graph-assignment record; tests/test_oldest.py loads our files with
# it, and pyproject.toml asks for it. The files themselves are older (`graph.file.OPSET`, `IR_VERSION`): 1.15 (2023)
# loads core, int8 and packed ones as well.
OLDEST_ONNXRUNTIME = "1.24.1"

LEAST_OPSET = 13  # a per-channel DequantizeLinear needs it: ONNX Runtime refuses to load one in an older file
_LARGE_BYTES = 1024  # larger initializers are weights, whose values no conversion reads


def opset_of(model: ModelProto) -> int:
    """Return the version of ONNX's own operators that a model is written in."""
    return next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 1)


def pin_versions(model: ModelProto) -> ModelProto | None:
    """Return the model at the pinned opset and IR version; None where it is there, or no conversion is exact.

    Older models go up, and one of opset 18 goes down if each of its operators can be said in 17; a newer one keeps its opset.

    Raises:
        RuntimeError: onnx cannot convert an operator.
    """
    version = opset_of(model)
    if version < OPSET:
        pinned = raised(model, OPSET)
    else:
        edited = ir.from_proto(copy_model(model))
        pinned = ir.to_proto(edited) if version > OPSET and lower_opset_(edited) else copy_model(model)
    least = onnx.helper.find_min_ir_version_for(pinned.opset_import, ignore_unknown=True)
    pinned.ir_version = max(IR_VERSION, least)  # old runtimes refuse a file by its IR version even where they know all its operators
    return pinned if (opset_of(pinned), pinned.ir_version) != (version, model.ir_version) else None


def raised(model: ModelProto, version: int) -> ModelProto:
    """Return the model in a later opset; the weights stay behind, because the converter takes no more than 2 GiB, and are put back.

    Raises:
        RuntimeError: onnx cannot convert an operator.
    """
    weights = [tensor for tensor in model.graph.initializer if tensor.ByteSize() > _LARGE_BYTES]
    heavy = {tensor.name for tensor in weights}
    light = copy_model(model, keep=lambda tensor: tensor.name not in heavy)
    light.ir_version = IR_VERSION
    light.graph.input.extend(onnx.helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in weights)
    converted = convert_version(light, version)
    inputs = [value for value in converted.graph.input if value.name not in heavy]
    del converted.graph.input[:]
    converted.graph.input.extend(inputs)
    converted.graph.initializer.extend(weights)
    del converted.metadata_props[:]  # some releases of the converter drop them, 1.23 keeps them
    converted.metadata_props.extend(model.metadata_props)
    return converted
