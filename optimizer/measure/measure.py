"""Measures one ONNX file on this host: quality on the evaluation rows, latency, memory, all against the source."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from optimizer.artifact.hardware import fingerprint
from optimizer.artifact.manifest import BatchLatency, Estimate, Hardware, Manifest, Measurement
from optimizer.artifact.rows import Rows, feeds
from optimizer.artifact.session import SessionSpec, build, ort_errors
from optimizer.artifact.signature import Signature
from optimizer.artifact.task import Task
from optimizer.data.splits import Part
from optimizer.errors import InvalidDataset, PassFailed
from optimizer.measure import latency, lease
from optimizer.measure.evaluation import Evaluation
from optimizer.measure.memory import peak_growth_bytes
from optimizer.measure.predictions import predict, run
from optimizer.metrics.intervals import Interval, PairedCounts, paired_difference, wilson
from optimizer.metrics.quality import METRIC, pair, right

BATCHES = (1, 8, 32)
# Spent on timing one batch size, of a model that is quick enough.
BUDGET_SECONDS = 0.6

Report = Callable[[str, float], None]
# Growth in bytes while a model answers these inputs in this session; the path is a writable directory.
PeakMemory = Callable[[Path, dict[str, NDArray[Any]], SessionSpec, Path], int]


@dataclass(frozen=True)
class Source:
    """What the measured model is compared with."""

    model: Path
    # Its answers on the same rows of the same data; None: they are computed again.
    evaluation: Evaluation | None


@dataclass(frozen=True)
class Measured:
    """A measurement, the answers behind it, and how they pair with the source's (None for the source itself)."""

    measurement: Measurement
    evaluation: Evaluation
    paired: PairedCounts | None


def source_of(model: Path, manifest: Manifest, evaluation: Path, dataset_digest: str, part: Part) -> Source:
    """A published source; its answers are used again only where they were given on these very rows.

    A model's data set may have been replaced since its source was measured.
    """
    same = any(
        known.dataset_digest == dataset_digest and known.rows_digest == part.digest for known in manifest.measurements
    )
    return Source(model, Evaluation.load(evaluation) if same else None)


def _silent(message: str, share: float) -> None:
    """Says nothing."""


def measure(
    model: Path,
    *,
    signature: Signature,
    rows: Rows,
    part: Part,
    task: Task,
    session: SessionSpec,
    dataset_digest: str,
    source: Source | None,
    scratch: Path,
    lease_file: Path | None = None,
    hardware: Hardware | None = None,
    batches: tuple[int, ...] = BATCHES,
    budget_seconds: float = BUDGET_SECONDS,
    peak_memory: PeakMemory = peak_growth_bytes,
    report: Report = _silent,
) -> Measured:
    """Measures `model`, which answers to `signature`, on the rows `part` of the file `rows`.

    `source` is None for the source itself. Timing takes the machine-wide lease alone: the caller must not hold it.
    A model without a batch axis is measured at batch 1 only. `scratch` is writable; `report` is told what is done and
    which share of it. Raises PassFailed when the model cannot be run or does not answer with class scores.
    """
    opened = _open(model, session)
    opened_source = None if source is None else _open(source.model, session)
    report("evaluating", 0.0)
    prediction = predict(opened, signature, rows, part.indices, lambda share: report("evaluating", 0.4 * share))
    truth, source_evaluation = _truth(rows, part, task, source, opened_source, signature, prediction)
    evaluation = Evaluation(part.indices, right(prediction, truth), prediction)

    sizes = batches if signature.batched else (1,)
    latencies: list[BatchLatency] = []
    with lease.held(lease_file, exclusive=True, waiting=lambda: report("waiting for the machine to be quiet", 0.4)):
        for position, batch in enumerate(sizes):
            report(f"timing batch {batch}", 0.4 + 0.5 * position / len(sizes))
            inputs = batch_of(rows, part, signature, batch)
            latencies.append(_timed(batch, opened, opened_source, inputs, budget_seconds))
    report("measuring memory", 0.9)
    memory = peak_memory(model, batch_of(rows, part, signature, max(sizes)), session, scratch)
    report("measured", 1.0)

    paired = None if source_evaluation is None else pair(evaluation.score, source_evaluation.score)
    metric = METRIC[task]
    measurement = Measurement(
        dataset_digest=dataset_digest,
        rows_digest=part.digest,
        hardware=hardware or fingerprint(),
        session=session,
        metric=_share(metric, evaluation.score),
        source_metric=None if source_evaluation is None else _share(metric, source_evaluation.score),
        difference=None if paired is None else _estimate(f"{metric} difference", paired_difference(paired), paired.n),
        agreement=None
        if source_evaluation is None
        else _share("agreement", right(prediction, source_evaluation.prediction)),
        latencies=tuple(latencies),
        peak_memory_bytes=memory,
        size_bytes=model.stat().st_size,
    )
    return Measured(measurement, evaluation, paired)


def batch_of(rows: Rows, part: Part, signature: Signature, batch: int) -> dict[str, NDArray[np.generic]]:
    """What the model is fed at this batch size: the part's first rows, repeated when there are too few."""
    return feeds(rows, signature.inputs, np.resize(part.indices, batch))


def _open(model: Path, session: SessionSpec) -> ort.InferenceSession:
    try:
        return build(model, session)
    except ort_errors() as error:
        reason = (str(error).splitlines() or ["no reason given"])[0][:300].replace(str(model), model.name)
        raise PassFailed(f"onnxruntime cannot load the model: {reason}") from error


def _truth(
    rows: Rows,
    part: Part,
    task: Task,
    source: Source | None,
    opened_source: ort.InferenceSession | None,
    signature: Signature,
    prediction: NDArray[np.int64],
) -> tuple[NDArray[np.int64], Evaluation | None]:
    """What a right answer is, and the source's answers (None when the source itself is measured)."""
    labels = None if rows.labels is None else rows.labels[part.indices]
    if task == "classification" and labels is None:
        raise InvalidDataset("task classification needs an array `labels`")
    if source is None or opened_source is None:
        return (prediction if task == "agreement" or labels is None else labels), None
    known = source.evaluation
    if known is None or not np.array_equal(known.rows, part.indices):
        theirs = predict(opened_source, signature, rows, part.indices, lambda share: None)
        truth = theirs if task == "agreement" or labels is None else labels
        known = Evaluation(part.indices, right(theirs, truth), theirs)
    return (known.prediction if task == "agreement" or labels is None else labels), known


def _timed(
    batch: int,
    opened: ort.InferenceSession,
    opened_source: ort.InferenceSession | None,
    inputs: dict[str, NDArray[np.generic]],
    budget_seconds: float,
) -> BatchLatency:
    # Once through the checked call, so that a refusal at this batch size is a clear error.
    run(opened, None, inputs)
    if opened_source is None:
        return BatchLatency(batch=batch, latency=latency.time_alone(lambda: opened.run(None, inputs), budget_seconds))
    run(opened_source, None, inputs)
    taken, speedup = latency.time_pair(
        lambda: opened.run(None, inputs), lambda: opened_source.run(None, inputs), budget_seconds
    )
    return BatchLatency(batch=batch, latency=taken, speedup=speedup)


def _share(name: str, score: NDArray[np.float32]) -> Estimate:
    return _estimate(name, wilson(int(np.count_nonzero(score > 0.5)), len(score)), len(score))


def _estimate(name: str, interval: Interval, n: int) -> Estimate:
    return Estimate(name=name, value=interval.value, low=interval.low, high=interval.high, n=n)
