"""The metric by class and by column, against rows that are cut by hand."""

import math

import numpy as np
import pytest

from optimizer.artifact.manifest import Slice
from optimizer.artifact.rows import Rows
from optimizer.artifact.task import Task
from optimizer.measure.evaluation import Evaluation
from optimizer.measure.slices import MOST_VALUES, Sliced, slices_of
from optimizer.metrics.answers import predictions
from optimizer.metrics.scoring import scoring


def evaluated(task: Task, answers: np.ndarray, truth: np.ndarray) -> Evaluation:
    return Evaluation(np.arange(len(truth)), scoring(task).statistics(answers, truth), predictions(answers, task))


def sliced(
    task: Task, answers: np.ndarray, truth: np.ndarray, source: np.ndarray | None = None, **columns: np.ndarray
) -> Sliced:
    rows = Rows({"x": answers}, truth, slices=columns)
    theirs = None if source is None else evaluated(task, source, truth)
    found = slices_of(evaluated(task, answers, truth), theirs, task, rows, np.arange(len(truth)), 0)
    for one in found.slices:
        assert all(math.isfinite(value) for value in (one.metric.value, one.metric.low, one.metric.high))
        assert one.metric.low <= one.metric.value <= one.metric.high
    return found


def by_name(found: Sliced) -> dict[str, Slice]:
    return {f"{one.column}={one.value}": one for one in found.slices}


def test_classes_and_columns_beside_the_source() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    source = np.eye(3)[labels]
    answers = source.copy()
    answers[60:75] = [0, 0, 1]
    found = sliced("classification", answers, labels, source, language=np.array(["de", "fr"] * 50))
    slices = by_name(found)
    assert list(slices) == ["labels=0", "labels=1", "labels=2", "language=de", "language=fr"]
    one = slices["labels=1"]
    assert (one.metric.name, one.metric.value, one.metric.n, one.source) == ("accuracy", 0.5, 30, 1.0)
    assert slices["language=de"].metric.value == pytest.approx(1 - 8 / 50)
    assert found.worst == "labels=1"
    assert found.left_out == {}


def test_a_slice_of_a_few_rows_is_not_the_worst_for_its_bad_luck() -> None:
    labels = np.array([0] * 50 + [1] * 50 + [2])
    answers = np.eye(3)[labels]
    answers[50:90] = [1, 0, 0]
    answers[-1] = [1, 0, 0]
    found = sliced("classification", answers, labels)
    assert by_name(found)["labels=2"].metric.value == 0
    assert found.worst == "labels=1"


def test_the_rarest_of_many_values_are_counted_only() -> None:
    column = np.concatenate([np.arange(70), np.arange(20, 70)])
    found = sliced("regression", np.zeros((120, 1)), np.arange(120.0), number=column)
    told = {one.value for one in found.slices}
    assert len(told) == MOST_VALUES
    assert told == {str(value) for value in range(20, 70)}
    assert found.left_out == {"number": 20}
    assert found.worst is not None


def test_a_slice_of_one_class_has_no_area_and_is_left_out() -> None:
    labels = np.array([0, 1] * 20 + [1] * 10)
    where = np.array(["both"] * 40 + ["one"] * 10)
    found = sliced("binary", np.linspace(-1, 1, 50)[:, None], labels, place=where)
    assert list(by_name(found)) == ["place=both"]
    assert found.left_out == {"place": 1}


def test_labels_and_tokens_are_slices() -> None:
    wanted = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 0]])
    said = np.where(wanted > 0, 1.0, -1.0)
    said[0, 1] = 1.0
    found = sliced("multilabel", said, wanted, np.where(wanted > 0, 1.0, -1.0))
    assert by_name(found)["labels=1"].metric.value == pytest.approx(0.8)
    assert (by_name(found)["labels=1"].source, found.left_out) == (1.0, {"labels": 1})
    truth = np.array([[0, 1, -100], [1, 1, -100], [0, -100, -100]])
    answers = np.eye(2)[np.array([[0, 1, 0], [0, 1, 0], [0, 0, 0]])]
    tokens = by_name(sliced("token_classification", answers, truth))
    assert tokens["labels=1"].metric.value == pytest.approx(2 / 3)
    assert (tokens["labels=1"].metric.n, tokens["labels=0"].metric.n) == (2, 2)


def test_without_labels_and_columns_nothing_is_cut() -> None:
    found = sliced("regression", np.zeros((12, 1)), np.ones(12))
    assert found == Sliced()
