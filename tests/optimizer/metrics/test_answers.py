"""Answers in the form of their task: shapes that hold scores, and those that do not."""

import numpy as np
import pytest

from optimizer.artifact.task import Task
from optimizer.errors import PassFailed
from optimizer.metrics.answers import finite, predicted_classes, predictions, shaped


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1, 1), (2, 1, 3)])
def test_axes_of_size_one_do_not_count(shape: tuple[int, ...]) -> None:
    scores = np.array([[0.0, 2.0, 1.0], [5.0, 2.0, 1.0]], np.float32).reshape(shape)
    assert predicted_classes(shaped(scores, 2, "classification")).tolist() == [1, 0]


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1, 1)])
def test_a_single_row_may_lack_its_axis(shape: tuple[int, ...]) -> None:
    scores = np.array([0.0, 2.0, 1.0], np.float16).reshape(shape)
    assert predicted_classes(shaped(scores, 1, "classification")).tolist() == [1]


@pytest.mark.parametrize(
    ("scores", "rows", "task", "words"),
    [
        (np.zeros((2, 3, 4)), 2, "classification", "one score a class"),
        (np.zeros((3, 4)), 2, "agreement", "one score a class"),
        (np.zeros((1, 3, 4)), 1, "classification", "one score a class"),
        (np.zeros((4, 1)), 4, "classification", "one score a row"),
        (np.zeros(1), 1, "classification", "one score a row"),
        (np.zeros((4, 3)), 4, "binary", "one for each of two classes"),
        (np.zeros((4, 3)), 4, "causal_lm", "a token of the vocabulary"),
        (np.zeros((4, 3, 1)), 4, "token_classification", "a class for each token"),
    ],
)
def test_other_answers_are_refused(scores: np.ndarray, rows: int, task: Task, words: str) -> None:
    with pytest.raises(PassFailed, match=words):
        shaped(scores, rows, task)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_named_by_row(bad: float) -> None:
    with pytest.raises(PassFailed, match=r"NaN or infinite values .first in row 1"):
        finite(np.array([[0.0, 1.0], [bad, 0.0]]))


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_one_number_a_row_is_an_answer_where_the_task_has_such(task: Task) -> None:
    assert shaped(np.array([1.0, -1.0]), 2, task).shape == (2, 1)


def test_what_each_task_says() -> None:
    two = np.array([[0.0, 1.0], [2.0, 1.0]])
    assert predictions(two, "classification").tolist() == [1, 0]  # type: ignore[union-attr]
    assert predictions(two, "binary").tolist() == [1, 0]  # type: ignore[union-attr]
    assert predictions(two - 1, "multilabel").tolist() == [[0, 0], [1, 0]]  # type: ignore[union-attr]
    assert predictions(two[None], "causal_lm").tolist() == [[1, 0]]  # type: ignore[union-attr]
    assert predictions(two, "embedding") is None
