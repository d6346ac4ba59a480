"""Distillation: the loss by hand, stored answers against live ones, and a student that really follows its teacher."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import pytest
import torch
from torch import Tensor, nn

from edgerec.compress import Distillation, distill
from edgerec.compress.distillation import distillation_loss
from edgerec.compress.teacher import CACHE_KIND, live_logits, open_teacher, stored_logits
from edgerec.data.arrays import from_arrays
from edgerec.data.splits import DataSet
from edgerec.graph.file import with_spec
from edgerec.runtime import cache
from edgerec.runtime.errors import ConfigError, ModelError
from edgerec.runtime.preprocess import normalize, prepare_feeds
from edgerec.runtime.spec import InputSpec, ModelSpec
from edgerec.train.augment import Policy
from edgerec.train.batches import TrainBatch, cross_entropy
from edgerec.train.checkpoint import Checkpoint, fresh_checkpoint
from edgerec.train.evaluation import predict_fn
from edgerec.train.loop import fit
from edgerec.train.models import Architecture
from edgerec.train.settings import Optimizer, Settings

INPUT = InputSpec(12, 12, color="grey", mean=(0.4,), std=(0.3,))
SPEC = ModelSpec((INPUT,), ("across", "down"))
SETTINGS = Settings(epochs=2, batch_size=32, optimizer=Optimizer("adam", 0.003, 0.0), precision="fp32")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def stripes(count: int = 320, *, useless: bool = False) -> DataSet:
    """A bright row is class 0, a bright column class 1, on noise; useless labels have nothing to do with the images."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 120, (count, 12, 12))
    labels = rng.integers(0, 2, count)
    for image, label, at in zip(pixels, labels, rng.integers(0, 12, count), strict=True):
        (image if label == 0 else image.T)[at] += 120
    labels = rng.permutation(labels) if useless else labels
    return from_arrays("stripes", {"train": (pixels.astype(np.uint8), labels)}, labels=SPEC.labels, spec=INPUT)


def net(seed: int, spec: ModelSpec = SPEC, classes: int = 2) -> Checkpoint:
    size = spec.input.height
    return fresh_checkpoint(Architecture("cnn", classes=classes, channels=1, size=size, width=0.25), spec, seed=seed)


def batch_of(data: DataSet, count: int = 8, *, augmented: bool = False) -> TrainBatch:
    raw = next(data.train.batches(count, (INPUT,)))
    assert raw.labels is not None
    images = torch.from_numpy(normalize(raw.feeds["input"], INPUT))
    return TrainBatch(images, torch.from_numpy(raw.labels), raw.ids, augmented)


class Fixed(nn.Module):
    """A student with the same answer to everything."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.from_numpy(logits))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_loss_by_hand() -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 5, 3)).astype(np.float32) * 3
    labels = np.array([0, 2, 1, 1, 0])
    temperature, alpha = 2.5, 0.7
    target, own = log_softmax(teacher / temperature), log_softmax(student / temperature)
    soft = (np.exp(target) * (target - own)).sum(axis=1).mean() * temperature**2
    hard = -log_softmax(student)[np.arange(5), labels].mean()
    loss = distillation_loss(Distillation(temperature, alpha))
    batch = TrainBatch(
        torch.zeros(5, 1, 2, 2), torch.from_numpy(labels), tuple("abcde"), augmented=False, answers=torch.from_numpy(teacher)
    )
    assert loss(Fixed(student), batch).item() == pytest.approx(alpha * soft + (1 - alpha) * hard, rel=1e-5)


def test_soft_gradient_keeps_its_size_when_the_temperature_is_high() -> None:
    """Hinton et al. 2015, equation 4: for high T and centred logits the gradient is (student - teacher) / classes, per image."""
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=(2, 4, 3)).astype(np.float32)
    student, teacher = student - student.mean(axis=1, keepdims=True), teacher - teacher.mean(axis=1, keepdims=True)
    model = Fixed(student)
    loss = distillation_loss(Distillation(temperature=500, alpha=1))
    answers = torch.from_numpy(teacher)
    loss(
        model, TrainBatch(torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64), tuple("abcd"), augmented=False, answers=answers)
    ).backward()
    assert model.logits.grad is not None
    assert model.logits.grad.numpy() == pytest.approx((student - teacher) / 3 / 4, abs=2e-3)


def test_stored_answers_equal_live_ones_and_survive_in_the_cache() -> None:
    data, teacher = stripes(), open_teacher(net(3), INPUT)
    batch = batch_of(data)
    live = live_logits(teacher, batch, INPUT)
    assert torch.allclose(stored_logits(teacher, data.train, data.fingerprint).of(batch), live, atol=1e-6)

    def never(images: np.ndarray) -> np.ndarray:
        raise AssertionError("the answers are in the cache")

    silent = replace(teacher, predict=never)
    assert torch.allclose(stored_logits(silent, data.train, data.fingerprint).of(batch), live, atol=1e-6)
    with pytest.raises(AssertionError, match="in the cache"):  # other images: other answers
        stored_logits(silent, data.validation, data.fingerprint)


def test_damaged_cache_entry_is_computed_again(own_cache: Path) -> None:
    data, teacher = stripes(), open_teacher(net(3), INPUT)
    first = stored_logits(teacher, data.train, data.fingerprint)
    (entry,) = (own_cache / CACHE_KIND).iterdir()
    entry.write_bytes(entry.read_bytes()[:100])
    again = stored_logits(teacher, data.train, data.fingerprint)
    assert torch.equal(first.logits, again.logits)


def test_teacher_with_its_own_normalisation_sees_the_same_pixels() -> None:
    data = stripes()
    own = replace(INPUT, mean=(10.0,), std=(50.0,), scale=1.0)
    teacher = open_teacher(net(3, ModelSpec((own,))), INPUT)
    batch = batch_of(data)
    raw = next(data.train.batches(8, (INPUT,)))
    expected = teacher.predict(normalize(raw.feeds["input"], own))
    assert live_logits(teacher, batch, INPUT).numpy() == pytest.approx(expected, abs=1e-4)


def linear_onnx(path: Path, *, softmax: bool, batch: int | str) -> np.ndarray:
    """Write flatten, dense, and maybe a softmax; return the weights (144, 2)."""
    weights = np.random.default_rng(0).normal(size=(144, 2)).astype(np.float32) / 12
    nodes = [onnx.helper.make_node("Flatten", ["pixels"], ["flat"]), onnx.helper.make_node("MatMul", ["flat", "w"], ["logits"])]
    if softmax:
        nodes.append(onnx.helper.make_node("Softmax", ["logits"], ["out"]))
    graph = onnx.helper.make_graph(
        nodes,
        "linear",
        [onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, [batch, 1, 12, 12])],
        [onnx.helper.make_tensor_value_info("out" if softmax else "logits", onnx.TensorProto.FLOAT, [batch, 2])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return weights


def test_a_file_that_says_what_its_scores_are_is_believed(tmp_path: Path) -> None:
    linear_onnx(tmp_path / "foreign.onnx", softmax=True, batch="n")
    image, seen = replace(INPUT, name="pixels"), batch_of(stripes())
    logits = {"foreign": live_logits(open_teacher(tmp_path / "foreign.onnx", INPUT), seen, INPUT)}
    for scores in ("probabilities", "logits"):
        onnx.save(with_spec(onnx.load(tmp_path / "foreign.onnx"), ModelSpec((image,), scores=scores)), tmp_path / f"{scores}.onnx")
        logits[scores] = live_logits(open_teacher(tmp_path / f"{scores}.onnx", INPUT), seen, INPUT)
    assert torch.equal(logits["probabilities"], logits["foreign"])
    assert torch.allclose(logits["logits"], logits["foreign"].exp())


def test_a_student_with_its_channels_last_shows_its_teacher_the_same_image() -> None:
    teacher, batch = open_teacher(net(3), INPUT), batch_of(stripes())
    last = replace(batch, images=batch.images.permute(0, 2, 3, 1))
    assert torch.equal(live_logits(teacher, last, replace(INPUT, layout="NHWC")), live_logits(teacher, batch, INPUT))


@pytest.mark.parametrize(("softmax", "batch"), [(False, "n"), (True, "n"), (False, 3)])
def test_onnx_file_teaches(tmp_path: Path, softmax: bool, batch: int | str) -> None:
    weights = linear_onnx(tmp_path / "teacher.onnx", softmax=softmax, batch=batch)
    teacher = open_teacher(tmp_path / "teacher.onnx", INPUT)
    seen = batch_of(stripes())
    logits = live_logits(teacher, seen, INPUT).numpy()
    expected = seen.images.numpy().reshape(8, 144) @ weights
    assert log_softmax(logits) == pytest.approx(log_softmax(expected), abs=1e-4)


def agreement(student: Checkpoint, teacher: Checkpoint, data: DataSet) -> float:
    feeds = prepare_feeds(next(data.test.batches(len(data.test), student.spec.inputs)).feeds, student.spec)
    ours, theirs = (predict_fn(one.model)(feeds) for one in (student, teacher))
    return float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())


@pytest.mark.parametrize("policy", [None, Policy(flip=True)])
def test_student_learns_from_the_teacher_what_useless_labels_do_not_say(policy: Policy | None) -> None:
    data, settings = stripes(960), replace(SETTINGS, epochs=8)
    teacher = replace(net(1), model=fit(net(1).model, data, cross_entropy(), settings, spec=SPEC).model)
    useless = replace(data, train=stripes(960, useless=True).train)
    distilled = distill(net(2), teacher, useless, Distillation(temperature=2, alpha=1.0), settings, policy=policy)
    alone = replace(net(2), model=fit(net(2).model, useless, cross_entropy(), settings, spec=SPEC, policy=policy).model)
    assert agreement(distilled.model, teacher, data) > 0.9
    assert agreement(alone, teacher, data) < 0.8
    last = distilled.model.spec.provenance.history[-1]
    assert (last["step"], last["temperature"]) == ("distill", 2)
    assert distilled.model.spec.provenance.data_fingerprint == useless.fingerprint


def test_alpha_zero_is_training_on_labels_bit_for_bit() -> None:
    data, student = stripes(), net(2)
    before = {name: tensor.clone() for name, tensor in student.model.state_dict().items()}
    distilled = distill(student, net(1), data, Distillation(alpha=0), SETTINGS)
    plain = fit(student.model, data, cross_entropy(), SETTINGS, spec=SPEC)
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(distilled.model.model.state_dict()[name], tensor)
        assert torch.equal(student.model.state_dict()[name], before[name]), "the student itself stays as it is"
    assert distilled.report.history[-1].loss == pytest.approx(plain.history[-1].loss)


def test_read_only_cache_only_costs_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path / "file"))
    (tmp_path / "file").touch()
    distill(net(2), net(1), stripes(), Distillation(), replace(SETTINGS, epochs=1))


def test_other_classes_are_refused() -> None:
    unlabelled = ModelSpec((INPUT,))
    with pytest.raises(ModelError, match="teacher 5, student 2"):
        distill(net(2), net(1, unlabelled, classes=5), stripes(), Distillation(), SETTINGS)


def test_the_same_classes_in_another_order_are_refused() -> None:
    turned = ModelSpec((INPUT,), ("down", "across"))
    with pytest.raises(ModelError, match=r"different labels: class 0 is 'down' and 'across'"):
        distill(net(2), net(1, turned), stripes(), Distillation(), SETTINGS)
    distill(net(2), net(1, ModelSpec((INPUT,))), stripes(), Distillation(), replace(SETTINGS, epochs=1))  # nobody knows: it may


def test_other_view_is_refused_with_augmentation_and_fine_without() -> None:
    larger = ModelSpec((replace(INPUT, height=16, width=16),), SPEC.labels)
    quick = replace(SETTINGS, epochs=1)
    with pytest.raises(ModelError, match="same augmented image"):
        distill(net(2), net(1, larger), stripes(), Distillation(), quick, policy=Policy(flip=True))
    distill(net(2), net(1, larger), stripes(), Distillation(), quick)


def test_file_that_is_no_teacher_is_refused(tmp_path: Path) -> None:
    (tmp_path / "teacher.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError):
        distill(net(2), tmp_path / "teacher.onnx", stripes(), Distillation(), SETTINGS)


@pytest.mark.parametrize("fields", [{"temperature": 0}, {"temperature": float("inf")}, {"alpha": 1.5}, {"alpha": float("nan")}])
def test_values_that_cannot_train_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError) as caught:
        Distillation(**fields)
    assert caught.value.problem
    assert caught.value.fix
