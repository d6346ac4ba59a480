"""MACs of every model of the registry, counted by hand for a colour image of 32x32 pixels and ten classes; the file must say the same."""

import numpy as np
import pytest

from edgerec.export.tracing import trace
from edgerec.graph.exported import clean
from edgerec.graph.shapes import count_macs
from edgerec.train.models import MODELS, Architecture, create


def resnet(blocks: int) -> int:
    """6n + 2 layers: 3x3 convolutions of 16, 32 and 64 channels on 32, 16 and 8 pixels. All but three have 9 * 16 * 16 * 32 * 32 MACs."""
    stem, usual, linear = 9 * 3 * 16 * 32**2, 9 * 16 * 16 * 32**2, 64 * 10
    entering = 9 * 16 * 32 * 16**2 + 9 * 32 * 64 * 8**2  # the first convolutions of the second and third stage read half the channels
    return stem + 2 * blocks * usual + entering + 2 * (2 * blocks - 1) * usual + linear


def bottlenecks(rows: list[tuple[int, int, int, int, int]], inputs: int, pixels: int) -> tuple[int, int, int]:
    """Sum up rows of (expanded, kernel, outputs, stride, squeezed; 0 without a gate); return MACs, channels and pixels at the end."""
    macs = 0
    for expanded, kernel, outputs, stride, squeezed in rows:
        macs += inputs * expanded * pixels**2 if expanded != inputs else 0
        pixels = -(-pixels // stride)
        macs += kernel**2 * expanded * pixels**2 + 2 * expanded * squeezed + expanded * outputs * pixels**2
        inputs = outputs
    return macs, inputs, pixels


def staged(table: list[tuple[int, int, int, int, int]]) -> int:
    """Stages of (expansion, channels, blocks, stride, kernel), a stem of 32 channels that keeps 32 pixels, a head of 1,280."""
    rows: list[tuple[int, int, int, int, int]] = []
    inputs = 32
    for expansion, channels, blocks, stride, kernel in table:
        for number in range(blocks):
            rows.append((expansion * inputs, kernel, channels, stride if number == 0 else 1, 0))
            inputs = channels
    macs, channels, pixels = bottlenecks(rows, 32, 32)
    return 9 * 3 * 32 * 32**2 + macs + channels * 1280 * pixels**2 + 1280 * 10


# Sandler et al. 2018, table 2; Tan and Le 2019, table 1; Howard et al. 2019, table 2, with gates of a quarter, to multiples of 8.
V2 = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 32, 3, 2, 3), (6, 64, 4, 2, 3), (6, 96, 3, 1, 3), (6, 160, 3, 2, 3), (6, 320, 1, 1, 3)]
B0 = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)]
V3 = [
    *[(16, 3, 16, 2, 8), (72, 3, 24, 2, 0), (88, 3, 24, 1, 0), (96, 5, 40, 2, 24), (240, 5, 40, 1, 64), (240, 5, 40, 1, 64)],
    *[(120, 5, 48, 1, 32), (144, 5, 48, 1, 40), (288, 5, 96, 2, 72), (576, 5, 96, 1, 144), (576, 5, 96, 1, 144)],
]
V3_MACS, V3_CHANNELS, V3_PIXELS = bottlenecks(V3, 16, 32)

HAND = {
    "cnn": 9 * 3 * 32 * 32**2 + 9 * 32 * 64 * 16**2 + 64 * 8**2 * 64 + 64 * 10,
    "rnn": 32 * 4 * 128 * (3 * 32 + 128) + 128 * 10,  # 32 rows, four gates
    "rnn_gru": 32 * 3 * 128 * (3 * 32 + 128) + 128 * 10,
    # 64 patches, each projected to 64 and scored
    "attention": 9 * 3 * 32 * 32**2 + 9 * 32 * 64 * 16**2 + 9 * 64 * 64 * 8**2 + 64 * (64 * 64 + 64) + 64 * 10,
    # 64 tokens of 192; a block has QKV, scores and mixing, projection, and an MLP four times as wide
    "vit_tiny": 64 * 48 * 192 + 4 * (64 * 192 * 576 + 2 * 64 * 64 * 192 + 64 * 192 * 192 + 2 * 64 * 192 * 768) + 192 * 10,
    "resnet8": resnet(1),
    "resnet20": resnet(3),
    "resnet32": resnet(5),
    "resnet56": resnet(9),
    "mobilenet_v2": staged(V2),
    "mobilenet_v3_small": 9 * 3 * 16 * 32**2 + V3_MACS + V3_CHANNELS * 576 * V3_PIXELS**2 + 576 * 1024 + 1024 * 10,
    "efficientnet_lite0": staged(B0),
    "efficientnet_lite0_silu": staged(B0),
}


def test_every_model_is_counted() -> None:
    assert set(HAND) == set(MODELS)
    assert HAND["resnet20"] == 40_551_040


@pytest.mark.parametrize("name", MODELS)
def test_the_file_has_the_macs_that_a_hand_counts(name: str) -> None:
    model = create(Architecture(name, classes=10, size=32)).eval()
    # The older exporter is quicker, but leaves the pads of a zero-padded shortcut to be computed, and their shape unknown.
    traced = trace(
        "dynamo" if name.startswith("resnet") else "torchscript",
        model,
        {"input": np.zeros((2, 3, 32, 32), np.float32)},
        ["logits"],
        {"input": {0: "N"}},
    )
    assert sum(count_macs(clean(traced.model)).values()) == HAND[name]
