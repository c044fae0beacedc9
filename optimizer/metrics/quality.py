"""Quality of answers to single rows: which class was predicted, and whether that is right."""

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import PassFailed
from optimizer.metrics.intervals import PairedCounts

# Metric by task. On "agreement" the source's own answers stand for labels, so the source itself scores 1.
METRIC = {"classification": "accuracy", "agreement": "agreement"}


def predicted_classes(scores: NDArray[np.generic], rows: int) -> NDArray[np.int64]:
    """Index of the highest score of each row (the first of equal ones).

    `scores` holds `rows` rows with one axis of classes; axes of size 1 (a kept spatial axis, say) do not count.
    Raises PassFailed for another shape and for scores that are not finite.
    """
    wide = [size for size in scores.shape if size != 1]
    of_rows = wide[:1] if rows > 1 else []
    if of_rows not in ([], [rows]) or len(wide) > len(of_rows) + 1 or scores.size == 0:
        shape = list(scores.shape)
        raise PassFailed(f"the model answered {rows} rows with scores of shape {shape}; one score a class is needed")
    if len(wide) == len(of_rows):
        raise PassFailed("the model answers with one score a row; a classifier needs one score for each of its classes")
    values = scores.reshape(rows, -1).astype(np.float64)
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise PassFailed(f"the model's answer holds NaN or infinite scores (first in row {bad} of a batch of {rows})")
    classes: NDArray[np.int64] = values.argmax(axis=1).astype(np.int64)
    return classes


def right(prediction: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.float32]:
    """1 for each row predicted as `truth` says (labels, or the source's predictions), else 0."""
    if prediction.shape != truth.shape:
        raise ValueError(f"{prediction.shape} predictions for {truth.shape} answers")
    score: NDArray[np.float32] = (prediction == truth).astype(np.float32)
    return score


def pair(score: NDArray[np.float32], source_score: NDArray[np.float32]) -> PairedCounts:
    """Counts the rows of two 0/1 scores on the same rows."""
    if score.shape != source_score.shape:
        raise ValueError(f"{score.shape} rows against the source's {source_score.shape}")
    mine, theirs = score > 0.5, source_score > 0.5
    return PairedCounts(
        n=len(score),
        both=int(np.count_nonzero(mine & theirs)),
        gained=int(np.count_nonzero(mine & ~theirs)),
        lost=int(np.count_nonzero(~mine & theirs)),
    )
