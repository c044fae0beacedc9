"""Runs a model over rows, batch by batch, and keeps what figures need of its answers: never the answers themselves."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from optimizer.artifact.graph_signature import class_output
from optimizer.artifact.rows import Rows, feeds
from optimizer.artifact.session import ort_errors
from optimizer.artifact.signature import Signature
from optimizer.artifact.task import Task
from optimizer.errors import PassFailed
from optimizer.measure.evaluation import Evaluation
from optimizer.metrics.answers import as_scores, predictions, shaped
from optimizer.metrics.details import details
from optimizer.metrics.scoring import scoring

# Rows run together: large enough to be quick, small enough for any model that is served at batch 32.
_BATCH = 64
# A language model answers each token with its vocabulary: fewer rows at once keep that within some hundred megabytes.
_TOKENS_BATCH = 8
# Values of predictions that are kept with the figures; more (tokens of long texts) are dropped after they were scored.
_MOST_KEPT = 2_000_000

# What the rows [start : start + len(answers)] of those asked for are held against, given the model's own answers.
Truth = Callable[[int, NDArray[Any]], NDArray[Any]]


def evaluate(
    session: ort.InferenceSession,
    signature: Signature,
    rows: Rows,
    indices: NDArray[np.int64],
    task: Task,
    truth: Truth,
    report: Callable[[float], None] = lambda share: None,
) -> Evaluation:
    """The statistics of the rows `indices`, in their order; `report` is told the share done.

    For the task "agreement" `truth` gives classes. A model without a batch axis is run row by row. Raises PassFailed
    for answers that the task does not have.
    """
    # Classes are at hand there, not the scores that they were the highest of.
    how = scoring("classification" if task == "agreement" else task)
    statistics, said, more = [], [], []
    for start, answers in answers_in_batches(session, signature, rows, indices, task):
        wanted = truth(start, answers)
        statistics.append(how.statistics(answers, wanted))
        said.append(predictions(answers, task))
        more.append(details(answers, wanted, task))
        report((start + len(answers)) / len(indices))
    prediction = None if said[0] is None else np.concatenate([part for part in said if part is not None])
    return Evaluation(
        indices,
        np.concatenate(statistics),
        None if prediction is None or prediction.size > max(_MOST_KEPT, len(indices)) else prediction,
        {name: np.concatenate([part[name] for part in more]) for name in more[0]},
    )


def answers_in_batches(
    session: ort.InferenceSession, signature: Signature, rows: Rows, indices: NDArray[np.int64], task: Task
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Where each batch begins, and its answers in the task's form (`optimizer.metrics.answers.shaped`)."""
    output = class_output(signature)
    at_once = (_TOKENS_BATCH if len(output.shape) == 3 else _BATCH) if signature.batched else 1
    for start in range(0, len(indices), at_once):
        chosen = indices[start : start + at_once]
        (answers,) = run(session, [output.name], feeds(rows, signature.inputs, chosen))
        yield start, as_scores(shaped(np.asarray(answers), len(chosen), task), task, signature.activation)


def run(
    session: ort.InferenceSession, outputs: list[str] | None, inputs: dict[str, NDArray[np.generic]]
) -> list[NDArray[np.generic]]:
    """One call; None asks for all outputs. Raises PassFailed with onnxruntime's complaint when it refuses."""
    try:
        answers: list[NDArray[np.generic]] = session.run(outputs, inputs)
    except ort_errors() as error:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
        raise PassFailed(f"the model fails on inputs {shapes}: {_first_line(error)}") from error
    return answers


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0][:300]
