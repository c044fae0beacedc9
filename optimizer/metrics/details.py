"""What figures beside a task's metric need of each row, taken from the answers while they are at hand."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from optimizer.artifact.task import IGNORED, Task
from optimizer.metrics.answers import finite, positive_scores, predicted_classes

# Probability that the model gives to the class it says.
CONFIDENCE = "confidence"
# 1 where the right class is among the five highest scores; of models with more than ten classes.
TOP5 = "top5"
# Share of the next tokens that are foretold, a row.
NEXT_TOKENS = "next_tokens"
# Score of the second of two classes.
SCORE = "score"

_TOP = 5
_MANY_CLASSES = 10


def details(answers: NDArray[Any], truth: NDArray[Any], task: Task) -> dict[str, NDArray[np.float32]]:
    """Named values, one a row, of shaped answers [rows, ...] that are held against `truth`."""
    if task in ("classification", "agreement"):
        return _of_classes(finite(answers), truth)
    if task == "binary":
        share = expit(np.abs(positive_scores(answers)))
        return {CONFIDENCE: share.astype(np.float32)}
    if task == "causal_lm":
        following = truth[:, 1:]
        counts = following != IGNORED
        right = (predicted_classes(answers)[:, :-1] == following) & counts
        return {NEXT_TOKENS: (right.sum(1) / np.maximum(counts.sum(1), 1)).astype(np.float32)}
    return {}


def _of_classes(scores: NDArray[np.float64], truth: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    found = {CONFIDENCE: softmax(scores, axis=1).max(axis=1).astype(np.float32)}
    classes = scores.shape[1]
    if classes == 2:
        found[SCORE] = (scores[:, 1] - scores[:, 0]).astype(np.float32)
    if classes > _MANY_CLASSES:
        highest = np.argpartition(scores, -_TOP, axis=1)[:, -_TOP:]
        found[TOP5] = (highest == truth[:, None]).any(axis=1).astype(np.float32)
    return found
