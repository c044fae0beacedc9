"""Quality of answers: shapes that hold class scores, and those that do not."""

import numpy as np
import pytest

from optimizer.errors import PassFailed
from optimizer.metrics.quality import pair, predicted_classes, right


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1, 1), (2, 1, 3)])
def test_axes_of_size_one_do_not_count(shape: tuple[int, ...]) -> None:
    scores = np.array([[0.0, 2.0, 1.0], [5.0, 2.0, 1.0]], np.float32).reshape(shape)
    assert predicted_classes(scores, 2).tolist() == [1, 0]


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1, 1)])
def test_a_single_row_may_lack_its_axis(shape: tuple[int, ...]) -> None:
    assert predicted_classes(np.array([0.0, 2.0, 1.0], np.float16).reshape(shape), 1).tolist() == [1]


@pytest.mark.parametrize(
    ("scores", "rows", "words"),
    [
        (np.zeros((2, 3, 4)), 2, "one score a class"),
        (np.zeros((3, 4)), 2, "one score a class"),
        (np.zeros((1, 3, 4)), 1, "one score a class"),
        (np.zeros((4, 1)), 4, "one score a row"),
        (np.zeros(1), 1, "one score a row"),
        (np.array([[0.0, 1.0], [np.nan, 0.0]]), 2, "first in row 1"),
        (np.array([[0.0, np.inf]]), 1, "NaN or infinite"),
    ],
)
def test_other_answers_are_no_class_scores(scores: np.ndarray, rows: int, words: str) -> None:
    with pytest.raises(PassFailed, match=words):
        predicted_classes(scores, rows)


def test_pairs_count_rows_on_both_sides() -> None:
    truth = np.array([0, 1, 2, 3, 4])
    mine, theirs = right(np.array([0, 1, 9, 3, 9]), truth), right(np.array([0, 9, 2, 3, 9]), truth)
    counts = pair(mine, theirs)
    assert (counts.n, counts.both, counts.gained, counts.lost) == (5, 2, 1, 1)
    assert counts.value == counts.source_value == 0.6
    with pytest.raises(ValueError, match="rows against"):
        pair(mine, theirs[:2])
