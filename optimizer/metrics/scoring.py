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
from optimizer.errors import PassFailed

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scoring:
    """How a task's answers are scored.

    `statistics(answers, truth)` gives [rows, k]; `value(statistics, weights)` the metric of rows weighted by `weights`
    ([rows], counts of a bootstrap, say). `truth` is what the answers are held against: labels, or the source's answers.
    """

    metric: str
    statistics: Callable[[NDArray[Any], NDArray[Any]], Floats]
    value: Callable[[Floats, Floats], float]

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


def finite(answers: NDArray[Any]) -> Floats:
    """The answers as 64-bit floats. Raises PassFailed when one is NaN or infinite."""
    values = answers.astype(np.float64)
    good = np.isfinite(values)
    if not good.all():
        row = int(np.flatnonzero(~good.reshape(len(values), -1).all(axis=1))[0])
        raise PassFailed(f"the model's answer holds NaN or infinite values (first in row {row})")
    return values


def predicted_classes(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Index of the highest score along the last axis (the first of equal ones)."""
    classes: NDArray[np.int64] = finite(scores).argmax(axis=-1).astype(np.int64)
    return classes


def positive_scores(answers: NDArray[Any]) -> Floats:
    """One score a row that grows with the positive class, of answers [rows], [rows, 1] or [rows, 2]."""
    values = finite(answers).reshape(len(answers), -1)
    scores: Floats = values[:, 0] if values.shape[1] == 1 else values[:, 1] - values[:, 0]
    return scores


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


def _hits(answers: NDArray[Any], truth: NDArray[Any]) -> Floats:
    """True positives, false positives and false negatives of each row, over its labels."""
    said, wanted = finite(answers).reshape(len(answers), -1) > 0, truth.reshape(len(truth), -1) > 0.5
    return np.stack([(said & wanted).sum(1), (said & ~wanted).sum(1), (~said & wanted).sum(1)], axis=1).astype(
        np.float64
    )


def _micro_f1(statistics: Floats, weights: Floats) -> float:
    hits, false, missed = weights @ statistics
    return float(2 * hits / (2 * hits + false + missed)) if hits + false + missed else 1.0


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


def _mean(statistics: Floats, weights: Floats) -> float:
    return float(weights @ statistics[:, 0] / weights.sum())


def _ratio(statistics: Floats, weights: Floats) -> float:
    part, whole = weights @ statistics
    return float(part / max(whole, 1.0))


def _root_mean(statistics: Floats, weights: Floats) -> float:
    return float(np.sqrt(_mean(statistics, weights)))


def _perplexity(statistics: Floats, weights: Floats) -> float:
    return float(np.exp(_ratio(statistics, weights)))


_SCORINGS: dict[Task, Scoring] = {
    "classification": Scoring(METRIC["classification"], _right, _mean),
    "agreement": Scoring(METRIC["agreement"], _agrees, _mean),
    "binary": Scoring(METRIC["binary"], _ranked, _auc),
    "multilabel": Scoring(METRIC["multilabel"], _hits, _micro_f1),
    "regression": Scoring(METRIC["regression"], _squared, _root_mean),
    "token_classification": Scoring(METRIC["token_classification"], _tokens, _ratio),
    "embedding": Scoring(METRIC["embedding"], _cosine, _mean),
    "causal_lm": Scoring(METRIC["causal_lm"], _surprise, _perplexity),
}
