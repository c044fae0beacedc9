"""Scores of answers: one row of sufficient statistics a data row, and the metric that sums of them make.

Every metric here is a function of sums over rows (or, for the AUC, of the rows themselves), so that the same statistics
give the point value, a value by slice or group, and a bootstrap, without asking the model again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from optimizer.artifact.task import IGNORED, LOWER_IS_BETTER, METRIC, Task
from optimizer.metrics.answers import Floats, finite, positive_scores, predicted_classes


@dataclass(frozen=True)
class Scoring:
    """How a task's answers are scored.

    `statistics(answers, truth)` gives [rows, k]; `value(statistics, weights)` the metric of rows weighted by `weights`
    ([rows]); `values` that of many weightings at once ([draws, rows], counts of a bootstrap, say). `truth` is what the
    answers are held against: labels, or the source's answers.
    """

    metric: str
    statistics: Callable[[NDArray[Any], NDArray[Any]], Floats]
    value: Callable[[Floats, Floats], float]
    values: Callable[[Floats, Floats], Floats]

    @property
    def plain(self) -> bool:
        """Whether the metric is a share of rows, each right or wrong."""
        return self.metric in ("accuracy", "agreement")

    @property
    def relative(self) -> bool:
        """Whether a margin on the metric is a share of the source's value instead of absolute points."""
        return self.metric in LOWER_IS_BETTER

    def metric_of(self, statistics: Floats) -> float:
        """The metric of all rows."""
        return self.value(statistics, np.ones(len(statistics)))

    def goodness(self, value: float) -> float:
        """The value with its sign turned where less is better, so that more is always better."""
        return -value if self.metric in LOWER_IS_BETTER else value

    def goodness_of(self, answers: NDArray[Any], truth: NDArray[Any]) -> float:
        """How good answers are; more is better, whatever the metric."""
        return self.goodness(self.metric_of(self.statistics(answers, truth)))


def scoring(task: Task) -> Scoring:
    """How answers of `task` are scored."""
    return _SCORINGS[task]


def _right(answers: NDArray[Any], truth: NDArray[Any]) -> Floats:
    right: Floats = (predicted_classes(answers) == truth).astype(np.float64)[:, None]
    return right


def _agrees(answers: NDArray[Any], truth: NDArray[Any]) -> Floats:
    return _right(answers, predicted_classes(truth))


def _ranked(answers: NDArray[Any], truth: NDArray[Any]) -> Floats:
    return np.stack([positive_scores(answers), truth.reshape(-1).astype(np.float64)], axis=1)


def _auc(statistics: Floats, weights: Floats) -> float:
    drawn = weights > 0
    scores, labels, weights = statistics[drawn, 0], statistics[drawn, 1], weights[drawn]
    # Undefined where a draw has one class only; a coin's value then.
    return float(roc_auc_score(labels, scores, sample_weight=weights)) if len(np.unique(labels)) == 2 else 0.5


def _aucs(statistics: Floats, weights: Floats) -> Floats:
    """`_auc` of many draws: one sort instead of one a draw (the rank form of Mann and Whitney, 1947)."""
    order = np.argsort(statistics[:, 0], kind="stable")
    scores, positive = statistics[order, 0], statistics[order, 1] > 0.5
    starts = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
    drawn = weights[:, order]
    wins = np.add.reduceat(np.where(positive, drawn, 0.0), starts, axis=1)
    losses = np.add.reduceat(np.where(positive, 0.0, drawn), starts, axis=1)
    below = np.cumsum(losses, axis=1) - losses / 2
    pairs = wins.sum(axis=1) * losses.sum(axis=1)
    areas: Floats = np.where(pairs > 0, (wins * below).sum(axis=1) / np.maximum(pairs, 1.0), 0.5)
    return areas


def _hits(answers: NDArray[Any], truth: NDArray[Any]) -> Floats:
    """True positives, false positives and false negatives of each row, over its labels."""
    said, wanted = finite(answers).reshape(len(answers), -1) > 0, truth.reshape(len(truth), -1) > 0.5
    return np.stack([(said & wanted).sum(1), (said & ~wanted).sum(1), (~said & wanted).sum(1)], axis=1).astype(
        np.float64
    )


def _micro_f1(statistics: Floats, weights: Floats) -> Floats:
    hits, false, missed = np.moveaxis(weights @ statistics, -1, 0)
    whole = 2 * hits + false + missed
    values: Floats = np.where(whole > 0, 2 * hits / np.maximum(whole, 1.0), 1.0)
    return values


def _squared(answers: NDArray[Any], truth: NDArray[Any]) -> Floats:
    error = finite(answers).reshape(len(answers), -1) - truth.reshape(len(truth), -1)
    squared: Floats = (error**2).mean(axis=1)[:, None]
    return squared


def _tokens(answers: NDArray[Any], truth: NDArray[Any]) -> Floats:
    """Right tokens and counted tokens of each row."""
    counts = truth != IGNORED
    right = (predicted_classes(answers) == truth) & counts
    return np.stack([right.sum(1), counts.sum(1)], axis=1).astype(np.float64)


def _surprise(answers: NDArray[Any], truth: NDArray[Any]) -> Floats:
    """Summed negative log-likelihood of the next tokens, and how many there are, of each row.

    `answers` are logits [rows, sequence, vocabulary]; `truth` the tokens themselves, IGNORED where they do not count.
    """
    logits, following = finite(answers)[:, :-1], truth[:, 1:]
    counts = following != IGNORED
    taken = np.where(counts, following, 0)[..., None].astype(np.int64)
    surprise = -np.take_along_axis(log_softmax(logits, axis=-1), taken, axis=-1)[..., 0]
    return np.stack([(surprise * counts).sum(1), counts.sum(1)], axis=1).astype(np.float64)


def _cosine(answers: NDArray[Any], truth: NDArray[Any]) -> Floats:
    mine, theirs = (finite(array).reshape(len(array), -1) for array in (answers, truth))
    norms = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines: Floats = ((mine * theirs).sum(1) / np.maximum(norms, 1e-12))[:, None]
    return cosines


def _mean(statistics: Floats, weights: Floats) -> Floats:
    values: Floats = weights @ statistics[:, 0] / weights.sum(axis=-1)
    return values


def _ratio(statistics: Floats, weights: Floats) -> Floats:
    part, whole = np.moveaxis(weights @ statistics, -1, 0)
    values: Floats = part / np.maximum(whole, 1.0)
    return values


def _root_mean(statistics: Floats, weights: Floats) -> Floats:
    values: Floats = np.sqrt(_mean(statistics, weights))
    return values


def _perplexity(statistics: Floats, weights: Floats) -> Floats:
    values: Floats = np.exp(_ratio(statistics, weights))
    return values


def _of_sums(
    task: Task, statistics: Callable[[NDArray[Any], NDArray[Any]], Floats], values: Callable[[Floats, Floats], Floats]
) -> Scoring:
    """A scoring whose metric is a function of weighted sums, which one product of matrices gives for many draws."""
    return Scoring(METRIC[task], statistics, lambda rows, weights: float(values(rows, weights)), values)


_SCORINGS: dict[Task, Scoring] = {
    "classification": _of_sums("classification", _right, _mean),
    "agreement": _of_sums("agreement", _agrees, _mean),
    "binary": Scoring(METRIC["binary"], _ranked, _auc, _aucs),
    "multilabel": _of_sums("multilabel", _hits, _micro_f1),
    "regression": _of_sums("regression", _squared, _root_mean),
    "token_classification": _of_sums("token_classification", _tokens, _ratio),
    "embedding": _of_sums("embedding", _cosine, _mean),
    "causal_lm": _of_sums("causal_lm", _surprise, _perplexity),
}
