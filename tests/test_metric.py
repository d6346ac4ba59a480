"""The user's metric: found, called with what it needs, and blamed for what it does wrong."""

from pathlib import Path

import numpy as np
import pytest

from edgerec.benchmarks.metric import Answers, collect, load_metric, score_images, score_set
from edgerec.data.splits import Batch
from edgerec.runtime.errors import ConfigError, DataError

USER = """
import numpy as np

def right():
    return lambda outputs, batch: outputs["logits"].argmax(axis=1) == batch.labels

def no_metric():
    return 3

def late():
    def metric(outputs, batch):
        raise KeyError(batch.ids[0])
    return metric
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_metric_of_tests.py").write_text(USER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answers(*predicted: int, labels: tuple[int, ...] | None = (0, 1, 2)) -> Answers:
    count = len(predicted)
    batch = Batch(
        {"image": np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)},
        None if labels is None else np.array(labels[:count]),
        tuple(f"image {number}" for number in range(count)),
    )
    return Answers({"logits": np.eye(3, dtype=np.float32)[list(predicted)]}, batch)


@pytest.mark.usefixtures("user")
def test_scores_of_images_by_hand() -> None:
    metric = load_metric("my_metric_of_tests:right")
    scores = score_images(metric, [answers(0, 1, 1), answers(1, 1)])
    assert scores is not None
    assert scores.tolist() == [1, 1, 0, 0, 1]


def test_a_number_for_a_set_and_resampled_rows() -> None:
    whole = collect([answers(0, 1, 1), answers(1, 1)])

    def share(outputs: object, batch: Batch) -> float:
        assert outputs is not None
        return float(len(set(batch.ids)) + batch.feeds["image"].sum())

    assert score_images(share, [whole]) is None
    assert score_set(share, whole) == 3 + (0 + 1 + 2 + 0 + 1)
    taken = whole.take(np.array([2, 2, 3]))
    assert taken.batch.ids == ("image 2", "image 2", "image 0")
    assert taken.batch.labels is not None
    assert taken.batch.labels.tolist() == [2, 2, 0]
    assert taken.outputs["logits"].argmax(axis=1).tolist() == [1, 1, 1]
    assert score_set(share, taken) == 2 + 4


def test_images_without_labels() -> None:
    part = answers(0, 1, labels=None)
    assert collect([part, part]).batch.labels is None
    assert part.take(np.array([0])).batch.labels is None


@pytest.mark.usefixtures("user")
def test_bad_metrics_are_named() -> None:
    with pytest.raises(ConfigError, match="must return the metric"):
        load_metric("my_metric_of_tests:no_metric")
    with pytest.raises(ConfigError, match="right"):
        load_metric("my_metric_of_tests:wrong")
    with pytest.raises(ConfigError, match="no module"):
        load_metric("no_such_module_of_tests:wrong")
    with pytest.raises(ConfigError, match="the metric raised KeyError: 'image 0'"):
        score_images(load_metric("my_metric_of_tests:late"), [answers(0, 1)])


def test_bad_scores_are_refused() -> None:
    with pytest.raises(ConfigError, match="one number, or one an image"):
        score_images(lambda _outputs, _batch: np.ones(2), [answers(0, 1, 1)])
    with pytest.raises(ConfigError, match="one number, or one an image"):
        score_images(lambda outputs, _batch: outputs["logits"], [answers(0, 1, 1)])
    with pytest.raises(ConfigError, match="NaN"):
        score_images(lambda _outputs, _batch: np.full(3, np.nan), [answers(0, 1, 1)])
    with pytest.raises(ConfigError, match="the metric raised"):
        score_set(lambda _outputs, _batch: "good", answers(0))
    with pytest.raises(ConfigError, match="array later"):
        score_set(lambda _outputs, batch: np.ones(len(batch.ids)), answers(0))
    for function in (collect, lambda parts: score_images(lambda _outputs, _batch: 1, parts)):
        with pytest.raises(DataError, match="at least one image"):
            function([])
