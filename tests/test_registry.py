"""One matrix over the registry: every model trains, prunes where its family allows, exports, quantizes, runs and is benchmarked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgerec.benchmarks import registry_round
from edgerec.benchmarks.candidates import open_candidate
from edgerec.benchmarks.scoring import score_files
from edgerec.compress import ChannelPruning, Quantization, prune, quantize
from edgerec.data import DataSet, from_arrays
from edgerec.export import to_onnx
from edgerec.graph import load_onnx, save_onnx
from edgerec.runtime import InputSpec, ModelSpec, Recognizer
from edgerec.runtime.errors import ModelError
from edgerec.runtime.preprocess import prepare_feeds
from edgerec.train import Output, Settings, cross_entropy, fit, fresh_checkpoint, load_checkpoint, save_checkpoint
from edgerec.train.models import MODELS, Architecture
from edgerec.train.settings import Optimizer

RECURRENT = {"rnn", "rnn_gru"}


@pytest.fixture(scope="module")
def stripes() -> DataSet:
    """Three classes that any of the models can learn a little of: where the bright stripe lies."""
    noise = np.random.default_rng(0)
    labels = np.arange(150) % 3
    images = noise.integers(0, 80, (150, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label * 9 : label * 9 + 9] += 150
    spec = InputSpec(28, 28, color="grey", mean=(0.3,), std=(0.3,))
    return from_arrays(
        "stripes",
        {"train": (images[:120], labels[:120]), "test": (images[120:], labels[120:])},
        labels=("top", "middle", "bottom"),
        spec=spec,
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_model_walks_the_whole_road(name: str, stripes: DataSet, tmp_path: Path) -> None:
    spec = ModelSpec((stripes.input,), stripes.labels)
    start = fresh_checkpoint(Architecture(name, classes=3, channels=1, size=28, width=0.5), spec)
    settings = Settings(epochs=1, batch_size=12, optimizer=Optimizer("adamw", 2e-3), precision="fp32")
    fitted = fit(
        start.model,
        stripes,
        cross_entropy(),
        settings,
        spec=start.spec,
        output=Output(tmp_path / "trained.safetensors", start.architecture),
    )
    assert np.isfinite(fitted.best.loss)
    trained = load_checkpoint(tmp_path / "trained.safetensors")

    if name in RECURRENT:
        with pytest.raises(ModelError, match="recurrent"):
            prune(trained, ChannelPruning(ratio=0.5))
        small = trained
    else:
        pruned = prune(trained, ChannelPruning(ratio=0.5))
        assert pruned.report.macs_after < pruned.report.macs_before
        small = pruned.model
    save_checkpoint(small, tmp_path / "small.safetensors")
    small = load_checkpoint(tmp_path / "small.safetensors")

    feeds = next(stripes.calibration.batches(4, spec.inputs)).feeds
    exported = to_onnx(small, tmp_path / "small.onnx", feeds)
    calibration = [prepare_feeds(batch.feeds, spec) for batch in stripes.calibration.batches(16, spec.inputs)]
    # At these widths int8 need not be faster; what is tested is that it works.
    result = quantize(load_onnx(exported.path), calibration, Quantization(speed="int8"))
    assert not result.report.is_float
    save_onnx(result.model, tmp_path / "small.int8.onnx")

    floating, integer = (open_candidate(tmp_path / file, provider="cpu", threads=1) for file in ("small.onnx", "small.int8.onnx"))
    scored = score_files([floating, integer], stripes.test)
    assert [one.accuracy.images for one in scored if one.accuracy] == [30, 30]
    images = prepare_feeds(next(stripes.test.batches(30, spec.inputs)).feeds, spec)
    assert sqnr_db(floating.predict(images), integer.predict(images)) > 20
    image = next(stripes.test.batches(1, spec.inputs)).feeds["input"][0]
    assert Recognizer.load(tmp_path / "small.int8.onnx").predict(image)[0].label in stripes.labels


def sqnr_db(expected: np.ndarray, found: np.ndarray) -> float:
    """Return how far the logits stand above the error, decibels; 0 dB is what zeros would give."""
    return float(10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum()))


def test_the_round_trains_the_whole_registry() -> None:
    assert set(registry_round.MODELS) == set(MODELS)


def test_a_plan_makes_the_same_model_of_other_weights(stripes: DataSet) -> None:
    spec = ModelSpec((stripes.input,), stripes.labels)
    architecture = Architecture("cnn", classes=3, channels=1, size=28)
    first, second = (fresh_checkpoint(architecture, spec, seed=seed) for seed in (0, 1))
    plan = prune(first, ChannelPruning(ratio=0.5)).model.plan
    assert plan is not None
    from edgerec.compress.pruning import apply_to

    again = apply_to(second, plan).model
    shapes = {key: value.shape for key, value in again.model.state_dict().items()}
    assert shapes == {key: value.shape for key, value in prune(first, ChannelPruning(ratio=0.5)).model.model.state_dict().items()}
    assert replace(again, model=first.model).plan == plan
