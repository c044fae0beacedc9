"""Ranges of activations on calibration rows, a few rows at a time, so that memory does not grow with their number."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data

from optimizer.artifact.rows import feeds
from optimizer.intake.stages import OnnxModel
from optimizer.passes.context import Context
from optimizer.recipe.quantize import QuantizeStatic

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
# Rows whose activations are in memory together.
_CHUNK = 32
# Share of the pass that calibrating takes.
_SHARE = 0.8


def calibrate(
    graph: Path, operators: list[str], config: QuantizeStatic, model: OnnxModel, context: Context, ranges: Path
) -> int:
    """Writes the ranges of all tensors of `operators` to the file `ranges`; returns how many rows were used."""
    rows = context.splits.calibration
    count = min(config.rows, len(rows))
    calibrator = create_calibrator(
        graph,
        operators,
        augmented_model_path=str(context.directory / "augmented.onnx"),
        calibrate_method=METHODS[config.calibration],
        providers=["CPUExecutionProvider"],
    )
    size = _CHUNK if model.signature.batched else 1
    for start in range(0, count, size):
        indices = np.arange(start, min(start + size, count))
        # Each call folds its rows into running ranges or histograms and forgets the activations.
        calibrator.collect_data(_Once(feeds(rows, model.signature.inputs, indices)))
        context.report(_SHARE * (start + len(indices)) / count, message="calibrating")
    save_tensors_data(calibrator.compute_data(), ranges)
    (context.directory / "augmented.onnx").unlink()
    return count


class _Once(CalibrationDataReader):  # type: ignore[misc]
    """One batch."""

    def __init__(self, batch: dict[str, NDArray[np.generic]]) -> None:
        self._batches: Iterator[dict[str, NDArray[np.generic]]] = iter([batch])

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        """The batch, then None."""
        return next(self._batches, None)
