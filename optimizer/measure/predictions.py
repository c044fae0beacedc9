"""Runs a model over rows and keeps the class that it says of each."""

from collections.abc import Callable

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from optimizer.artifact.graph_signature import class_output
from optimizer.artifact.rows import Rows, feeds
from optimizer.artifact.session import ort_errors
from optimizer.artifact.signature import Signature
from optimizer.errors import PassFailed
from optimizer.metrics.quality import predicted_classes

# Rows run together: large enough to be quick, small enough for any model that is served at batch 32.
_BATCH = 64


def predict(
    session: ort.InferenceSession,
    signature: Signature,
    rows: Rows,
    indices: NDArray[np.int64],
    report: Callable[[float], None],
) -> NDArray[np.int64]:
    """The predicted class of each of the rows `indices`, in their order; `report` is told the share done.

    A model without a batch axis is run row by row. Raises PassFailed for answers that are no class scores.
    """
    output = class_output(signature).name
    at_once = _BATCH if signature.batched else 1
    predictions = np.empty(len(indices), np.int64)
    for start in range(0, len(indices), at_once):
        chosen = indices[start : start + at_once]
        (scores,) = run(session, [output], feeds(rows, signature.inputs, chosen))
        predictions[start : start + len(chosen)] = predicted_classes(scores, len(chosen))
        report((start + len(chosen)) / len(indices))
    return predictions


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
