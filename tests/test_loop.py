"""The training loop: it learns, repeats itself bit for bit, survives a kill, and stops with a clear message."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgerec.data.arrays import from_arrays
from edgerec.data.splits import DataSet
from edgerec.runtime.errors import ConfigError, DataError, EdgerecError, ModelError, OutputError
from edgerec.runtime.spec import InputSpec, ModelSpec
from edgerec.train.augment import Policy
from edgerec.train.batches import TrainBatch, cross_entropy
from edgerec.train.checkpoint import Checkpoint, fresh_checkpoint, load_checkpoint
from edgerec.train.evaluation import evaluate
from edgerec.train.loop import Fitted, fit
from edgerec.train.models import Architecture
from edgerec.train.output import Output
from edgerec.train.run import Epoch
from edgerec.train.settings import Optimizer, Schedule, Settings
from edgerec.train.steps import Step
from edgerec.train.tensors import read_tensors, write_tensors

INPUT = InputSpec(12, 12, color="grey", mean=(0.4,), std=(0.3,))
SPEC = ModelSpec((INPUT,), ("across", "down"))
SETTINGS = Settings(epochs=2, batch_size=32, optimizer=Optimizer("adam", 0.003, 0.0), precision="fp32")


class Killed(BaseException):
    """What no code of ours may catch."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def stripes(count: int = 320, seed: int = 0) -> DataSet:
    """A bright row is class 0, a bright column class 1, on noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 120, (count, 12, 12))
    labels = rng.integers(0, 2, count)
    for image, label, at in zip(pixels, labels, rng.integers(0, 12, count), strict=True):
        (image if label == 0 else image.T)[at] += 120
    return from_arrays("stripes", {"train": (pixels.astype(np.uint8), labels)}, labels=SPEC.labels, spec=INPUT)


def start(seed: int = 0) -> Checkpoint:
    return fresh_checkpoint(Architecture("cnn", classes=2, channels=1, size=12, width=0.25), SPEC, seed=seed)


def train(
    path: Path | None = None, settings: Settings = SETTINGS, *, resume: bool = False, progress=None, policy: Policy | None = None
) -> Fitted:
    checkpoint = start()
    output = None if path is None else Output(path, checkpoint.architecture, resume=resume)
    return fit(checkpoint.model, stripes(), cross_entropy(), settings, spec=SPEC, output=output, progress=progress, policy=policy)


def weights(model: nn.Module) -> list[Tensor]:
    return list(model.state_dict().values())


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": Optimizer("sgd", 0.05, 5e-4, 0.9, clip_norm=1.0), "schedule": Schedule("one_cycle", 0.3)},
        {"optimizer": Optimizer("adamw", 0.003, 0.05), "ema_decay": 0.9, "label_smoothing": 0.1},
        {"precision": "bf16"},
    ],
    ids=["adam", "sgd", "ema", "bf16"],
)
def test_it_learns(changes: dict[str, object]) -> None:
    fitted = train(settings=replace(SETTINGS, epochs=40, **changes))
    assert evaluate(fitted.model, stripes(400, seed=1).train, SPEC).top1 > 0.9
    assert fitted.history[-1].loss < fitted.history[0].loss


def test_the_input_is_left_alone() -> None:
    checkpoint = start()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fit(checkpoint.model, stripes(), cross_entropy(), SETTINGS, spec=SPEC)
    assert same(checkpoint.model, start().model)
    assert torch.equal(torch.rand(1), expected), "the caller's random state"


def test_frozen_weights_stay() -> None:
    model = start().model
    model.conv1.requires_grad_(False)
    fitted = fit(model, stripes(), cross_entropy(), SETTINGS, spec=SPEC)
    assert torch.equal(fitted.model.conv1.weight, model.conv1.weight)
    assert not torch.equal(fitted.model.conv2.weight, model.conv2.weight)
    assert [one.requires_grad for one in fitted.model.parameters()] == [one.requires_grad for one in model.parameters()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir()}


def stop_in_epoch(number: int) -> Callable[[Step | Epoch], None]:
    """Return a `progress` that stands for Ctrl-C or a power cut."""

    def stop(record: Step | Epoch) -> None:
        if isinstance(record, Step) and record.epoch == number and record.step % 4 == 3:
            raise Killed

    return stop


def stopped(path: Path, settings: Settings = SETTINGS, epoch: int = 2, policy: Policy | None = None) -> None:
    with pytest.raises(Killed):
        train(path, settings, progress=stop_in_epoch(epoch), policy=policy)


def test_files_and_records(tmp_path: Path) -> None:
    seen: list[Step | Epoch] = []
    fitted = train(tmp_path / "a.safetensors", progress=seen.append)
    images = len(stripes().train)
    steps = images // 32
    assert names(tmp_path) == ["a.last.safetensors", "a.metrics.jsonl", "a.safetensors"]
    assert [record.step for record in seen] == [*range(1, steps + 1), steps, *range(steps + 1, 2 * steps + 1), 2 * steps]
    records = [json.loads(line) for line in (tmp_path / "a.metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    assert set(records[0]) == {"epoch", "step", "loss", "lr", "top1", "seconds", "images_per_s"}
    losses = [one.loss for one in seen if isinstance(one, Step)][:steps]
    assert records[0]["loss"] == pytest.approx(sum(losses) / steps)
    assert fitted.path == tmp_path / "a.safetensors"
    assert fitted.best == max(fitted.history, key=lambda epoch: epoch.top1)
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert same(loaded.model, fitted.model)
    assert loaded.spec == SPEC
    assert evaluate(loaded.model, stripes().validation, SPEC).top1 == fitted.best.top1


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(tmp_path / f"{name}.safetensors", policy=Policy(flip=True, crop_padding=0.1))
        torch.rand(3)  # whatever happens between
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert not same(train().model, train(settings=replace(SETTINGS, seed=1)).model)


@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_a_killed_run_continues_to_the_same_result(tmp_path: Path, epoch: int, method: str) -> None:
    settings = replace(SETTINGS, epochs=3, ema_decay=0.9, optimizer=Optimizer(method, 0.01))
    policy = Policy(flip=True, erasing=0.5)
    whole = train(tmp_path / "whole.safetensors", settings, policy=policy)
    path = tmp_path / "killed.safetensors"
    stopped(path, settings, epoch, policy)
    assert not path.exists(), "the result appears when the run is finished"
    kept = ["killed.best.safetensors", "killed.last.safetensors", "killed.metrics.jsonl", "killed.resume.safetensors"]
    assert [name for name in names(tmp_path) if not name.startswith("whole")] == (kept if epoch > 1 else [])
    resumed = train(path, settings, resume=True, policy=policy)
    for name in ("safetensors", "last.safetensors"):
        assert (tmp_path / f"whole.{name}").read_bytes() == (tmp_path / f"killed.{name}").read_bytes()
    assert same(resumed.model, whole.model)
    untimed = [[replace(one, seconds=0, images_per_s=0) for one in fitted.history] for fitted in (whole, resumed)]
    assert untimed[0] == untimed[1]


def test_a_finished_run_is_not_trained_over_by_resuming(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    train(path)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=r"nothing to resume.*finished.*without --resume"):
        train(path, replace(SETTINGS, seed=5), resume=True)
    assert before == contents(tmp_path)


def test_a_run_killed_before_it_publishes_does_so_when_resumed(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.safetensors", train(tmp_path / "whole.safetensors")

    def stop(record: Step | Epoch) -> None:
        if isinstance(record, Epoch) and record.epoch == SETTINGS.epochs:
            raise Killed

    with pytest.raises(Killed):
        train(path, progress=stop)
    assert not path.exists()
    again = train(path, resume=True)
    assert same(again.model, whole.model)
    assert path.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert not [one for one in names(tmp_path) if ".resume" in one or ".best" in one]


def test_resuming_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    stopped(path)
    with pytest.raises(ModelError, match=r"another one.*epochs 2 became 5.*--resume"):
        train(path, replace(SETTINGS, epochs=5), resume=True)
    output = Output(path, start().architecture, resume=True)
    with pytest.raises(ModelError, match="first weights"):
        fit(start(seed=7).model, stripes(), cross_entropy(), SETTINGS, spec=SPEC, output=output)
    with pytest.raises(ModelError, match="data"):
        fit(start().model, stripes(seed=1), cross_entropy(), SETTINGS, spec=SPEC, output=output)


@pytest.mark.parametrize(
    ("own", "other", "told"),
    [
        ('"processes": 1', '"processes": 2', "processes 2 became 1"),
        ("torch.float32", "torch.bfloat16", r"compute type torch.bfloat16 became torch.float32"),
    ],
)
def test_what_another_machine_began_is_refused_where_it_would_go_on_differently(tmp_path: Path, own: str, other: str, told: str) -> None:
    path = tmp_path / "a.safetensors"
    stopped(path)
    state, metadata = read_tensors(tmp_path / "a.resume.safetensors")
    assert metadata["resume"].count(own) == 1
    write_tensors(state, {"resume": metadata["resume"].replace(own, other)}, tmp_path / "a.resume.safetensors")
    with pytest.raises(ModelError, match=told):
        train(path, resume=True)


def test_a_damaged_resume_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    stopped(path)
    (tmp_path / "a.resume.safetensors").write_bytes((tmp_path / "a.last.safetensors").read_bytes())
    with pytest.raises(ModelError, match="does not continue a training"):
        train(path, resume=True)
    (tmp_path / "a.resume.safetensors").write_bytes(b"cut off")
    with pytest.raises(ModelError, match=r"not a whole \.safetensors"):
        train(path, resume=True)


def test_without_augmentation_the_batches_are_what_evaluation_sees() -> None:
    from edgerec.runtime.preprocess import normalize

    seen: dict[str, np.ndarray] = {}

    def loss(model: nn.Module, batch: TrainBatch) -> Tensor:
        assert not batch.augmented
        seen.update(zip(batch.ids, batch.images.numpy(), strict=True))
        return cross_entropy()(model, batch)

    data = stripes()
    for policy in (None, Policy()):
        seen.clear()
        fit(start().model, data, loss, replace(SETTINGS, epochs=1), spec=SPEC, policy=policy)
        batches = list(data.train.batches(1, (INPUT,)))
        expected = {batch.ids[0]: normalize(batch.feeds["input"], INPUT)[0] for batch in batches if batch.ids[0] in seen}
        assert len(expected) == len(data.train) // 32 * 32
        assert all((seen[name] == image).all() for name, image in expected.items())


def test_augmentation_and_mixed_labels_reach_the_loss() -> None:
    seen: list[TrainBatch] = []

    def loss(model: nn.Module, batch: TrainBatch) -> Tensor:
        seen.append(batch)
        return cross_entropy(0.1)(model, batch)

    fit(start().model, stripes(), loss, replace(SETTINGS, epochs=1), spec=SPEC, policy=Policy(mixup_alpha=0.4))
    assert all(batch.augmented for batch in seen)
    assert seen[0].labels.shape == (32, 2)
    torch.testing.assert_close(seen[0].labels.sum(dim=1), torch.ones(32))
    assert seen[0].images.min() >= (0 - 0.4) / 0.3 - 1e-5
    assert seen[0].images.max() <= (1 - 0.4) / 0.3 + 1e-5


def test_a_model_that_wants_its_channels_in_order_trains_in_bf16() -> None:
    class View(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = nn.Conv2d(1, 4, 3), nn.Linear(400, 2)  # 4 x 10 x 10 features

        def forward(self, images: Tensor) -> Tensor:
            features = self.conv(images)
            return self.linear(features.view(len(features), -1))

    fit(View(), stripes(), cross_entropy(), replace(SETTINGS, epochs=1, precision="bf16"), spec=SPEC)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops(tmp_path: Path, number: float) -> None:
    calls: list[int] = []

    def loss(model: nn.Module, batch: TrainBatch) -> Tensor:
        calls.append(1)
        return cross_entropy()(model, batch) * (number if len(calls) == 3 else 1)

    checkpoint = start()
    output = Output(tmp_path / "a.safetensors", checkpoint.architecture)
    with pytest.raises(ModelError, match=rf"not finite: loss {number} at step 3, lr .*lower the learning rate"):
        fit(checkpoint.model, stripes(), loss, SETTINGS, spec=SPEC, output=output)
    assert list(tmp_path.iterdir()) == []


def test_bad_input(tmp_path: Path) -> None:
    def refused(error: type[EdgerecError], message: str, **changes: object) -> None:
        given = {"model": start().model, "data": stripes(), "settings": SETTINGS, "spec": SPEC, "output": None, **changes}
        with pytest.raises(error, match=message):
            fit(loss=cross_entropy(), **given)

    unlabelled = from_arrays("dark", {"train": (np.zeros((40, 12, 12), np.uint8), None)}, spec=INPUT)
    three = from_arrays("three", {"train": (np.zeros((90, 12, 12), np.uint8), np.arange(90) % 3)}, spec=INPUT)
    refused(DataError, "labelled images", data=unlabelled)
    refused(DataError, "labels 0 to 2, 2 classes", data=three)
    refused(ModelError, "refuses its input", model=nn.Linear(3, 2))
    refused(ModelError, "2 logits, 3 labels", spec=replace(SPEC, labels=("a", "b", "c")))
    refused(ConfigError, "fp16 trains on GPUs only", settings=replace(SETTINGS, precision="fp16"))
    refused(OutputError, "does not exist", output=Output(tmp_path / "missing" / "a.safetensors", start().architecture))
    with pytest.raises(ConfigError, match=r"ends in \.safetensors"):
        Output(tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []
