"""What answers are held against: labels, the tokens themselves, or what the source answers to the same rows."""

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from optimizer.artifact.rows import Rows
from optimizer.artifact.signature import Signature
from optimizer.artifact.task import IGNORED, Task
from optimizer.errors import InvalidDataset
from optimizer.measure.evaluation import Evaluation
from optimizer.measure.predictions import Truth, answers_in_batches
from optimizer.metrics.answers import predicted_classes
from optimizer.passes.selection import tokens_of


def truth_for(
    task: Task,
    rows: Rows,
    indices: NDArray[np.int64],
    signature: Signature,
    source: ort.InferenceSession | None,
    known: Evaluation | None = None,
) -> Truth:
    """The truth of the rows `indices`. `source` is None when the source itself is measured, `known` what it answered.

    Raises InvalidDataset when the task needs labels and there are none.
    """
    if task == "agreement":
        if source is None:
            return lambda start, answers: predicted_classes(answers)
        if known is not None and known.prediction is not None:
            prediction = known.prediction
            return lambda start, answers: prediction[start : start + len(answers)]
        return lambda start, answers: predicted_classes(
            _source_answers(source, signature, rows, indices[start : start + len(answers)], task)
        )
    if task == "embedding":
        if source is None:
            return lambda start, answers: answers
        return lambda start, answers: _source_answers(
            source, signature, rows, indices[start : start + len(answers)], task
        )
    labels = labels_of(rows, task)
    return lambda start, answers: labels[indices[start : start + len(answers)]]


def labels_of(rows: Rows, task: Task) -> NDArray[Any]:
    """The labels of all rows of a task that has any; of a language model, without others, the tokens themselves."""
    if rows.labels is not None:
        return rows.labels
    if task == "causal_lm":
        return tokens_of(rows)
    raise InvalidDataset(f"task {task} needs an array `labels`")


def counted(rows: Rows, indices: NDArray[np.int64], task: Task) -> NDArray[np.bool_]:
    """Which tokens [rows, sequence] of a task of tokens count."""
    counts: NDArray[np.bool_] = labels_of(rows, task)[indices] != IGNORED
    return counts


def _source_answers(
    source: ort.InferenceSession, signature: Signature, rows: Rows, indices: NDArray[np.int64], task: Task
) -> NDArray[Any]:
    return np.concatenate([part for _, part in answers_in_batches(source, signature, rows, indices, task)])
