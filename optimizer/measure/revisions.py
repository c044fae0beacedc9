"""Compares a variant with an earlier revision's on the same rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact.manifest import Against
from optimizer.artifact.rows import Rows
from optimizer.artifact.task import METRIC, Task
from optimizer.errors import InvalidCheckpoint
from optimizer.measure.evaluation import Evaluation
from optimizer.measure.figures import SEED, estimate
from optimizer.metrics.comparison import compare, stated
from optimizer.metrics.scoring import scoring
from optimizer.recipe.trial import BaselineRef

# Their figures say how near a variant is to its own source: of two revisions they do not compare.
_OF_THE_SOURCE: tuple[Task, ...] = ("agreement", "embedding")


def compare_revisions(
    baseline: BaselineRef | None, evaluation: Evaluation, rows: Rows, rows_digest: str, task: Task
) -> Against | None:
    """How `evaluation`, of the rows whose digest is `rows_digest`, compares with the baseline's answers.

    None without a baseline, for tasks without labels, and where the two are not of the same rows and the same metric. A
    baseline whose answers cannot be read is no reason for a trial to fail.
    """
    if baseline is None or task in _OF_THE_SOURCE:
        return None
    if baseline.rows_digest != rows_digest or baseline.metric != METRIC[task]:
        return None
    try:
        earlier = Evaluation.load(baseline.evaluation)
    except InvalidCheckpoint:
        return None
    if not np.array_equal(earlier.rows, evaluation.rows) or earlier.statistics.shape != evaluation.statistics.shape:
        return None
    how, n = scoring(task), len(evaluation.rows)
    group: NDArray[Any] | None = None if rows.group is None else rows.group[evaluation.rows]
    paired = compare(how, evaluation.statistics, earlier.statistics, group, SEED)
    return Against(
        name=baseline.name,
        metric=estimate(how.metric, stated(how, earlier.statistics, group, SEED), n),
        difference=estimate(f"{how.metric} difference", paired.difference, n),
    )
