"""The registry's models: counts known from papers, shapes, laws, and the user's own factories."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from edgerec.runtime.errors import ConfigError, ModelError
from edgerec.train.models import MODELS, Architecture, create, load_factory
from edgerec.train.models.architecture import round_channels
from edgerec.train.models.attention import AttentionNet, AttentionPool
from edgerec.train.models.inverted_residual import SqueezeExcite
from edgerec.train.models.resnet import ZeroPadShortcut
from edgerec.train.models.rnn import RowReader
from edgerec.train.models.vit import SelfAttention

MOBILE = [name for name in MODELS if name.startswith(("mobilenet", "efficientnet"))]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def build(name: str, *, classes: int = 10, channels: int = 1, size: int = 28, width: float = 1.0) -> nn.Module:
    return create(Architecture(name, classes, channels, size, width))


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# --- sizes that are known from elsewhere


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("mobilenet_v2", 3_504_872),  # torchvision's documentation of its pretrained weights
        ("mobilenet_v3_small", 2_542_856),  # the same
        ("efficientnet_lite0", 4_652_008),  # timm's tf_efficientnet_lite0
        ("efficientnet_lite0_silu", 4_652_008),  # an activation has no weights
        ("vit_tiny", 5_717_416 - 2 * 192),  # DeiT-Tiny, without the class token and its position
    ],
)
def test_parameters_at_224_are_the_published_ones(name: str, published: int) -> None:
    assert parameters(build(name, classes=1000, channels=3, size=224)) == published


@pytest.mark.parametrize(("name", "blocks"), [("resnet8", 1), ("resnet20", 3), ("resnet32", 5), ("resnet56", 9)])
def test_parameters_of_resnets(name: str, blocks: int) -> None:
    def conv_bn(inputs: int, outputs: int) -> int:
        return 9 * inputs * outputs + 2 * outputs

    stages = [(16, 16), (16, 32), (32, 64)]
    by_hand = conv_bn(3, 16) + sum(conv_bn(i, o) + (2 * blocks - 1) * conv_bn(o, o) for i, o in stages) + 64 * 10 + 10
    assert parameters(build(name, channels=3, size=32)) == by_hand
    assert by_hand == {"resnet20": 269_722, "resnet56": 853_018}.get(name, by_hand)  # the paper's 0.27 M and 0.85 M


def test_blocks_of_each_stage() -> None:
    uneven = create(Architecture("resnet20", 10, blocks=(2, 3, 5)))
    assert [len(stage) for stage in (uneven.layer1, uneven.layer2, uneven.layer3)] == [2, 3, 5]
    even = create(Architecture("resnet20", 10, blocks=(9, 9, 9)))
    assert parameters(even) == parameters(create(Architecture("resnet56", 10)))


@pytest.mark.parametrize(
    ("name", "blocks", "told"),
    [
        ("cnn", (2, 2, 2), "only the ResNets"),
        ("resnet20", (2, 2), "3 stages"),
        ("resnet20", (2, 0, 2), "1 to 200"),
        ("resnet20", (2, 999, 2), "1 to"),
    ],
)
def test_blocks_that_no_model_has(name: str, blocks: tuple[int, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        create(Architecture(name, 10, blocks=blocks))


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("cnn", (9 * 32 + 32) + (9 * 32 * 64 + 64) + (7 * 7 * 64 * 64 + 64) + (64 * 10 + 10)),
        ("rnn", 4 * 128 * (28 + 128 + 2) + 128 * 10 + 10),  # four gates; PyTorch keeps two biases
        ("rnn_gru", 3 * 128 * (28 + 128 + 2) + 128 * 10 + 10),
        ("attention", (9 * 32 + 64) + (9 * 32 * 64 + 128) + (9 * 64 * 64 + 128) + (64 * 64 + 64) + 64 + (64 * 10 + 10)),
    ],
)
def test_parameters_of_small_models(name: str, by_hand: int) -> None:
    assert parameters(build(name)) == by_hand


@pytest.mark.parametrize(("name", "published_macs"), [("mobilenet_v2", 300e6), ("mobilenet_v3_small", 56e6)])  # the papers' tables
def test_multiply_accumulates_at_224(name: str, published_macs: float) -> None:
    macs = 0

    def count(module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal macs
        macs += output.numel() * module.get_parameter("weight")[0].numel()

    model = build(name, classes=1000, channels=3, size=224).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.inference_mode():
        model(torch.rand(1, 3, 224, 224))
    assert macs == pytest.approx(published_macs, rel=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_width_scales_the_parameters(name: str) -> None:
    half, full, twice = (parameters(build(name, width=width)) for width in (0.5, 1.0, 2.0))
    assert half < full < twice


@given(st.floats(0.1, 4096))
def test_rounded_channels(channels: float) -> None:
    rounded = round_channels(channels)
    assert rounded % 8 == 0
    assert rounded >= 8
    assert 0.9 * channels <= rounded <= max(8, channels + 8)


@given(st.integers(1, 512))
def test_multiples_of_eight_stay(eighths: int) -> None:
    assert round_channels(8 * eighths) == 8 * eighths


# --- what every model of the registry keeps


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
@pytest.mark.parametrize("name", MODELS)
def test_logits(name: str, channels: int, size: int) -> None:
    model = build(name, classes=7, channels=channels, size=size).eval()
    with torch.inference_mode():
        logits = model(torch.rand(2, channels, size, size))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()
    assert logits.abs().max() < 100  # a fresh model neither explodes nor needs a looser parity gate


@pytest.mark.parametrize("name", MODELS)
def test_logits_at_224(name: str) -> None:
    with torch.inference_mode():
        assert build(name, channels=3, size=224, width=0.5).eval()(torch.rand(1, 3, 224, 224)).shape == (1, 10)


@pytest.mark.parametrize(("size", "cells"), [(28, 2), (32, 2), (224, 7)])
@pytest.mark.parametrize("name", MOBILE)
def test_mobile_nets_end_at(name: str, size: int, cells: int) -> None:
    model = build(name, size=size, width=0.25).eval()
    seen: list[torch.Size] = []
    model.get_submodule("head").register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape))
    with torch.inference_mode():
        model(torch.rand(1, 1, size, size))
    assert seen[0][2:] == (cells, cells)


@pytest.mark.parametrize("name", MODELS)
def test_an_image_is_classified_alike_alone_and_in_a_batch(name: str) -> None:
    model = build(name).eval()
    images = torch.rand(3, 1, 28, 28)
    with torch.inference_mode():
        alone = torch.cat([model(image.unsqueeze(0)) for image in images])
        torch.testing.assert_close(model(images), alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_learns(name: str) -> None:
    model = build(name)
    nn.functional.cross_entropy(model(torch.rand(4, 1, 28, 28)), torch.arange(4)).backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.abs().max() > 0, path


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_decides_the_weights(name: str) -> None:
    torch.manual_seed(1)
    first = build(name).state_dict()
    torch.manual_seed(1)
    again = build(name).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_and_channels_last(name: str) -> None:
    model = build(name).eval()
    images = torch.rand(2, 1, 28, 28)
    with torch.inference_mode():
        expected = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    assert (logits.float() - expected).abs().max() < 0.1 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_leaves_the_images_alone(name: str) -> None:
    images = torch.rand(2, 1, 28, 28) - 0.5
    before = images.clone()
    build(name)(images)
    assert torch.equal(images, before)


# --- single parts against another implementation


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def weights_of(reader: RowReader) -> tuple[np.ndarray, ...]:
    state = reader.cell.state_dict()
    return tuple(state[f"{key}_l0"].double().numpy() for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


def lstm_state(rows: np.ndarray, reader: RowReader) -> np.ndarray:
    w, u, b, c = weights_of(reader)
    hidden = cell = np.zeros(u.shape[1])
    for row in rows:
        input_, forget, candidate, output = np.split(w @ row + b + u @ hidden + c, 4)
        cell = sigmoid(forget) * cell + sigmoid(input_) * np.tanh(candidate)
        hidden = sigmoid(output) * np.tanh(cell)
    return hidden


def gru_state(rows: np.ndarray, reader: RowReader) -> np.ndarray:
    w, u, b, c = weights_of(reader)
    hidden = np.zeros(u.shape[1])
    for row in rows:
        (reset_x, update_x, new_x), (reset_h, update_h, new_h) = np.split(w @ row + b, 3), np.split(u @ hidden + c, 3)
        update = sigmoid(update_x + update_h)
        hidden = (1 - update) * np.tanh(new_x + sigmoid(reset_x + reset_h) * new_h) + update * hidden
    return hidden


@pytest.mark.parametrize(("name", "last_state"), [("rnn", lstm_state), ("rnn_gru", gru_state)])
def test_rows_are_read_from_top_to_bottom(name: str, last_state: object) -> None:
    reader = build(name, channels=3, size=8, width=0.125)
    assert isinstance(reader, RowReader)
    assert callable(last_state)
    image = torch.rand(3, 8, 8)
    rows = np.stack([image[:, y, :].flatten().double().numpy() for y in range(8)])
    expected = reader.linear.weight.detach().double().numpy() @ last_state(rows, reader) + reader.linear.bias.detach().double().numpy()
    np.testing.assert_allclose(reader(image.unsqueeze(0))[0].detach().numpy(), expected, atol=1e-5)


def test_attention_weights_are_shares() -> None:
    model = build("attention").eval()
    assert isinstance(model, AttentionNet)
    images = torch.rand(3, 1, 28, 28)
    logits, weights = model(images, return_weights=True)
    assert weights.shape == (3, 7 * 7)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))
    assert torch.equal(logits, model(images))


def test_attention_pool_is_the_formula() -> None:
    pool = AttentionPool(features=4, hidden=3)
    patches = torch.rand(1, 5, 4)
    w, b, v = pool.project.weight, pool.project.bias, pool.score.weight[0]
    energies = torch.stack([v @ torch.tanh(w @ x + b) for x in patches[0]]).exp()
    shares = energies / energies.sum()
    pooled, weights = pool(patches)
    torch.testing.assert_close(weights[0], shares)
    torch.testing.assert_close(pooled[0], sum((a * x for a, x in zip(shares, patches[0], strict=True)), torch.zeros(4)))


def test_self_attention_is_pytorchs() -> None:
    ours = SelfAttention(channels=24, heads=3)
    theirs = nn.MultiheadAttention(24, 3, batch_first=True)
    own = ours.state_dict()
    names = {
        "in_proj_weight": "qkv.weight",
        "in_proj_bias": "qkv.bias",
        "out_proj.weight": "project.weight",
        "out_proj.bias": "project.bias",
    }
    theirs.load_state_dict({key: own[name] for key, name in names.items()})
    tokens = torch.rand(2, 5, 24)
    torch.testing.assert_close(ours(tokens), theirs(tokens, tokens, tokens, need_weights=False)[0])


def test_zero_pad_shortcut() -> None:
    features = torch.arange(2 * 4 * 4.0).reshape(1, 2, 4, 4)
    result = ZeroPadShortcut(before=1, after=2)(features)
    assert result.shape == (1, 5, 2, 2)
    assert result[0, 1].tolist() == [[0, 2], [8, 10]]  # every second pixel of the first channel
    assert result[0, [0, 3, 4]].abs().sum() == 0


def test_squeeze_excite_scales_whole_channels() -> None:
    features = torch.rand(1, 16, 3, 3) + 0.1
    gates = SqueezeExcite(16)(features) / features
    assert ((gates >= 0) & (gates <= 1)).all()
    torch.testing.assert_close(gates, gates[:, :, :1, :1].expand_as(gates))


def test_resnet_keys_are_those_of_the_published_weights() -> None:
    keys = {key.rpartition(".")[0] for key in build("resnet8").state_dict()}
    inner = {f"layer{stage}.0.{part}" for stage in (1, 2, 3) for part in ("conv1", "bn1", "conv2", "bn2")}
    assert keys == {"conv1", "bn1", "linear"} | inner


# --- refusals


def test_unknown_name_lists_the_choices() -> None:
    with pytest.raises(ConfigError) as caught:
        create(Architecture("resnet21", classes=10))
    assert "resnet21" in caught.value.given
    assert all(name in caught.value.fix for name in MODELS)


@pytest.mark.parametrize(
    ("classes", "channels", "size", "width"),
    [(0, 3, 32, 1.0), (10, 0, 32, 1.0), (10, 3, 4, 1.0), (10, 3, 32, 0.0), (10, 3, 32, float("nan")), (10, 3, 32, float("inf"))],
)
def test_impossible_architectures(classes: int, channels: int, size: int, width: float) -> None:
    with pytest.raises(ConfigError) as caught:
        Architecture("cnn", classes, channels, size, width)
    assert caught.value.given
    assert caught.value.fix


def test_vit_needs_whole_patches() -> None:
    with pytest.raises(ConfigError, match="multiple of 4"):
        build("vit_tiny", size=30)


# --- the user's own models

USER_MODULE = """
from torch import nn
import {imported}

def build():
    return nn.Linear(2, 3)

def broken():
    raise RuntimeError("no weights here")

def number():
    return 7

constant = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "userpkg"
    package.mkdir()
    (package / "models.py").write_text(USER_MODULE.format(imported="math"))
    (package / "incomplete.py").write_text(USER_MODULE.format(imported="a_module_that_is_not_there"))
    (package / "failing.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))  # so that no test sees the modules of another
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_factory_of_the_current_folder() -> None:
    path = list(sys.path)
    model = load_factory("userpkg.models:build")()
    assert isinstance(model, nn.Linear)
    assert sys.path == path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("userpkg.models", "package.module:function"),
        (":build", "package.module:function"),
        ("userpkg.models:", "package.module:function"),
        ("userpkg..models:build", "package.module:function"),
        (".models:build", "package.module:function"),
        ("nowhere.models:build", "no module is named nowhere"),
        ("userpkg.model:build", "no module is named userpkg.model"),
        ("userpkg.models:builds", "it has broken, build, number"),
        ("userpkg.models:constant", "constant is not a function"),
        ("userpkg.incomplete:build", "a_module_that_is_not_there"),
        ("userpkg.failing:build", "ZeroDivisionError"),
    ],
)
def test_factories_that_cannot_be_imported(name: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_factory(name)
    assert words in str(caught.value)
    assert name in caught.value.given
    assert caught.value.fix


@pytest.mark.usefixtures("folder")
def test_a_factory_that_raises_is_named_and_chained() -> None:
    with pytest.raises(ModelError, match="RuntimeError: no weights here") as caught:
        load_factory("userpkg.models:broken")()
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert caught.value.given == "userpkg.models:broken"


@pytest.mark.usefixtures("folder")
def test_a_factory_that_returns_something_else() -> None:
    with pytest.raises(ModelError, match="returned int"):
        load_factory("userpkg.models:number")()


def test_the_package_is_lazy() -> None:
    code = "import sys, edgerec.train.models; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


# --- real weights, where they are

WEIGHTS = Path(os.environ.get("EDGEREC_TEST_MODELS", ""))
CIFAR10 = Path(os.environ.get("EDGEREC_TEST_CIFAR10", "~/.cache/edgerec/data/cifar10.npz")).expanduser()


def require(path: Path, what: str, variable: str) -> Path:
    if not path.is_file():
        pytest.skip(f"{what} is absent: {path.name}; say where with {variable}")
    return path


def correct(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        batches = zip(images.split(250), labels.split(250), strict=True)
        return sum(int((model((batch / 255 - mean) / std).argmax(dim=1) == own).sum()) for batch, own in batches)


@pytest.mark.parametrize(("name", "top1_percent"), [("resnet20", 91.73), ("resnet56", 93.39)])
def test_published_weights_reach_their_accuracy(name: str, top1_percent: float) -> None:
    from safetensors.torch import load_file

    weights = require(WEIGHTS / f"cifar10-{name}.safetensors", f"the weights of {name}", "EDGEREC_TEST_MODELS, a folder")
    data = np.load(require(CIFAR10, "CIFAR-10", "EDGEREC_TEST_CIFAR10, an .npz"))
    model = build(name, channels=3, size=32).eval()
    model.load_state_dict(load_file(weights), strict=True)
    images = torch.from_numpy(data["x_test"]).permute(0, 3, 1, 2)
    labels = torch.from_numpy(data["y_test"].astype(np.int64)).flatten()
    assert correct(model, images, labels) == pytest.approx(100 * top1_percent, abs=1)  # of 10,000; a tie may fall either way
