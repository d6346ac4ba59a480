"""Evaluation against logits computed by hand, on data in memory."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgerec.data.arrays import from_arrays
from edgerec.data.splits import DataSet
from edgerec.runtime.errors import DataError, ModelError
from edgerec.runtime.preprocess import prepare_feeds
from edgerec.runtime.spec import InputSpec, ModelSpec
from edgerec.train.evaluation import check_model, evaluate, evaluating, predict_fn

INPUT = InputSpec(4, 4, color="grey", mean=(0.5,), std=(0.5,))
SPEC = ModelSpec((INPUT,), ("dark", "bright"))


def images(labelled: bool = True) -> DataSet:
    """Dark images are class 0, bright ones class 1."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    pixels = (rng.integers(0, 100, (60, 4, 4)) + 150 * labels[:, None, None]).astype(np.uint8)
    return from_arrays("dots", {"train": (pixels, labels if labelled else None)}, labels=SPEC.labels, spec=INPUT)


class Brightness(nn.Module):
    """The mean of the normalised pixels is the logit of `bright`."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)

    def forward(self, pixels: Tensor) -> Tensor:
        mean = self.dropout(pixels).mean(dim=(1, 2, 3))
        return torch.stack([-mean, mean], dim=1)


def test_a_model_that_is_right() -> None:
    accuracy = evaluate(Brightness(), images().test, SPEC)
    assert accuracy.top1 == 1.0
    assert accuracy.recall == (1.0, 1.0)
    assert accuracy.images == len(images().test)


def test_logits_by_hand() -> None:
    pixels = next(images().validation.batches(9, (INPUT,))).feeds["input"]
    expected = ((pixels.astype(np.float64) / 255 - 0.5) / 0.5).mean(axis=(1, 2, 3))
    logits = predict_fn(Brightness().train())(prepare_feeds({"input": pixels}, SPEC))
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, np.stack([-expected, expected], axis=1), atol=1e-6)


def test_every_module_keeps_its_mode() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), Brightness()).train()
    model[0].eval()  # frozen
    evaluate(model, images().test, SPEC)
    assert [module.training for module in model.modules()] == [True, False, True, True]
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert model.training


def test_several_inputs_are_passed_in_order() -> None:
    class Difference(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return first - second

    feeds = {"a": np.array([[3.0, 1.0]], np.float32), "b": np.array([[1.0, 1.0]], np.float32)}
    assert predict_fn(Difference())(feeds).tolist() == [[2.0, 0.0]]


def test_no_labels() -> None:
    with pytest.raises(DataError, match="needs labels"):
        evaluate(Brightness(), images(labelled=False).test, SPEC)


def test_labels_outside_the_models_classes() -> None:
    class One(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            return pixels.flatten(1)[:, :1]

    with pytest.raises(DataError, match="label 1, 1 classes"):
        evaluate(One(), images().test, ModelSpec((INPUT,)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(5, 2), r"refuses its input: input \(2, 1, 4, 4\) \(mat1"),
        (nn.Identity(), r"one row of logits.*gave \(2, 1, 4, 4\)"),
        (nn.Flatten(), "16 logits, 2 labels"),
        (nn.Sequential(nn.Flatten(0), nn.Linear(32, 2)), r"gave \(2,\)"),
    ],
)
def test_a_model_that_does_not_fit_its_spec(model: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_model(model, SPEC)
