"""Figures beside the metric, of what an evaluation keeps of each row: no model is asked again."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact.manifest import Estimate
from optimizer.artifact.rows import Rows
from optimizer.artifact.task import Task
from optimizer.measure.evaluation import Evaluation
from optimizer.measure.truth import counted, labels_of
from optimizer.metrics import secondary
from optimizer.metrics.details import CONFIDENCE, NEXT_TOKENS, TOP5
from optimizer.metrics.intervals import Interval
from optimizer.metrics.secondary import Figure


@dataclass(frozen=True)
class _Asked:
    """One evaluation, and what it is held against."""

    said: NDArray[Any]
    truth: NDArray[Any]
    counted: NDArray[np.bool_] | None
    group: NDArray[Any] | None
    seed: int


def secondary_of(
    evaluation: Evaluation,
    source: Evaluation | None,
    task: Task,
    rows: Rows,
    indices: NDArray[np.int64],
    seed: int,
) -> tuple[Estimate, ...]:
    """The task's further figures with their 95% intervals, in a fixed order; none where answers were not kept.

    Classes: macro F1, top-5 (of more than ten classes), calibration error. Two classes: accuracy and F1 at the default
    threshold, calibration error. Labels: macro F1. Numbers: mean absolute error, R2. Tokens: macro F1, or the share of
    next tokens. Beside a source, also the share of what that had right and this has wrong ("negative_flips").
    """
    group = None if rows.group is None else rows.group[indices]
    if task in ("agreement", "embedding"):
        return ()
    truth = labels_of(rows, task)[indices]
    shares: dict[str, Interval] = {}
    figures: list[Figure | None] = []
    if task == "causal_lm":
        share = evaluation.details.get(NEXT_TOKENS)
        if share is not None:
            counts = counted(rows, indices, task)[:, 1:].sum(axis=1)
            figures.append(secondary.token_share("next_token_accuracy", share * counts, counts))
    elif evaluation.prediction is not None:
        counts = counted(rows, indices, task) if task == "token_classification" else None
        asked = _Asked(evaluation.prediction, truth, counts, group, seed)
        figures += _figures(asked, evaluation, task)
        shares = _shares(asked, evaluation, task)
        if source is not None and source.prediction is not None and source.prediction.shape == asked.said.shape:
            flips = _flips(asked, source.prediction, task)
            if isinstance(flips, Interval):
                shares["negative_flips"] = flips
            else:
                figures.append(flips)
    present = [figure for figure in figures if figure is not None]
    found = shares | dict(
        zip([figure.name for figure in present], secondary.intervals(present, group, seed), strict=True)
    )
    return tuple(
        Estimate(name=name, value=interval.value, low=interval.low, high=interval.high, n=len(indices))
        for name, interval in sorted(found.items(), key=lambda item: _ORDER.index(item[0]))
    )


_ORDER = (
    "accuracy",
    "f1",
    "macro_f1",
    "top5",
    "mae",
    "r2",
    "next_token_accuracy",
    "calibration_error",
    "negative_flips",
)


def _figures(asked: _Asked, evaluation: Evaluation, task: Task) -> list[Figure | None]:
    said, truth = asked.said, asked.truth
    if task == "classification":
        return [secondary.macro_f1(said, truth), _calibration(asked, evaluation)]
    if task == "binary":
        return [secondary.binary_f1(said, truth), _calibration(asked, evaluation)]
    if task == "multilabel":
        return [secondary.label_macro_f1(said, truth)]
    if task == "regression":
        return [secondary.absolute_error(said, truth), secondary.explained(said, truth)]
    if asked.counted is not None and asked.counted.any():
        return [secondary.token_macro_f1(said, truth, asked.counted)]
    return []


def _shares(asked: _Asked, evaluation: Evaluation, task: Task) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    if task == "binary":
        found["accuracy"] = secondary.share(_right(asked.said, asked), asked.group, asked.seed)
    if task == "classification" and TOP5 in evaluation.details:
        found["top5"] = secondary.share(evaluation.details[TOP5] > 0.5, asked.group, asked.seed)
    return found


def _flips(asked: _Asked, theirs: NDArray[Any], task: Task) -> Interval | Figure | None:
    """What the source has right and this has wrong, as a share of rows, or of tokens."""
    if task in ("classification", "binary"):
        lost = _right(theirs, asked) & ~_right(asked.said, asked)
        return secondary.share(lost, asked.group, asked.seed)
    if asked.counted is not None:
        lost = (theirs == asked.truth) & (asked.said != asked.truth) & asked.counted
        return secondary.token_share("negative_flips", lost.sum(axis=1), asked.counted.sum(axis=1))
    return None


def _calibration(asked: _Asked, evaluation: Evaluation) -> Figure | None:
    confidence = evaluation.details.get(CONFIDENCE)
    return None if confidence is None else secondary.calibration_error(confidence, _right(asked.said, asked))


def _right(said: NDArray[Any], asked: _Asked) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = said.reshape(-1) == asked.truth.reshape(-1)
    return right
