"""The graph of a packed file: pixels, the core model, softmax and the best classes."""

from dataclasses import replace

from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from onnx.compose import add_prefix

from ..graph.copying import copy_model
from ..graph.file import IR_VERSION, OPSET
from ..graph.versions import LEAST_OPSET, opset_of, raised
from ..runtime.errors import ModelError
from ..runtime.packed_spec import Normalisation
from ..runtime.spec import METADATA_KEY, InputSpec, ModelSpec
from .normalising import add_floats, add_integers, add_order, find_quantizer
from .resizing import RESIZE_OPSET, add_resize
from .steps import PREFIX, Steps

INPUT = "image"
OUTPUTS = ("probabilities", "top_scores", "top_indices")
LABELS_KEY = "edgerec.labels"  # one label a line, for readers without JSON
_NOT_CARRIED = ("ort_config", LABELS_KEY, METADATA_KEY)  # a model must not configure the session that runs it


def packed_input(spec: InputSpec) -> InputSpec:
    """Return the spec of the packed file's own input: the same pixels in RGB order or grey, channels last."""
    if spec.color != "bgr":
        return _renamed(spec, spec.mean, spec.std)
    return _renamed(spec, spec.mean[::-1], spec.std[::-1])


def takes(core: ModelProto, spec: ModelSpec) -> ValueInfoProto:
    """Return the core model's only input.

    Raises:
        ModelError: It has several, or takes something else than float32 tensors.
    """
    weights = {one.name for one in core.graph.initializer}  # old files list them among the inputs
    inputs = [one for one in core.graph.input if one.name not in weights]
    if len(inputs) != 1 or inputs[0].name != spec.input.name:
        names = ", ".join(one.name for one in inputs)
        raise ModelError("only a model with one image input can be packed", f"inputs: {names}", "use the file as it is")
    if inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        kind = helper.tensor_dtype_to_string(inputs[0].type.tensor_type.elem_type)
        raise ModelError("a core file takes float32 tensors", kind, "pack the file as edgerec export or quantize wrote it")
    return inputs[0]


def assemble(core: ModelProto, spec: ModelSpec, *, top: int, resizes: bool) -> tuple[ModelProto, Normalisation]:
    """Return the packed model without its spec, and how the pixels become what its first layer reads.

    Args:
        core: Takes float tensors, gives logits or probabilities; it is not changed.
        spec: What it says about itself.
        top: How many classes it gives; fewer where it knows fewer.
        resizes: Take images of any size.

    Raises:
        ModelError: The model cannot be brought to the opset that this needs.
    """
    model = _free_names(_at_opset(core, RESIZE_OPSET if resizes else LEAST_OPSET))
    weights = {one.name for one in model.graph.initializer}
    (taken,) = (one for one in model.graph.input if one.name not in weights)
    front = Steps("front")
    pixels = add_resize(front, INPUT, spec.input) if resizes else INPUT
    pixels = add_order(front, pixels, spec.input)
    normalisation: Normalisation = "float"
    quantizer = find_quantizer(model, taken.name)
    if quantizer is None:
        front.call(add_floats(front, pixels, spec.input), taken.name)
    else:
        pixels, normalisation = add_integers(front, pixels, spec.input, quantizer)
        front.call(pixels, quantizer.output)
        kept = [node for node in model.graph.node if taken.name not in node.input]
        del model.graph.node[:]
        model.graph.node.extend(kept)
    back = _best(model.graph.output[0], spec, top)
    _join_(model, front, back)
    image, results = _image(taken, spec.input, resizes=resizes), _results(taken, model.graph.output[0], top)
    del model.graph.input[:]
    del model.graph.output[:]
    model.graph.input.append(image)
    model.graph.output.extend(results)
    _describe_(model, spec)
    return model, normalisation


def _renamed(spec: InputSpec, mean: tuple[float, ...], std: tuple[float, ...]) -> InputSpec:
    return replace(spec, name=INPUT, layout="NHWC", color="grey" if spec.color == "grey" else "rgb", mean=mean, std=std)


def _at_opset(core: ModelProto, least: int) -> ModelProto:
    if opset_of(core) >= least:
        model = copy_model(core)
    else:
        try:
            model = raised(core, max(least, OPSET) if opset_of(core) < LEAST_OPSET else least)
        except RuntimeError as error:
            raise ModelError(
                f"onnx cannot bring this model to opset {least}", f"opset {opset_of(core)}: {error}", "export it again with a newer opset"
            ) from error
    model.ir_version = max(IR_VERSION, model.ir_version)
    return model


def _free_names(model: ModelProto) -> ModelProto:
    """Return the model with its names out of the way of the packed file's own."""
    graph = model.graph
    names = {name for node in graph.node for name in (*node.input, *node.output)} | {one.name for one in (*graph.input, *graph.initializer)}
    if any(name in (INPUT, *OUTPUTS) or name.startswith(PREFIX) for name in names):
        return add_prefix(model, "core/")
    return model


def _best(output: ValueInfoProto, spec: ModelSpec, top: int) -> Steps:
    """Return the nodes that follow the core model: scores of all classes, and the best of them, ties by the lower index."""
    steps = Steps("back")
    values = output.name
    if output.type.tensor_type.elem_type != TensorProto.FLOAT:
        values = steps.add("Cast", values, attributes={"to": TensorProto.FLOAT})
    if spec.scores == "logits":
        values = steps.add("Softmax", values, attributes={"axis": -1})
    steps.call(values, OUTPUTS[0])
    classes = _classes(output)
    if classes is None:
        last = steps.add("Slice", steps.add("Shape", OUTPUTS[0]), steps.integers(1), steps.integers(2))
        k = steps.add("Min", last, steps.integers(top))
    else:
        k = steps.integers(min(top, classes))
    steps.nodes.append(helper.make_node("TopK", [OUTPUTS[0], k], [*OUTPUTS[1:]], f"{PREFIX}back/TopK", axis=-1))
    return steps


def _classes(output: ValueInfoProto) -> int | None:
    sizes = output.type.tensor_type.shape.dim
    return sizes[1].dim_value or None if len(sizes) == 2 else None


def _join_(model: ModelProto, front: Steps, back: Steps) -> None:
    nodes = [*front.nodes, *model.graph.node, *back.nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*front.constants, *back.constants])
    read = {name for node in nodes for name in node.input}
    # The first quantization's scale may have no reader any more; ONNX Runtime warns of such.
    if not any(one.HasField("g") or one.graphs for node in nodes for one in node.attribute):
        kept = [one for one in model.graph.initializer if one.name in read]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)


def _image(taken: ValueInfoProto, spec: InputSpec, *, resizes: bool) -> ValueInfoProto:
    sizes = ("height", "width") if resizes else (spec.height, spec.width)
    return helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [_batch(taken), *sizes, spec.channels])


def _results(taken: ValueInfoProto, output: ValueInfoProto, top: int) -> list[ValueInfoProto]:
    classes = _classes(output)
    best = min(top, classes) if classes else "top"
    shapes = {OUTPUTS[0]: classes or "classes", OUTPUTS[1]: best, OUTPUTS[2]: best}
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64)
    return [
        helper.make_tensor_value_info(name, kind, [_batch(taken), size]) for kind, (name, size) in zip(kinds, shapes.items(), strict=True)
    ]


def _batch(taken: ValueInfoProto) -> int | str:
    sizes = taken.type.tensor_type.shape.dim
    return (sizes[0].dim_value or sizes[0].dim_param or "batch") if sizes else "batch"


def _describe_(model: ModelProto, spec: ModelSpec) -> None:
    kept = [one for one in model.metadata_props if one.key not in _NOT_CARRIED]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    lines = "\n".join(" ".join(label.split()) for label in spec.labels)
    if lines:
        model.metadata_props.add(key=LABELS_KEY, value=lines)
