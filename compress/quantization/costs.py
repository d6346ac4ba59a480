"""What int8 and float cost each part of a model, for the minimum cut that chooses between them."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from onnx import ModelProto, NodeProto

from ...benchmarks.kernel import Kernel, Precision, conversion, kernel_of
from ...benchmarks.kernel_times import KernelTimes
from .kernels import TimesOf
from .mincut import Choice, Conversion, cost_us
from .placement import FLOAT_RESULT, Unit
from .rewriting import Scene
from .scheme import Scheme


@dataclass(frozen=True, slots=True)
class Costs:
    """The times of a model's parts.

    Attributes:
        choices: One for each unit, under its name, and one for each float node between units, under its own: `int8` for such a node means that
            its neighbours are, and includes the steps to float and back.
        conversions: The tensors between units, other nodes, and the model's inputs and outputs.
        others_us: Time of what is float in any case, and of a run as such.
    """

    choices: tuple[Choice, ...]
    conversions: tuple[Conversion, ...]
    others_us: float

    def total_us(self, int8: frozenset[str]) -> float:
        """Return the time of a whole run when these choices are int8."""
        return self.others_us + cost_us(self.choices, self.conversions, int8)


def find_costs(
    model: ModelProto,
    units: Sequence[Unit],
    times_of: TimesOf,
    *,
    errors: Mapping[str, float] | None = None,
    savings_us: Mapping[str, float] | None = None,
    lstm_savings_us: Mapping[str, float] | None = None,
) -> Costs:
    """Return what every unit costs in float and in int8.

    Where a shape is not known, the table does not hold a kernel, or the float one does not run alone, int8 and float count as equally fast.

    Args:
        model: Prepared float model.
        units: What may become int8.
        times_of: Gives the times of kernels: measures them on this machine, or looks them up in another device's table.
        errors: What int8 costs each unit or LSTM node in accuracy, by its name.
        savings_us: What shaping will save each node in int8 (`Shaped.savings_us` of the model with all units in int8).
        lstm_savings_us: What int8 weights save each LSTM node that may have them, negative where they cost; each becomes a choice. Its inputs
            and outputs stay float.

    Raises:
        ModelError: Shape inference refuses the graph.
    """
    scene = Scene.of(model, Scheme(frozenset(), {}))
    lstms = lstm_savings_us or {}
    parts = _parts(scene, units, lstms)
    kernels = [(_kernel(scene, part, "fp32"), _kernel(scene, part, "int8" if part.is_unit else "island")) for part in parts]
    inside = {node.name for part in parts for node in part.nodes}
    alone = {
        node.name: kernel_of([node], scene.shapes, scene.graph.constants, "fp32") for node in scene.graph.nodes if node.name not in inside
    }
    tensors = _tensors(scene, parts, inside)
    steps = {name: _steps(scene, name) for name in tensors}
    pairs = (*kernels, *steps.values())
    times = times_of(one for one in (*(kernel for pair in pairs for kernel in pair), *alone.values()) if one is not None)
    choices: list[Choice] = []
    for part, pair in zip(parts, kernels, strict=True):
        float_us, int8_us = _times(times, *pair)
        int8_us = max(int8_us - sum((savings_us or {}).get(node.name, 0.0) for node in part.nodes), 0.0)
        choices.append(Choice(part.name, float_us, int8_us, (errors or {}).get(part.name, 0.0)))
    choices += [_lstm(name, times, alone[name], saving_us, (errors or {}).get(name, 0.0)) for name, saving_us in lstms.items()]
    gives_float = {part.output for part in parts if part.nodes[0].op_type in FLOAT_RESULT and part.output in scene.graph.outputs}
    pools = {part.name for part in parts if part.nodes[0].op_type == "MaxPool"}
    conversions = [_timed(tensor, times, *steps[name], is_free=name in gives_float, pools=pools) for name, tensor in tensors.items()]
    others = [one for name, one in alone.items() if name not in lstms]
    rest = sum(one_us for one in others if (one_us := times.of([one])) is not None and math.isfinite(one_us))
    return Costs(tuple(choices), tuple(conversions), rest + times.run_us)


@dataclass(frozen=True, slots=True)
class _Part:
    """A unit, or a float node that passes an activation on."""

    name: str
    nodes: tuple[NodeProto, ...]
    inputs: tuple[str, ...]
    output: str
    is_unit: bool


def _parts(scene: Scene, units: Sequence[Unit], lstms: Collection[str]) -> list[_Part]:
    by_name = {node.name: node for node in scene.graph.nodes}
    parts = [_Part(unit.name, tuple(by_name[name] for name in unit.nodes), unit.inputs, unit.output, is_unit=True) for unit in units]
    inside = {name for unit in units for name in unit.nodes}
    touched = {name for unit in units for name in (*unit.inputs, unit.output)}
    for node in scene.graph.nodes:
        inputs = [name for name in node.input if name in scene.graph.floats and name not in scene.graph.constants]
        if (
            node.name not in inside
            and node.name not in lstms
            and len(node.output) == 1
            and inputs
            and node.output[0] in scene.graph.floats
            and touched & {*inputs, node.output[0]}
        ):
            parts.append(_Part(node.name, (node,), tuple(dict.fromkeys(inputs)), node.output[0], is_unit=False))
    return parts


def _kernel(scene: Scene, part: _Part, precision: Precision) -> Kernel | None:
    return kernel_of(part.nodes, scene.shapes, scene.graph.constants, precision)


def _tensors(scene: Scene, parts: Sequence[_Part], inside: Collection[str]) -> dict[str, Conversion]:
    """Return every tensor that a part reads or writes, with who writes and who reads it; the times come later."""
    writers = {part.output: part.name for part in parts}
    readers: dict[str, list[str | None]] = {}
    for part in parts:
        for name in part.inputs:
            readers.setdefault(name, []).append(part.name)
    names = dict.fromkeys(name for part in parts for name in (*part.inputs, part.output))
    for name in names:
        if name in scene.graph.outputs or any(node.name not in inside for node in scene.graph.consumers.get(name, ())):
            readers.setdefault(name, []).append(None)
    return {name: Conversion(writers.get(name), tuple(readers.get(name, [])), 0.0, 0.0) for name in names}


def _steps(scene: Scene, name: str) -> tuple[Kernel | None, Kernel | None]:
    """Return the kernels that quantize and dequantize a tensor."""
    shape = scene.shapes.get(name)
    if shape is None:
        return None, None
    is_input, is_output = name not in scene.graph.producer, name in scene.graph.outputs
    return conversion(shape, to_int8=True, at_edge=is_input), conversion(shape, to_int8=False, at_edge=is_output)


def _times(times: KernelTimes, in_float: Kernel | None, in_int8: Kernel | None) -> tuple[float, float]:
    float_us, int8_us = times.of([in_float]), times.of([in_int8])
    # The float model does run: where its kernel alone does not, the measurement says nothing.
    return (0.0, 0.0) if float_us is None or int8_us is None or math.isinf(float_us) else (float_us, int8_us)


def _lstm(name: str, times: KernelTimes, in_float: Kernel | None, saving_us: float, error: float) -> Choice:
    """Return the choice of an LSTM node; where the table does not hold its float kernel, only the difference counts."""
    known_us = times.of([in_float])
    float_us = known_us if known_us is not None and math.isfinite(known_us) else 0.0
    float_us = max(float_us, saving_us)
    return Choice(name, float_us, float_us - saving_us, error)


def _timed(
    tensor: Conversion, times: KernelTimes, quantize: Kernel | None, dequantize: Kernel | None, *, is_free: bool, pools: set[str]
) -> Conversion:
    quantize_us, dequantize_us = times.of([quantize]) or 0.0, times.of([dequantize]) or 0.0
    if tensor.producer in pools or not pools.isdisjoint(one for one in tensor.consumers if one is not None):
        # ONNX Runtime moves a QuantizeLinear behind a MaxPool in front of it, and then pools integers whose channels come first: 20 times slower.
        quantize_us = math.inf
    return replace(tensor, quantize_us=quantize_us, dequantize_us=0.0 if is_free else dequantize_us)
