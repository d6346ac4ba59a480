"""How much noise each layer brings to the model's outputs when it alone computes on integers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from onnx import ModelProto

from ...runtime.errors import DataError, ModelError
from .placement import Unit
from .qdq import write_qdq
from .recurrent import write_lstms
from .scheme import Scheme
from .search import Outputs, answers_of, noise_ratio
from .stepping import Feeds


def measure_sensitivities(
    model: ModelProto,
    scheme: Scheme,
    units: Iterable[Unit],
    calibration: Sequence[Feeds],
    *,
    lstms: Sequence[str] = (),
    guarded: bool = False,
    threads: int | None = None,
    done: Callable[[int], None] = lambda _units: None,
) -> dict[str, float]:
    """Return the relative noise power at the outputs, noise / signal, of each unit as the only int8 one.

    LSTM nodes likewise, with int8 weights. Powers of independent errors add, so the sum over a set of units predicts the set's error; 1e-3 is 30 dB. Each unit takes one session, so
    give few images: 32 rank ResNet-20's layers as 512 do. A unit that only moves integers rounds nothing that was not rounded before: 0.

    Args:
        model: Prepared float model.
        scheme: Grids and rounded weights for all units together.
        units: What may become int8.
        calibration: Batches of prepared arrays by input name; kept in memory, run once for each unit.
        lstms: Names of LSTM nodes that may get int8 weights.
        guarded: The target needs narrow weights, see `write_lstms`.
        threads: Threads of the sessions; by default the cores this process may use.
        done: Told after each unit or LSTM node that it was one more.

    Returns:
        By the unit's or LSTM node's name; infinity where the outputs become NaN.

    Raises:
        DataError: There is no image.
        ModelError: The float model's outputs are all zeros, or contain NaN.
    """
    if not calibration:
        raise DataError("sensitivities need at least one image", "none", "give a larger calibration split")
    expected = answers_of(model, calibration, threads)
    if not all(np.isfinite(array).all() for one in expected for array in one.values()) or not any(map(_is_signal, expected)):
        raise ModelError(
            "the float model's outputs are zeros or not finite", ", ".join(expected[0]), "check the model on the calibration images"
        )
    errors: dict[str, float] = {}
    for unit in units:
        alone = replace(scheme, nodes=frozenset(unit.nodes))
        errors[unit.name] = 0.0 if unit.is_passing else noise_ratio(expected, answers_of(write_qdq(model, alone), calibration, threads))
        done(1)
    for name in lstms:
        errors[name] = noise_ratio(expected, answers_of(write_lstms(model, [name], guarded=guarded), calibration, threads))
        done(1)
    return errors


def _is_signal(outputs: Outputs) -> bool:
    return any(array.any() for array in outputs.values())
