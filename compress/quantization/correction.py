"""What is done against the error of quantization, and in which order."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from .qdq import write_qdq
from .reconstruction import Reconstructed, reconstruct
from .scheme import Scheme
from .search import output_noise
from .stepping import Feeds


@dataclass(frozen=True, slots=True)
class Corrections:
    """Which corrections are made; only that through gates costs time in the finished file.

    Attributes:
        equalise: Bring the channels of each activation to one range, before calibration.
        correct_bias: Give every quantized layer the float layer's average outputs.
        round_weights: Choose each layer's integers for its output's error instead of each weight's.
        open_gates: Equalise through SiLU and hard swish as well, where the whole model is clearly better for it: one more node in front of
            each gate, 8 to 42 % of the time on the nets measured (docs/log.md, 2026-11-26).
    """

    equalise: bool = True
    correct_bias: bool = True
    round_weights: bool = True
    open_gates: bool = False


def correct(model: onnx.ModelProto, scheme: Scheme, calibration: Sequence[Feeds], corrections: Corrections | None = None) -> Reconstructed:
    """Mend weights and biases, layer by layer in one pass, once the grids are chosen; keep only what helps on images it has not seen.

    Half of the images mend, the other half judges: rounding fits a layer to the inputs it is shown, and where these are few (a layer of
    2 x 2 pixels) that can cost more than it brings.

    Args:
        model: Prepared float model, equalised if wished; it is not changed.
        scheme: Nodes, grids and rounded weights.
        calibration: Batches of inputs; 128 images are enough for a small classifier.
        corrections: What to do.
    """
    wanted = corrections or Corrections()
    if not (wanted.round_weights or wanted.correct_bias):
        return Reconstructed(model, scheme)
    shown, held_out = calibration[::2], calibration[1::2] or calibration
    noise = output_noise(model, held_out)
    found = reconstruct(model, scheme, shown, round_weights=wanted.round_weights, correct_bias=wanted.correct_bias)
    return min((Reconstructed(model, scheme), found), key=lambda one: noise(write_qdq(one.model, one.scheme)))
