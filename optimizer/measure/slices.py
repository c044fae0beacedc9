"""The metric by class and by the values of every column that a data set names for it, beside the source's."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact.manifest import Estimate, Slice
from optimizer.artifact.rows import LABELS, Rows
from optimizer.artifact.task import IGNORED, Task
from optimizer.measure.evaluation import Evaluation
from optimizer.measure.truth import labels_of
from optimizer.metrics.answers import Floats
from optimizer.metrics.comparison import stated
from optimizer.metrics.scoring import Scoring, scoring

# Values of one column that are told; the rarest of more are counted only.
MOST_VALUES = 50
_DRAWS = 500
_LONGEST = 100


@dataclass(frozen=True)
class Sliced:
    """The slices, the most frequent value of a column first; how many values of a column are not told; the worst."""

    slices: tuple[Slice, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    # "column=value" of the slice that is worst even at the better end of its interval; None without slices.
    worst: str | None = None


@dataclass(frozen=True)
class _Cut:
    """Some of the rows, and what the metric is made of there."""

    value: str
    statistics: Floats
    source: Floats | None
    group: NDArray[Any] | None


def slices_of(
    evaluation: Evaluation, source: Evaluation | None, task: Task, rows: Rows, indices: NDArray[np.int64], seed: int
) -> Sliced:
    """The metric with its 95% interval on every slice of the rows `indices`.

    A value on whose rows the metric says nothing (the AUC of one class) is left out and counted.
    """
    how = scoring(task)
    found: list[Slice] = []
    left_out: dict[str, int] = {}
    columns = _columns(evaluation, source, task, rows, indices)
    for column, cuts in columns:
        told = 0
        dropped = 0
        for cut in cuts:
            if told == MOST_VALUES or not _defined(cut.statistics, task):
                dropped += 1
                continue
            told += 1
            found.append(_slice(column, cut, how, seed))
        if dropped:
            left_out[column] = dropped
    worst = min(found, key=lambda one: _best_end(one, how), default=None)
    return Sliced(tuple(found), left_out, None if worst is None else f"{worst.column}={worst.value}")


def _slice(column: str, cut: _Cut, how: Scoring, seed: int) -> Slice:
    interval = stated(how, cut.statistics, cut.group, seed, _DRAWS)
    return Slice(
        column=column,
        value=cut.value,
        metric=Estimate(
            name=how.metric, value=interval.value, low=interval.low, high=interval.high, n=len(cut.statistics)
        ),
        source=None if cut.source is None else how.metric_of(cut.source),
    )


def _columns(
    evaluation: Evaluation, source: Evaluation | None, task: Task, rows: Rows, indices: NDArray[np.int64]
) -> Iterator[tuple[str, Iterator[_Cut]]]:
    group = None if rows.group is None else rows.group[indices]
    theirs = None if source is None else source.statistics
    if task == "classification":
        yield LABELS, _by_value(labels_of(rows, task)[indices], evaluation.statistics, theirs, group)
    elif task == "token_classification":
        yield LABELS, _by_token_class(evaluation, source, labels_of(rows, task)[indices], group)
    elif task == "multilabel":
        yield LABELS, _by_label(evaluation, source, labels_of(rows, task)[indices], group)
    for name, column in rows.slices.items():
        yield name[:_LONGEST], _by_value(column[indices], evaluation.statistics, theirs, group)


def _by_value(
    column: NDArray[Any], statistics: Floats, source: Floats | None, group: NDArray[Any] | None
) -> Iterator[_Cut]:
    plain = column if column.dtype.kind in "biufUS" else column.astype(np.float32)
    values, places, counts = np.unique(plain, return_inverse=True, return_counts=True)
    by_value = np.split(np.argsort(places, kind="stable"), np.cumsum(counts)[:-1])
    for place in np.argsort(-counts, kind="stable"):
        yield _cut(_name(values[place]), by_value[place], statistics, source, group)


def _by_token_class(
    evaluation: Evaluation, source: Evaluation | None, truth: NDArray[Any], group: NDArray[Any] | None
) -> Iterator[_Cut]:
    """Right tokens and tokens of each class, of the rows that hold one."""
    mine = evaluation.prediction
    if mine is None:
        return
    theirs = None if source is None else source.prediction
    classes, counts = np.unique(truth[truth != IGNORED], return_counts=True)
    for value in classes[np.argsort(-counts, kind="stable")]:
        wanted = truth == value
        statistics, other = (
            None if said is None else np.stack([(wanted & (said == value)).sum(1), wanted.sum(1)], axis=1).astype(float)
            for said in (mine, theirs)
        )
        assert statistics is not None
        yield _cut(_name(value), np.flatnonzero(wanted.any(axis=1)), statistics, other, group)


def _by_label(
    evaluation: Evaluation, source: Evaluation | None, truth: NDArray[Any], group: NDArray[Any] | None
) -> Iterator[_Cut]:
    """True positives, false positives and false negatives of each label, the most frequent first."""
    mine = evaluation.prediction
    if mine is None:
        return
    theirs = None if source is None else source.prediction
    wanted = truth.reshape(len(truth), -1) > 0
    everyone = np.arange(len(truth))
    for label in np.argsort(-wanted.sum(axis=0), kind="stable"):
        statistics, other = (
            None if said is None else _hits(said.reshape(len(truth), -1)[:, label] > 0, wanted[:, label])
            for said in (mine, theirs)
        )
        assert statistics is not None
        yield _cut(_name(label), everyone, statistics, other, group)


def _hits(said: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> Floats:
    return np.stack([said & wanted, said & ~wanted, ~said & wanted], axis=1).astype(np.float64)


def _cut(
    value: str, members: NDArray[Any], statistics: Floats, source: Floats | None, group: NDArray[Any] | None
) -> _Cut:
    return _Cut(
        value,
        statistics[members],
        None if source is None else source[members],
        None if group is None else group[members],
    )


def _defined(statistics: Floats, task: Task) -> bool:
    if task == "binary":
        return len(np.unique(statistics[:, 1])) == 2
    if task == "multilabel":
        return bool(statistics.any())
    if task in ("token_classification", "causal_lm"):
        return bool(statistics[:, 1].any())
    return len(statistics) > 0


def _best_end(one: Slice, how: Scoring) -> float:
    return max(how.goodness(one.metric.low), how.goodness(one.metric.high))


def _name(value: Any) -> str:
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value))[:_LONGEST]
