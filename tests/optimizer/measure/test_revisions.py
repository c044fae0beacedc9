from pathlib import Path

import numpy as np
import pytest

from optimizer.artifact.rows import Rows
from optimizer.measure.evaluation import Evaluation
from optimizer.measure.revisions import compare_revisions
from optimizer.recipe.trial import BaselineRef

_RIGHT = np.array([1, 1, 1, 0, 1, 0, 1, 1, 0, 1], dtype=float)[:, None]
_ROWS = Rows({"x": np.zeros((20, 2), np.float32)}, np.zeros(20, np.int64))
_INDICES = np.arange(5, 15)


@pytest.fixture
def baseline(tmp_path: Path) -> BaselineRef:
    """An earlier variant that had row 0 wrong and row 3 right."""
    earlier = _RIGHT.copy()
    earlier[[0, 1, 2]], earlier[3] = 0.0, 1.0
    path = tmp_path / "evaluation.npz"
    Evaluation(_INDICES, earlier).save(path)
    return BaselineRef(name="r1.int8", evaluation=path, rows_digest="same", metric="accuracy")


def test_revisions_are_compared_row_by_row(baseline: BaselineRef) -> None:
    found = compare_revisions(baseline, Evaluation(_INDICES, _RIGHT), _ROWS, "same", "classification")
    assert found is not None
    assert (found.name, found.metric.value, found.difference.n) == ("r1.int8", 0.5, 10)
    assert found.difference.value == pytest.approx(0.2)
    assert found.difference.low < 0.2 < found.difference.high


def test_only_the_same_rows_and_the_same_metric_are_compared(baseline: BaselineRef) -> None:
    mine = Evaluation(_INDICES, _RIGHT)
    assert compare_revisions(None, mine, _ROWS, "same", "classification") is None
    assert compare_revisions(baseline, mine, _ROWS, "other", "classification") is None
    assert compare_revisions(baseline, mine, _ROWS, "same", "multilabel") is None
    assert compare_revisions(baseline, Evaluation(_INDICES + 1, _RIGHT), _ROWS, "same", "classification") is None
    vague = baseline.model_copy(update={"metric": "agreement"})
    assert compare_revisions(vague, mine, _ROWS, "same", "agreement") is None


def test_answers_that_cannot_be_read_are_no_reason_to_fail(baseline: BaselineRef) -> None:
    baseline.evaluation.write_bytes(b"not an archive")
    assert compare_revisions(baseline, Evaluation(_INDICES, _RIGHT), _ROWS, "same", "classification") is None
