"""Structured pruning, judged by laws, by hand-counted numbers and by torch-pruning's own cutting.

tests/test_registry.py prunes every model of the registry; here each kind of block stands for its family.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn

from edgerec.compress import ChannelPruning, prune
from edgerec.compress.channels import find_groups
from edgerec.compress.macs import count_macs
from edgerec.compress.pruning import apply_to
from edgerec.runtime.errors import ConfigError, ModelError
from edgerec.runtime.spec import InputSpec, ModelSpec
from edgerec.train.checkpoint import Checkpoint
from edgerec.train.models import Architecture, create
from edgerec.train.plan import PruningPlan, apply_plan

SPEC = ModelSpec((InputSpec(28, 28, color="grey", mean=(0.13,), std=(0.31,)),))
FAMILIES = ("cnn", "attention", "vit_tiny", "resnet20", "mobilenet_v3_small", "efficientnet_lite0")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The layers are too small for two threads to help, and waiting for a busy second core costs far more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def checkpoint(name: str, *, width: float = 1.0, spread_norms: bool = True) -> Checkpoint:
    architecture = Architecture(name, classes=10, channels=1, size=28, width=width)
    torch.manual_seed(0)
    model = create(architecture).eval()
    if spread_norms:  # as after training: no two channels of a batch norm are alike
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)
                nn.init.normal_(module.running_mean, std=0.2)
    return Checkpoint(model, SPEC, architecture=architecture)


def of(model: nn.Module) -> Checkpoint:
    return Checkpoint(model.eval(), SPEC, factory="tests.models:build")


def outputs(model: nn.Module) -> Tensor:
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(images)


def test_macs_of_the_textbook_net_by_hand() -> None:
    macs = count_macs(checkpoint("cnn").model, torch.zeros(1, 1, 28, 28))
    assert macs == {
        "conv1": 9 * 1 * 32 * 28 * 28,
        "conv2": 9 * 32 * 64 * 14 * 14,
        "dense": 64 * 7 * 7 * 64,
        "linear": 64 * 10,
    }


def test_macs_of_depthwise_and_transposed_convolutions_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.ConvTranspose2d(4, 2, 2, stride=2))
    macs = count_macs(model, torch.zeros(1, 4, 5, 5))
    assert macs == {"0": 9 * 4 * 5 * 5, "1": 4 * 2 * 2 * 2 * 5 * 5}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_prunes_and_its_plan_rebuilds_it(name: str) -> None:
    whole = checkpoint(name, width=0.35 if name.startswith(("mobile", "efficient")) else 1.0)
    before = deepcopy(whole.model.state_dict())
    pruned = prune(whole, ChannelPruning(speedup=1.5))
    report, model = pruned.report, pruned.model.model
    assert report.macs_before >= 1.5 * report.macs_after
    assert report.macs_after == sum(count_macs(model, torch.zeros(1, 1, 28, 28)).values())
    assert report.parameters_after == sum(one.numel() for one in model.parameters()) < report.parameters_before
    assert all(width % 8 == 0 and width < report.widths[path] for path, width in report.kept.items())
    assert outputs(model).shape == (2, 10)
    assert pruned.model.plan is not None
    assert whole.architecture is not None
    fresh = apply_plan(create(whole.architecture), PruningPlan.from_json(pruned.model.plan.to_json())).eval()
    fresh.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(outputs(fresh), outputs(model))
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, before[key]), "the input model is never edited"


@pytest.mark.parametrize("name", ["cnn", "attention", "vit_tiny", "resnet8", "mobilenet_v3_small"])
def test_cutting_equals_torch_prunings_own(name: str) -> None:
    whole = checkpoint(name, width=0.35 if name.startswith("mobile") else 1.0)
    plan = prune(whole, ChannelPruning(speedup=1.4)).model.plan
    assert plan is not None
    theirs = deepcopy(whole.model).requires_grad_(True)
    images = torch.randn(1, 1, 28, 28)
    roots = [group.root for group in find_groups(whole.model, images)[0] if group.root in plan.out]
    graph = tp.DependencyGraph().build_dependency(theirs, (images,), verbose=False)
    for root in roots:
        layer = theirs.get_submodule(root)
        is_conv = isinstance(layer, nn.Conv2d)
        width = layer.out_channels if is_conv else layer.out_features
        function = tp.prune_conv_out_channels if is_conv else tp.prune_linear_out_channels
        gone = sorted(set(range(int(width))) - set(plan.out[root]))
        graph.get_pruning_group(layer, function, gone).prune()
    assert torch.equal(outputs(theirs), outputs(apply_plan(whole.model, plan)))


def test_removing_dead_channels_changes_nothing() -> None:
    whole = checkpoint("resnet8")
    dead = torch.arange(0, 16, 2)
    with torch.no_grad():
        for stage, width in (("layer1", 16), ("layer2", 32), ("layer3", 64)):
            block = whole.model.get_submodule(stage)[0]
            dead = torch.arange(0, width, 2)
            for tensor in (block.conv1.weight, block.bn1.weight, block.bn1.bias):
                tensor[dead] = 0
            block.conv2.weight[:, dead] = 0
    pruned = prune(whole, ChannelPruning(ratio=0.5)).model
    assert pruned.plan is not None
    assert pruned.plan.out["layer2.0.conv1"] == tuple(range(1, 32, 2))
    assert torch.allclose(outputs(pruned.model), outputs(whole.model), rtol=0, atol=1e-5)


def test_weakest_channels_go_first() -> None:
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 26 * 26, 10))
    strength = torch.arange(1.0, 17.0).flip(0)  # channel 0 is the strongest
    with torch.no_grad():
        model[0].weight.mul_(0).add_(strength[:, None, None, None])
        model[3].weight.fill_(0.01)
    plan = prune(of(model), ChannelPruning(ratio=0.5)).model.plan
    assert plan is not None
    assert plan.out == {"0": tuple(range(8))}
    assert plan.inputs == {"3": tuple(range(8 * 26 * 26))}


def test_pruning_twice_composes_the_plans() -> None:
    whole = checkpoint("resnet20")
    once = prune(whole, ChannelPruning(speedup=1.3)).model
    twice = prune(once, ChannelPruning(speedup=1.2)).model
    assert twice.plan is not None
    assert torch.equal(outputs(apply_plan(whole.model, twice.plan)), outputs(twice.model))
    assert [step["step"] for step in twice.spec.provenance.history] == ["prune", "prune"]


def test_stored_plan_cuts_another_copy_alike() -> None:
    whole = checkpoint("mobilenet_v2", width=0.35)
    first = prune(whole, ChannelPruning(speedup=1.5))
    assert first.model.plan is not None
    again = apply_to(whole, PruningPlan.from_json(first.model.plan.to_json()))
    assert torch.equal(outputs(again.model.model), outputs(first.model.model))
    assert again.model.plan == first.model.plan
    assert again.report.macs_after == first.report.macs_after


@pytest.mark.parametrize("name", ["vit_tiny", "resnet8"])
def test_same_model_same_plan(name: str) -> None:
    plans = [prune(checkpoint(name, width=0.5), ChannelPruning(speedup=1.4)).model.plan for _ in range(2)]
    assert plans[0] == plans[1]


def test_plan_of_another_model_is_refused() -> None:
    plan = prune(checkpoint("resnet20"), ChannelPruning(speedup=1.5)).model.plan
    assert plan is not None
    with pytest.raises(ModelError):
        apply_to(checkpoint("resnet8"), plan)
    with pytest.raises(ModelError, match="refuses its input"):  # the layer after it still takes all channels
        apply_to(checkpoint("resnet8"), PruningPlan(out={"layer1.0.conv1": (0, 1)}))


def test_residual_stream_with_zero_padded_shortcuts_is_left_alone() -> None:
    report = prune(checkpoint("resnet20"), ChannelPruning(speedup=1.5)).report
    assert set(report.left) == {"conv1", "linear"}
    assert all(path.endswith("conv1") and path != "conv1" for path in report.kept)


class Shifted(nn.Module):
    """Two convolutions whose channels meet one place apart: DepGraph takes the roll for elementwise."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 32, 3, padding=1)
        self.second = nn.Conv2d(32, 32, 3, padding=1)
        self.inner = nn.Conv2d(32, 32, 3, padding=1)
        self.last = nn.Conv2d(32, 32, 3, padding=1)
        self.linear = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images)
        features = self.second(features).roll(1, dims=1) + features
        return self.linear(self.last(self.inner(features).relu()).mean(dim=(2, 3)))


def test_groups_that_depgraph_gets_wrong_are_found_and_left() -> None:
    report = prune(of(Shifted()), ChannelPruning(ratio=0.5)).report
    assert report.kept == {"inner": 16, "last": 16}
    assert "linear" in report.left
    assert {"first", "second"} & set(report.left)


class Concatenated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(1, 16, 3, padding=1)
        self.right = nn.Conv2d(1, 32, 3, padding=1)
        self.norm = nn.BatchNorm2d(48)
        self.linear = nn.Linear(48, 10)

    def forward(self, images: Tensor) -> Tensor:
        joined = self.norm(torch.cat([self.left(images), self.right(images)], dim=1))
        return self.linear(joined.relu().mean(dim=(2, 3)))


def test_concatenated_branches_prune_on_their_own() -> None:
    whole = of(Concatenated())
    pruned = prune(whole, ChannelPruning(ratio=0.5))
    assert pruned.report.kept == {"left": 8, "right": 16}
    assert pruned.model.plan is not None
    assert len(pruned.model.plan.inputs["linear"]) == len(pruned.model.plan.out["norm"]) == 24


def test_training_mode_is_kept_and_statistics_are_not_touched() -> None:
    whole = checkpoint("resnet8")
    whole.model.train()
    mean = whole.model.get_buffer("bn1.running_mean").clone()
    pruned = prune(whole, ChannelPruning(speedup=1.2)).model
    assert pruned.model.training
    assert torch.equal(whole.model.get_buffer("bn1.running_mean"), mean)


@pytest.mark.parametrize("name", ["rnn", "rnn_gru"])
def test_recurrent_models_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match=r"recurrent layers cannot be pruned.*distil"):
        prune(checkpoint(name), ChannelPruning(speedup=1.5))


def test_nothing_to_prune_is_refused() -> None:
    with pytest.raises(ModelError, match="no channel of this model can be removed safely"):
        prune(of(nn.Sequential(nn.Flatten(), nn.Linear(784, 10))), ChannelPruning(speedup=1.5))


def test_unreachable_target_says_what_can_be_reached() -> None:
    whole = checkpoint("resnet8")
    with pytest.raises(ConfigError, match=r"at most \d+(\.\d+)? can be reached") as caught:
        prune(whole, ChannelPruning(speedup=50))
    most = float(caught.value.fix.split()[2])
    report = prune(whole, ChannelPruning(speedup=most)).report
    assert most <= report.macs_before / report.macs_after < most + 0.01


def test_ratio_that_removes_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="removes no channel"):
        prune(checkpoint("resnet8"), ChannelPruning(ratio=0.05))


@pytest.mark.parametrize(
    "fields",
    [{}, {"speedup": 2.0, "ratio": 0.5}, {"speedup": 1.0}, {"speedup": float("nan")}, {"ratio": 1.0}, {"ratio": 0.5, "round_to": 0}],
)
def test_meaningless_targets_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(ChannelPruning(speedup=2), **{"speedup": None, **fields})
    assert caught.value.problem
    assert caught.value.given
    assert caught.value.fix
