"""Judges over a made-up data set and files of one node whose right answers are known."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnx.parser
import pytest

from edgerec.compress.quantization.budget import Budget, Proposal
from edgerec.compress.quantization.judges import judge_by, judge_top1
from edgerec.data.arrays import from_arrays
from edgerec.data.splits import Batch, Split
from edgerec.graph.execution import open_model
from edgerec.runtime.errors import ConfigError, DataError, ModelError
from edgerec.runtime.session import Session
from edgerec.runtime.spec import InputSpec, ModelSpec

SPEC = ModelSpec((InputSpec(2, 2, color="grey", scale=1.0, mean=(0.0,), std=(1.0,)),))
IMAGE = '<ir_version: 8, opset_import: ["" : 17]> net (float[N, 1, 2, 2] input) => (float[N, 1, 2, 2] y) { y = Neg (input) }'
ALL = Proposal(frozenset({"a"}), 1.0, 1.0)


def net(body: str, batch: str = "N", width: int = 3) -> Session:
    text = f'<ir_version: 8, opset_import: ["" : 17]> net (float[{batch}, 1, 2, 2] input) => (float[{batch}, {width}] logits) {{ {body} }}'
    return open_model(onnx.parser.parse_model(text))


def wrong_below(limit: float, batch: str = "N") -> Session:
    """Says class 1 for pictures of at least this grey level, and else class 0."""
    return net(
        f"""
        weight = Constant <value = float[4, 3] {{ 0, 0.25, -1000, 0, 0.25, -1000, 0, 0.25, -1000, 0, 0.25, -1000 }}> ()
        bias = Constant <value = float[3] {{ 0, -{limit}, 0 }}> ()
        flat = Flatten (input)
        logits = Gemm (flat, weight, bias)
        """,
        batch,
    )


def pictures(count: int, labelled: bool = True, classes: int = 3) -> Split:
    """All of class 1; the grey levels are 1 to 100, each as often."""
    levels = (np.arange(count) % 100 + 1).astype(np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (count, 2, 2, 1)).copy()
    labels = np.full(count, classes - 2) if labelled else None
    return from_arrays("levels", {"train": (images, labels)}, labels=[str(one) for one in range(classes)]).train


@pytest.mark.parametrize("batch", ["N", "7"])
@pytest.mark.parametrize("labelled", [True, False])
def test_top1_and_agreement(labelled: bool, batch: str) -> None:
    images = pictures(6000, labelled)
    opened: list[Proposal] = []

    def candidate(proposal: Proposal) -> Session:
        opened.append(proposal)
        return wrong_below(10.5, batch)

    judge = judge_top1(wrong_below(0.5, batch), candidate, images, SPEC, Budget(max_drop=5))
    verdict = judge(ALL, 0.05)
    assert opened == [ALL]
    assert verdict.decision == "outside"
    assert verdict.drop_points == pytest.approx(10, abs=4), "grey levels 1 to 10 of 100"
    assert verdict.images < len(images)
    same = judge_top1(wrong_below(0.5, batch), lambda _one: wrong_below(0.5, batch), images, SPEC, Budget(max_drop=1))
    assert same(ALL, 0.05).decision == "inside"


def test_scores_and_numbers_of_the_users() -> None:
    images = pictures(3000)

    def right(outputs: Mapping[str, np.ndarray], batch: Batch) -> np.ndarray:
        return outputs["logits"].argmax(axis=1) == batch.labels

    def share(outputs: Mapping[str, np.ndarray], batch: Batch) -> float:
        return float(right(outputs, batch).mean())

    for metric in (right, share):
        for batch in ("N", "7"):
            judge = judge_by(metric, wrong_below(0.5, batch), lambda _one: wrong_below(10.5, "N"), images, SPEC, Budget(max_drop=0.05))
            verdict = judge(ALL, 0.05)
            assert verdict.decision == "outside"
            assert verdict.drop_points == pytest.approx(0.1, abs=0.02)


def test_bad_input_is_refused() -> None:
    images, good, budget = pictures(50), wrong_below(0.5), Budget()
    with pytest.raises(DataError, match="a label is outside the classes"):
        judge_top1(good, lambda _one: good, pictures(50, classes=7), SPEC, budget)
    with pytest.raises(ModelError, match="returned NaN"):
        judge_top1(net("f = Flatten (input) n = Neg (f) logits = Sqrt (n)", width=4), lambda _one: good, images, SPEC, budget)
    with pytest.raises(ModelError, match="--metric"):
        judge_top1(open_model(onnx.parser.parse_model(IMAGE)), lambda _one: good, images, SPEC, budget)


def test_a_metric_that_changes_its_mind_is_refused() -> None:
    images, good = pictures(50), wrong_below(0.5)
    answers: list[object] = [np.ones(len(images)), 1.0]
    judge = judge_by(lambda _outputs, _batch: answers.pop(0), good, lambda _one: good, images, SPEC, Budget())
    with pytest.raises(ConfigError, match="array first and a number later"):
        judge(ALL, 0.05)
