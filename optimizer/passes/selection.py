"""How good a graph is on the selection rows, which is what passes and searches choose by."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact.graph_signature import class_output
from optimizer.artifact.rows import Rows, feeds
from optimizer.artifact.session import SessionSpec, build, ort_errors
from optimizer.artifact.signature import Signature
from optimizer.artifact.task import IGNORED, UNLABELLED, Task
from optimizer.errors import PassFailed
from optimizer.intake.onnx_file import first_line
from optimizer.intake.stages import OnnxModel
from optimizer.metrics.answers import Floats, as_scores, shaped
from optimizer.metrics.scoring import scoring
from optimizer.passes.context import Context

_BATCH = 32
_IDS, _MASK = "input_ids", "attention_mask"


def answers_on(model: Path, signature: Signature, rows: Rows, session: SessionSpec) -> NDArray[Any]:
    """What the graph answers to all rows, along the first axis. Raises PassFailed when it does not run."""
    try:
        opened = build(model, session)
        output = class_output(signature).name
        at_once = _BATCH if signature.batched else 1
        parts = []
        for start in range(0, len(rows), at_once):
            indices = np.arange(start, min(start + at_once, len(rows)))
            (answer,) = opened.run([output], feeds(rows, signature.inputs, indices))
            shape = np.asarray(answer).shape
            # Without an axis for the batch a row's answer may have a first axis of size 1 all the same.
            parts.append(np.asarray(answer).reshape(len(indices), *shape[signature.batched or shape[:1] == (1,) :]))
    except ort_errors() as error:
        raise PassFailed(f"the graph does not run on the selection rows: {first_line(error)}") from error
    return np.concatenate(parts)


def truth_of(task: Task, rows: Rows, reference: NDArray[Any] | None) -> NDArray[Any]:
    """What answers to `rows` are held against: labels, the tokens themselves, or the answers of a `reference` model."""
    if task == "causal_lm":
        return rows.labels if rows.labels is not None else tokens_of(rows)
    if task not in UNLABELLED and rows.labels is not None:
        return rows.labels
    if reference is None:
        raise ValueError(f"task {task} needs the answers of a reference")
    return shaped(reference, len(rows), task)


def scores_of(answers: NDArray[Any], task: Task, signature: Signature) -> NDArray[Any]:
    """Answers of `answers_on` as scorings take them. Raises PassFailed for those that the task does not have."""
    return as_scores(shaped(answers, len(answers), task), task, signature.activation)


def tokens_of(rows: Rows) -> NDArray[np.int64]:
    """The tokens [rows, sequence] that a language model must foretell; padding does not count."""
    tokens = rows.arrays[_IDS].astype(np.int64)
    mask = rows.arrays.get(_MASK)
    return tokens if mask is None else np.where(mask > 0, tokens, IGNORED)


def statistics_of(model: OnnxModel, context: Context, reference: NDArray[Any] | None) -> Floats:
    """The statistics (`optimizer.metrics.scoring`) of the selection rows, row by row."""
    rows = context.splits.selection
    answers = answers_on(model.path, model.signature, rows, context.session)
    return scoring(context.task).statistics(
        scores_of(answers, context.task, model.signature), truth_of(context.task, rows, reference)
    )


def score(model: OnnxModel, context: Context, reference: NDArray[Any] | None = None) -> float:
    """How good the graph is on the selection rows; more is better, whatever the task's metric.

    `reference` are a better model's answers to the same rows, which a task without labels is held against.
    """
    how = scoring(context.task)
    return how.goodness(how.metric_of(statistics_of(model, context, reference)))
