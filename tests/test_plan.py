"""Pruning plans against models masked by hand: a cut model computes what the whole one computes with the other channels at zero."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgerec.runtime.errors import ModelError
from edgerec.train.plan import PruningPlan, apply_plan


class Net(nn.Module):
    """Convolution, norm, depthwise, grouped, a removable block, flatten over 4x4 cells, two dense layers around a LayerNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())
        self.dense = nn.Linear(8 * 16, 6)
        self.layer_norm = nn.LayerNorm(6)
        self.last = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        features = self.grouped(self.depthwise(self.norm(self.conv(images)).relu()))
        features = self.block(features) + features
        return self.last(self.layer_norm(self.dense(features.flatten(1))))


def net() -> Net:
    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        for tensor in (*model.parameters(), model.norm.running_mean, model.norm.running_var):
            tensor.uniform_(0.1, 1.0)  # nothing at its default, so that a forgotten slice shows
    return model.eval()


IMAGES = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
KEPT = (0, 2, 5, 7)  # two in each half, so that the two groups stay equal
FEATURES = tuple(16 * c + cell for c in (1, 3, 4, 6) for cell in range(16))
PLAN = PruningPlan(
    out={"conv": KEPT, "norm": KEPT, "depthwise": KEPT, "grouped": (1, 3, 4, 6), "block.0": (1, 3, 4, 6)},
    inputs={"grouped": KEPT, "block.0": (1, 3, 4, 6), "dense": FEATURES},
)


def test_a_cut_model_is_the_masked_model() -> None:
    model = net()
    masked = net()
    gone = [c for c in range(8) if c not in KEPT]
    with torch.no_grad():
        # Channels that are gone give zero after the depthwise layer, and their outputs are never read.
        masked.depthwise.weight[gone] = 0
        masked.depthwise.bias[gone] = 0
        masked.block[0].weight[:, [0, 2, 5, 7]] = 0
        masked.dense.weight[:, [i for i in range(128) if i not in FEATURES]] = 0
    pruned = apply_plan(model, PLAN)
    torch.testing.assert_close(pruned(IMAGES), masked(IMAGES))


def test_shapes_by_hand() -> None:
    pruned = apply_plan(net(), PLAN)
    shapes = {name: tuple(tensor.shape) for name, tensor in pruned.state_dict().items()}
    assert shapes["conv.weight"] == (4, 3, 3, 3)
    assert shapes["norm.running_var"] == (4,)
    assert shapes["depthwise.weight"] == (4, 1, 3, 3)
    assert shapes["grouped.weight"] == (4, 2, 3, 3)
    assert shapes["block.0.weight"] == (4, 4, 1, 1)
    assert shapes["dense.weight"] == (6, 64)
    assert (pruned.depthwise.groups, pruned.grouped.groups) == (4, 2)
    assert all(tensor.is_contiguous() for tensor in pruned.state_dict().values())


def test_the_model_itself_stays() -> None:
    model = net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    apply_plan(model, PLAN)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_empty_plan_changes_nothing() -> None:
    assert torch.equal(apply_plan(net(), PruningPlan())(IMAGES), net()(IMAGES))


def test_keeping_every_channel_changes_nothing() -> None:
    every = tuple(range(8))
    plan = PruningPlan(
        out={"conv": every, "grouped": every, "last": tuple(range(5))}, inputs={"grouped": every, "dense": tuple(range(128))}
    )
    assert torch.equal(apply_plan(net(), plan)(IMAGES), net()(IMAGES))


def test_a_fresh_model_takes_the_pruned_weights_strictly() -> None:
    pruned = apply_plan(net(), PLAN)
    fresh = apply_plan(Net(), PLAN).eval()
    fresh.load_state_dict(pruned.state_dict(), strict=True)
    assert torch.equal(fresh(IMAGES), pruned(IMAGES))


def test_a_removed_block_is_the_identity() -> None:
    pruned = apply_plan(net(), PruningPlan(removed=("block",)))
    assert isinstance(pruned.block, nn.Identity)
    assert not any(name.startswith("block") for name in pruned.state_dict())


def test_a_whole_group_can_go() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 1, groups=2))
    pruned = apply_plan(model, PruningPlan(out={"0": (3, 5)}, inputs={"0": (2, 3)}))
    assert pruned[0].groups == 1
    assert torch.equal(pruned[0].weight, model[0].weight[[3, 5]])


def test_outputs_of_the_last_layer_and_frozen_weights() -> None:
    model = net().requires_grad_(False)
    pruned = apply_plan(model, PruningPlan(out={"last": (4,), "dense": (0, 1), "layer_norm": (0, 1)}, inputs={"last": (0, 1)}))
    assert pruned(IMAGES).shape == (2, 1)
    assert not any(parameter.requires_grad for parameter in pruned.parameters())


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_then_is_one_after_the_other(data: st.DataObject) -> None:
    def some(count: int) -> tuple[int, ...]:
        return tuple(sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1))))

    model = nn.Sequential(nn.Linear(6, 7), nn.LayerNorm(7), nn.Linear(7, 5))
    kept = some(7)
    first = PruningPlan(out={"0": kept, "1": kept}, inputs={"2": kept})
    again = some(len(kept))
    later = PruningPlan(out={"0": again, "1": again, "2": some(5)}, inputs={"2": again, "0": some(6)}, removed=("1",))
    one, other = apply_plan(apply_plan(model, first), later), apply_plan(model, first.then(later))
    assert str(one) == str(other)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_then_refuses_a_channel_that_is_gone() -> None:
    with pytest.raises(ModelError, match="channel 4 of 4"):
        PLAN.then(PruningPlan(out={"conv": (0, 4)}))


def test_json_round_trip() -> None:
    assert PruningPlan.from_json(PLAN.to_json()) == PLAN
    assert PLAN.to_json() == PruningPlan.from_json(PLAN.to_json()).to_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"plan_version":1,"out":{"a":[true]},"inputs":{},"removed":[]}',
        '{"plan_version":1,"out":{"a":3},"inputs":{},"removed":[]}',
        '{"plan_version":1,"out":{"a":[]},"inputs":{},"removed":[]}',
        '{"plan_version":1,"out":{"a":[2,1]},"inputs":{},"removed":[]}',
        '{"plan_version":1,"out":{"a":[-1]},"inputs":{},"removed":[]}',
    ],
)
def test_text_that_is_no_plan(text: str) -> None:
    with pytest.raises(ModelError):
        PruningPlan.from_json(text)


def test_a_newer_plan() -> None:
    newer = json.loads(PLAN.to_json()) | {"plan_version": 2}
    with pytest.raises(ModelError, match="update edgerec"):
        PruningPlan.from_json(json.dumps(newer))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (PruningPlan(out={"nothing.here": (0,)}), "no such module: 'nothing.here'"),
        (PruningPlan(removed=("block.9",)), "no such module: 'block.9'"),
        (PruningPlan(out={"conv": (8,)}), "conv: channel 8 of 8"),
        (PruningPlan(inputs={"dense": (128,)}), "dense: channel 128 of 128"),
        (PruningPlan(out={"grouped": (0, 1, 4)}), r"outputs by group \[2, 1\]"),
        (PruningPlan(out={"grouped": (0, 1)}), "same number of channels"),
        (PruningPlan(out={"norm": (0,)}, inputs={"norm": (1,)}), "outputs are its inputs"),
        (PruningPlan(out={"block.1": (0,)}), r"block.1 \(ReLU\)"),
    ],
)
def test_a_plan_of_another_model(plan: PruningPlan, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        apply_plan(net(), plan)
