"""What the peers make of the same source: onnxruntime's quantisers as they ship, and NNCF's, on the same data.

Each peer's model is judged exactly as a variant is: by the optimizer's own measurement, on the same evaluation rows, in
alternating pairs with the source. NNCF lives in an environment of its own, since it pins other versions.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from loadtests.results.field_run import FieldResult
from loadtests.results.judged import Interval, Row
from optimizer.artifact import dataset
from optimizer.artifact.graph_signature import signature_of
from optimizer.artifact.manifest import MODEL_FILE, Estimate
from optimizer.artifact.rows import feeds
from optimizer.artifact.session import host_default
from optimizer.data.splits import EVALUATION, Part
from optimizer.errors import OptimizerError
from optimizer.measure.measure import Source, measure

_CALIBRATION_ROWS = 256
_SCRIPT = Path(__file__).parent / "nncf_peer.py"


def peers_of(result: FieldResult, scratch: Path, nncf_python: Path | None) -> list[Row]:
    """A row for each peer that makes a model of this source; one that fails says how."""
    source = next(result.pulled / row.name / MODEL_FILE for row in result.rows if row.difference is None)
    scratch.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, make in (
        ("dynamic, as shipped", lambda to: _dynamic(source, to)),
        ("static, as shipped", lambda to: _static(source, to, result)),
    ):
        rows.append(_judged(f"onnxruntime {name}", "onnxruntime", source, scratch, make, result))
    if nncf_python is not None:
        rows.append(
            _judged(
                "NNCF, as shipped", "nncf", source, scratch,
                lambda to: _nncf(nncf_python, source, to, result, scratch), result,
            )
        )  # fmt: skip
    return rows


def _judged(name: str, maker: str, source: Path, scratch: Path, make: Any, result: FieldResult) -> Row:
    made = scratch / f"{result.field.name}-{name.replace(' ', '-').replace(',', '')}.onnx"
    try:
        make(made)
    except (RuntimeError, ValueError, KeyError, AttributeError, subprocess.CalledProcessError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:120]
        return Row(name, f"fails: {reason}", None, None, 0, None, 0.0, maker)
    rows = dataset.read(result.prepared.evaluation, result.prepared.evaluation.name)
    part = Part(EVALUATION, "eval", np.arange(len(rows), dtype=np.int64))
    try:
        measured = measure(
            made,
            signature=signature_of(onnx.load(source)),
            rows=rows,
            part=part,
            task=result.field.task,  # type: ignore[arg-type]
            session=host_default(),
            dataset_digest="",
            source=Source(source, None),
            scratch=scratch,
            batches=(1,),
        ).measurement
    except OptimizerError as error:
        return Row(name, f"fails: {str(error)[:120]}", None, None, len(rows), None, 0.0, maker)
    return Row(
        name=name,
        verdict="as shipped",
        metric=_interval(measured.metric),
        difference=_interval(measured.difference),
        n=measured.metric.n,
        speedup=_interval(measured.latencies[0].speedup),
        smaller=source.stat().st_size / made.stat().st_size,
        maker=maker,
    )


def _interval(estimate: Estimate | None) -> Interval | None:
    return None if estimate is None else Interval(estimate.value, estimate.low, estimate.high)


def _dynamic(source: Path, to: Path) -> None:
    quantize_dynamic(source, to)


def _static(source: Path, to: Path, result: FieldResult) -> None:
    prepared = to.with_suffix(".prepared.onnx")
    try:
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(prepared, to, _Reader(source, result))
    finally:
        prepared.unlink(missing_ok=True)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Training rows, one at a time, as the library's examples feed them."""

    def __init__(self, source: Path, result: FieldResult) -> None:
        self._rows: Iterator[dict[str, np.ndarray[Any, Any]]] = calibration(source, result)

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        """The next row, then None."""
        return next(self._rows, None)


def calibration(source: Path, result: FieldResult) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """The first training rows, fed one at a time."""
    rows = dataset.read(result.prepared.train, result.prepared.train.name)
    inputs = signature_of(onnx.load(source)).inputs
    for row in range(min(_CALIBRATION_ROWS, len(rows))):
        yield feeds(rows, inputs, np.array([row]))


def _nncf(python: Path, source: Path, to: Path, result: FieldResult, scratch: Path) -> None:
    """Runs the script that knows NNCF in its own environment."""
    fed = scratch / "calibration.npz"
    batches = list(calibration(source, result))
    with fed.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{
            name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]
        })  # fmt: skip
    subprocess.run(
        [str(python), str(_SCRIPT), str(source), str(fed), str(to)],
        check=True,
        stdout=sys.stderr,
        timeout=900,
        # It reports its use to its makers unless it takes the host for a build machine.
        env=os.environ | {"NNCF_CI": "1"},
    )
