"""How much noise each layer brings to the model's outputs when it alone computes on integers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from ...benchmarks.noise import Noise, measure_noise
from ...graph.execution import open_model
from ...runtime.errors import DataError, ModelError
from .placement import Unit
from .qdq import write_qdq
from .scheme import Scheme

Array = npt.NDArray[np.generic]
Feeds = Mapping[str, Array]
Outputs = Mapping[str, Array]


def measure_sensitivities(
    model: ModelProto,
    scheme: Scheme,
    units: Iterable[Unit],
    calibration: Sequence[Feeds],
    *,
    threads: int | None = None,
    done: Callable[[int], None] = lambda _units: None,
) -> dict[str, float]:
    """Return the relative noise power at the outputs, noise / signal, of each unit as the only int8 one.

    Powers of independent errors add, so the sum over a set of units predicts the set's error; 1e-3 is 30 dB. Each unit takes one session, so
    give few images: 32 rank ResNet-20's layers as 512 do. A unit that only moves integers rounds nothing that was not rounded before: 0.

    Args:
        model: Prepared float model.
        scheme: Grids and rounded weights for all units together.
        units: What may become int8.
        calibration: Batches of prepared arrays by input name; kept in memory, run once for each unit.
        threads: Threads of the sessions; by default the cores this process may use.
        done: Told after each unit that it was one more.

    Returns:
        By the unit's name; infinity where the outputs become NaN.

    Raises:
        DataError: There is no image.
        ModelError: The float model's outputs are all zeros, or contain NaN.
    """
    if not calibration:
        raise DataError("sensitivities need at least one image", "none", "give a larger calibration split")
    expected = _outputs(model, calibration, threads)
    errors: dict[str, float] = {}
    for unit in units:
        alone = replace(scheme, nodes=frozenset(unit.nodes))
        errors[unit.name] = 0.0 if unit.is_passing else _error(expected, _outputs(write_qdq(model, alone), calibration, threads))
        done(1)
    return errors


def _outputs(model: ModelProto, calibration: Sequence[Feeds], threads: int | None) -> list[Outputs]:
    session = open_model(model, threads=threads)
    return [session.run(feeds) for feeds in calibration]


def _error(expected: Sequence[Outputs], found: Sequence[Outputs]) -> float:
    """Return noise / signal, averaged over the outputs: a small one counts as much as a large one."""
    names = [name for name, array in expected[0].items() if np.issubdtype(array.dtype, np.floating)]
    sums = {
        name: sum((measure_noise(one[name], other[name]) for one, other in zip(expected, found, strict=True)), Noise()) for name in names
    }
    if not all(0 < one.signal < np.inf for one in sums.values()):
        raise ModelError("the float model's outputs are zeros or not finite", ", ".join(names), "check the model on the calibration images")
    ratio = float(np.mean([one.noise / one.signal for one in sums.values()]))
    return ratio if np.isfinite(ratio) else np.inf
