"""Static quantization of an ONNX file: float model and calibration images in, QDQ model out."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import onnx

from ...graph.file import read_spec, with_spec
from ...runtime.errors import ConfigError, ModelError
from .calibration import METHODS, Feeds, Method, observe
from .preparation import prepare
from .old_qdq import PRODUCTS, float_tensors, insert_qdq, nodes_to_quantize, tensors_to_observe

_NOT_OFFERED = {"entropy": "onnxruntime 1.32's entropy calibration returns the same ranges as its min-max"}
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
_RECURRENT_NOTE = "recurrent layers stay float: ONNX Runtime's CPU provider has a dynamic int8 kernel for LSTM and none for GRU"


@dataclass(frozen=True, slots=True)
class Quantization:
    """Replace float arithmetic by 8-bit integers: U8 activations, S8 weights.

    Attributes:
        method: How an activation's range follows from what it did on calibration images: `percentile` cuts rare large values, `minmax` keeps all.
        percentile: Share of an activation's values inside its range, percent; read by `percentile`.
        samples: Largest number of calibration images.
        per_channel: One weight scale for each output channel; without it depthwise convolutions lose accuracy.
    """

    method: Method = "percentile"
    percentile: float = 99.999
    samples: int = 512
    per_channel: bool = True

    def __post_init__(self) -> None:
        """Refuse values that no calibration can use.

        Raises:
            ConfigError: A field is out of range or unknown.
        """
        if self.method not in METHODS:
            reason = _NOT_OFFERED.get(self.method, "the range method is unknown")
            raise ConfigError(reason, repr(self.method), f"choose one of {', '.join(METHODS)}")
        if not 50 <= self.percentile <= 100:
            raise ConfigError("percentile must be between 50 and 100", self.percentile, "99.999 keeps all but one value in 100,000")
        if self.samples < 1:
            raise ConfigError("samples must be at least 1", self.samples, "512 images are usual")


@dataclass(frozen=True, slots=True)
class QuantizationReport:
    """What quantization did.

    Attributes:
        images: Calibration images used.
        ranges: (low, high) of each observed tensor.
        quantized: Operator type to the number of nodes that compute on 8-bit data.
        left_float: Operator type to the number of nodes that stay float.
        notes: What the reader should know, in sentences.
        size_bytes_before: Size of the float model.
        size_bytes_after: Size of the quantized model.
    """

    images: int
    ranges: Mapping[str, tuple[float, float]]
    quantized: Mapping[str, int]
    left_float: Mapping[str, int]
    notes: tuple[str, ...]
    size_bytes_before: int
    size_bytes_after: int


@dataclass(frozen=True, slots=True)
class Quantized:
    """A quantized model and what was done to it."""

    model: onnx.ModelProto
    report: QuantizationReport


def quantize(model: onnx.ModelProto, calibration: Iterable[Feeds], config: Quantization | None = None) -> Quantized:
    """Return an int8 version of a float ONNX model; equal input gives equal bytes.

    Args:
        model: Float model of any origin; it is not changed.
        calibration: Batches of real input arrays by input name, preprocessed as the model wants them; read once, up to `config.samples` images.
        config: Ranges, samples and granularity.

    Raises:
        ModelError: The model is quantized already, cannot be prepared, or has nothing to quantize.
        DataError: Calibration images are missing or do not fit the model.
        ProviderError: onnxruntime is not installed.
    """
    config = config or Quantization()
    prepared = prepare(model)
    nodes = nodes_to_quantize(prepared)
    if not PRODUCTS & {node.op_type for node in prepared.graph.node if node.name in nodes}:
        raise _nothing_to_quantize(prepared)
    statistics, images = observe(prepared, tensors_to_observe(prepared, nodes), calibration, config.samples)
    ranges = {name: one.range(config.method, config.percentile) for name, one in statistics.items()}
    quantized = insert_qdq(prepared, nodes, ranges, per_channel=config.per_channel)
    report = QuantizationReport(
        images=images,
        ranges=ranges,
        quantized=_count(prepared, lambda node: node.name in nodes),
        left_float=_count(prepared, lambda node: node.name not in nodes),
        notes=(_RECURRENT_NOTE,) if _RECURRENT & {node.op_type for node in prepared.graph.node} else (),
        size_bytes_before=model.ByteSize(),
        size_bytes_after=quantized.ByteSize(),
    )
    return Quantized(_with_history(quantized, config, images), report)


def _count(model: onnx.ModelProto, chosen: Callable[[onnx.NodeProto], bool]) -> dict[str, int]:
    floats = float_tensors(model)
    found = Counter(node.op_type for node in model.graph.node if floats & set(node.output) and chosen(node))
    return dict(sorted(found.items()))


def _nothing_to_quantize(model: onnx.ModelProto) -> ModelError:
    found = ", ".join(sorted({node.op_type for node in model.graph.node})) or "no operator"
    return ModelError(
        "the model has nothing to quantize", f"it consists of {found}", "convolutions and matrix products with constant weights become int8"
    )


def _with_history(model: onnx.ModelProto, config: Quantization, images: int) -> onnx.ModelProto:
    spec = read_spec(model)
    if spec is None:
        return model
    settings = {**asdict(config), "samples": images}
    return with_spec(model, replace(spec, provenance=spec.provenance.after("quantize", **settings)))
