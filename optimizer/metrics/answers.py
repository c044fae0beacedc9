"""Answers of a model in the one form that its task has, and what they say of each row."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact.signature import Activation
from optimizer.artifact.task import Task
from optimizer.errors import PassFailed

Floats = NDArray[np.float64]

# What a row's answer must be, by the number of axes that it has beside the row's own.
_NEEDED: dict[Task, tuple[int, str]] = {
    "classification": (1, "one score a class"),
    "agreement": (1, "one score a class"),
    "binary": (1, "one score, or one for each of two classes,"),
    "multilabel": (1, "one score a label"),
    "regression": (1, "one value a target"),
    "token_classification": (2, "one score a class for each token"),
    "embedding": (1, "one vector a row"),
    "causal_lm": (2, "one score a token of the vocabulary for each token"),
}
# Least probability in 32 bits, and least distance of one from 1, which rounding may have made 0.
_SMALLEST, _SMALLEST_REST = float(np.finfo(np.float32).tiny), 2.0**-25
# Tasks in which a row may be answered with a single number.
_SINGLE: frozenset[Task] = frozenset({"binary", "multilabel", "regression"})


def shaped(answers: NDArray[Any], rows: int, task: Task) -> NDArray[Any]:
    """The answers to `rows` rows as [rows, width], or [rows, sequence, classes] where tokens are answered.

    Axes of size 1 (a kept spatial axis, say) do not count. Raises PassFailed for any other shape.
    """
    axes, needed = _NEEDED[task]
    shape = list(answers.shape)
    if axes == 2:
        if answers.ndim != 3 or len(answers) != rows or answers.shape[-1] < 2:
            raise PassFailed(f"the model answered {rows} rows with scores of shape {shape}; {needed} is needed")
        return answers
    wide = [size for size in shape if size != 1]
    of_rows = wide[:1] if rows > 1 else []
    if of_rows not in ([], [rows]) or len(wide) > len(of_rows) + 1 or answers.size == 0:
        raise PassFailed(f"the model answered {rows} rows with scores of shape {shape}; {needed} is needed")
    if len(wide) == len(of_rows) and task not in _SINGLE:
        raise PassFailed("the model answers with one score a row; a classifier needs one score for each of its classes")
    flat = answers.reshape(rows, -1)
    if task == "binary" and flat.shape[1] > 2:
        raise PassFailed(f"the model answered {rows} rows with scores of shape {shape}; {needed} is needed")
    return flat


def as_scores(answers: NDArray[Any], task: Task, activation: Activation) -> NDArray[Any]:
    """Probabilities turned back into the scores that they were made of; scores, targets and vectors as they are."""
    if activation == "none" or task in ("regression", "embedding"):
        return answers
    share = answers.astype(np.float64)
    logs = np.log(np.clip(share, _SMALLEST, None))
    return logs if activation == "softmax" else logs - np.log(np.clip(1 - share, _SMALLEST_REST, None))


def predictions(answers: NDArray[Any], task: Task) -> NDArray[Any] | None:
    """What shaped answers say: int64 classes [rows], labels as 0 and 1 [rows, labels], values, or int32 tokens.

    None for an embedding, which says nothing by itself.
    """
    if task in ("classification", "agreement"):
        return predicted_classes(answers)
    if task == "binary":
        return (positive_scores(answers) > 0).astype(np.int64)
    if task == "multilabel":
        return (answers > 0).astype(np.uint8)
    if task == "regression":
        return answers.astype(np.float32)
    if task in ("token_classification", "causal_lm"):
        return predicted_classes(answers).astype(np.int32)
    return None


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
