"""Which further figures each task has, and what they are of."""

import numpy as np
import pytest

from optimizer.artifact.rows import Rows
from optimizer.artifact.task import Task
from optimizer.measure.evaluation import Evaluation
from optimizer.measure.secondary import secondary_of
from optimizer.metrics.details import details

_ROWS = 60


def evaluated(task: Task, answers: np.ndarray, truth: np.ndarray, prediction: np.ndarray | None) -> Evaluation:
    return Evaluation(np.arange(_ROWS), np.zeros((_ROWS, 1)), prediction, details(answers, truth, task))


def names(task: Task, rows: Rows, evaluation: Evaluation, source: Evaluation | None = None) -> dict[str, float]:
    found = secondary_of(evaluation, source, task, rows, np.arange(_ROWS), 0)
    for one in found:
        assert one.low <= one.value <= one.high
        assert one.n == _ROWS
    return {one.name: one.value for one in found}


def test_classes() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 12, _ROWS)
    scores = random.normal(size=(_ROWS, 12)) + 3 * np.eye(12)[labels]
    own = evaluated("classification", scores, labels, scores.argmax(1))
    rows = Rows({"x": scores}, labels)
    assert list(names("classification", rows, own)) == ["macro_f1", "top5", "calibration_error"]
    flipped = scores.copy()
    flipped[:15] *= -1
    other = evaluated("classification", flipped, labels, flipped.argmax(1))
    right = own.prediction == labels
    found = names("classification", rows, other, own)
    assert found["negative_flips"] == pytest.approx(np.count_nonzero(right[:15]) / _ROWS)
    assert "top5" not in names(
        "classification", rows, evaluated("classification", scores[:, :5], labels % 5, labels % 5)
    )


def test_two_classes() -> None:
    labels = np.arange(_ROWS) % 2
    scores = np.where(np.arange(_ROWS) % 3 == 0, -1.0, 1.0)[:, None]
    found = names("binary", Rows({"x": scores}, labels), evaluated("binary", scores, labels, (scores[:, 0] > 0) * 1))
    assert list(found) == ["accuracy", "f1", "calibration_error"]
    assert found["accuracy"] == 0.5


def test_numbers_and_labels() -> None:
    random = np.random.default_rng(1)
    truth = random.normal(size=(_ROWS, 2)).astype(np.float32)
    own = evaluated("regression", truth, truth, truth + np.float32(0.5))
    found = names("regression", Rows({"x": truth}, truth), own, own)
    assert list(found) == ["mae", "r2"]
    assert found["mae"] == pytest.approx(0.5, rel=1e-5)
    wanted = (truth > 0).astype(np.int64)
    assert names(
        "multilabel", Rows({"x": truth}, wanted), evaluated("multilabel", truth, wanted, wanted.astype(np.uint8))
    ) == {"macro_f1": 1.0}


def test_tokens() -> None:
    truth = np.tile(np.array([0, 1, 2, -100]), (_ROWS, 1))
    said = np.where(truth == 2, 1, np.abs(truth)).astype(np.int32)
    rows = Rows({"x": truth}, truth)
    source = evaluated("token_classification", truth, truth, truth.astype(np.int32))
    found = names("token_classification", rows, evaluated("token_classification", truth, truth, said), source)
    assert found["negative_flips"] == pytest.approx(1 / 3)
    assert found["macro_f1"] == pytest.approx((1 + 2 / 3) / 3)
    answers = np.eye(4)[np.roll(np.abs(truth) % 4, -1, axis=1)]
    model = Evaluation(np.arange(_ROWS), np.zeros((_ROWS, 2)), None, details(answers, truth, "causal_lm"))
    assert names("causal_lm", rows, model) == {"next_token_accuracy": 1.0}


def test_what_has_no_labels_or_no_predictions_has_no_more_figures() -> None:
    rows = Rows({"x": np.zeros((_ROWS, 1))}, np.zeros(_ROWS, np.int64))
    bare = Evaluation(np.arange(_ROWS), np.zeros((_ROWS, 1)))
    assert names("classification", rows, bare) == {}
    assert names("agreement", rows.unlabelled(), bare) == {}
