"""Quality as a manifest states it: the metric, the source's, their difference, and how often the two say the same."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact.manifest import Estimate
from optimizer.artifact.rows import Rows
from optimizer.artifact.task import METRIC, Task
from optimizer.measure.evaluation import Evaluation
from optimizer.measure.secondary import secondary_of
from optimizer.measure.truth import counted
from optimizer.metrics.comparison import Paired, compare, mcnemar, stated
from optimizer.metrics.intervals import Interval
from optimizer.metrics.scoring import scoring

# Of the bootstrap: the same answers always have the same intervals.
SEED = 0


@dataclass(frozen=True)
class Quality:
    """The figures, and the comparison behind them (None for the source itself)."""

    metric: Estimate
    source_metric: Estimate | None = None
    difference: Estimate | None = None
    agreement: Estimate | None = None
    # Exact two-sided p-value of McNemar's test; of metrics that are a share of right rows.
    p_value: float | None = None
    secondary: tuple[Estimate, ...] = ()
    paired: Paired | None = None


def quality_of(
    evaluation: Evaluation, source: Evaluation | None, task: Task, rows: Rows, indices: NDArray[np.int64]
) -> Quality:
    """The figures of a model's evaluation on the rows `indices`, beside the source's on the same rows."""
    how = scoring(task)
    group = None if rows.group is None else rows.group[indices]
    n = len(indices)
    metric = estimate(how.metric, stated(how, evaluation.statistics, group, SEED), n)
    secondary = secondary_of(evaluation, source, task, rows, indices, SEED)
    if source is None:
        return Quality(metric, secondary=secondary)
    paired = compare(how, evaluation.statistics, source.statistics, group, SEED)
    return Quality(
        metric=metric,
        source_metric=estimate(how.metric, stated(how, source.statistics, group, SEED), n),
        difference=estimate(f"{METRIC[task]} difference", paired.difference, n),
        agreement=_agreement(evaluation, source, task, rows, indices, group),
        p_value=None if paired.counts is None else mcnemar(paired.counts),
        secondary=secondary,
        paired=paired,
    )


def estimate(name: str, interval: Interval, n: int) -> Estimate:
    """A figure for the manifest."""
    return Estimate(name=name, value=interval.value, low=interval.low, high=interval.high, n=n)


def _agreement(
    evaluation: Evaluation,
    source: Evaluation,
    task: Task,
    rows: Rows,
    indices: NDArray[np.int64],
    group: NDArray[Any] | None,
) -> Estimate | None:
    mine, theirs = evaluation.prediction, source.prediction
    if mine is None or theirs is None or mine.shape != theirs.shape or task == "regression":
        return None
    if task in ("token_classification", "causal_lm"):
        counts = counted(rows, indices, task)
        equal = np.stack([((mine == theirs) & counts).sum(1), counts.sum(1)], axis=1).astype(np.float64)
        return estimate("agreement", stated(scoring("token_classification"), equal, group, SEED), len(indices))
    same = (mine == theirs).reshape(len(mine), -1).all(axis=1).astype(np.float64)[:, None]
    return estimate("agreement", stated(scoring("agreement"), same, group, SEED), len(indices))
