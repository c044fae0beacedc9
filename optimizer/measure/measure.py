"""Measures one ONNX file on this host: quality on the evaluation rows, latency, memory, all against the source."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from optimizer.artifact.hardware import fingerprint
from optimizer.artifact.manifest import BatchLatency, Hardware, Manifest, Measurement
from optimizer.artifact.rows import Rows, feeds
from optimizer.artifact.session import SessionSpec, build, ort_errors
from optimizer.artifact.signature import Signature
from optimizer.artifact.task import Task
from optimizer.data.splits import Part
from optimizer.errors import PassFailed
from optimizer.measure import latency, lease
from optimizer.measure.evaluation import Evaluation
from optimizer.measure.figures import SEED, quality_of
from optimizer.measure.host import start_of, throughput_of
from optimizer.measure.memory import peak_growth_bytes
from optimizer.measure.noise import noise_of, watched
from optimizer.measure.predictions import evaluate, run
from optimizer.measure.slices import slices_of
from optimizer.measure.truth import truth_for
from optimizer.metrics.comparison import Paired

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
    # Its peak memory on this host with the same session; None: it is measured again where it matters.
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class Measured:
    """A measurement, the answers behind it, and how they pair with the source's (None for the source itself)."""

    measurement: Measurement
    evaluation: Evaluation
    paired: Paired | None
    # The source's peak memory; None when it is not known and was not asked for.
    source_peak_memory_bytes: int | None = None


def source_of(
    model: Path,
    manifest: Manifest,
    evaluation: Path,
    dataset_digest: str,
    part: Part,
    hardware: Hardware | None = None,
    session: SessionSpec | None = None,
) -> Source:
    """A published source; its answers are used again only where they were given on these very rows.

    A model's data set may have been replaced since its source was measured. Its memory is used again where it was
    measured on the same `hardware` with the same `session`.
    """
    same = any(
        known.dataset_digest == dataset_digest and known.rows_digest == part.digest for known in manifest.measurements
    )
    memory = [
        known.peak_memory_bytes
        for known in manifest.measurements
        if known.hardware == hardware and known.session == session
    ]
    return Source(model, Evaluation.load(evaluation) if same else None, memory[-1] if memory else None)


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
    compare_memory: bool = False,
    report: Report = _silent,
) -> Measured:
    """Measures `model`, which answers to `signature`, on the rows `part` of the file `rows`.

    `source` is None for the source itself. Timing takes the machine-wide lease alone: the caller must not hold it.
    A model without a batch axis is measured at batch 1 only. `scratch` is writable; `report` is told what is done and
    which share of it. `compare_memory` says that the source's memory must be known. Raises PassFailed when the model
    cannot be run or does not answer as the task says.
    """
    opened = _open(model, session)
    opened_source = None if source is None else _open(source.model, session)
    report("evaluating", 0.0)
    theirs = None if source is None else _of_source(source, opened_source, signature, rows, part, task)
    truth = truth_for(task, rows, part.indices, signature, opened_source, theirs)
    evaluation = evaluate(
        opened, signature, rows, part.indices, task, truth, lambda share: report("evaluating", 0.4 * share)
    )
    quality = quality_of(evaluation, theirs, task, rows, part.indices)
    sliced = slices_of(evaluation, theirs, task, rows, part.indices, SEED)

    sizes = batches if signature.batched else (1,)
    latencies: list[BatchLatency] = []
    with lease.held(lease_file, exclusive=True, waiting=lambda: report("waiting for the machine to be quiet", 0.4)):
        fed = {batch: batch_of(rows, part, signature, batch) for batch in sizes}
        with watched() as watch:
            for position, batch in enumerate(sizes):
                report(f"timing batch {batch}", 0.4 + 0.5 * position / len(sizes))
                latencies.append(_timed(batch, opened, opened_source, fed[batch], budget_seconds))
        throughput = throughput_of(latencies, lambda batch: opened.run(None, fed[batch]))
        start = start_of(lambda: _open(model, session), batch_of(rows, part, signature, 1))
    report("measuring memory", 0.9)
    memory = peak_memory(model, batch_of(rows, part, signature, max(sizes)), session, scratch)
    source_memory = None if source is None else source.peak_memory_bytes
    if source is not None and source_memory is None and compare_memory:
        source_memory = peak_memory(source.model, batch_of(rows, part, signature, max(sizes)), session, scratch)
    report("measured", 1.0)

    measurement = Measurement(
        dataset_digest=dataset_digest,
        rows_digest=part.digest,
        hardware=hardware or fingerprint(),
        session=session,
        metric=quality.metric,
        source_metric=quality.source_metric,
        difference=quality.difference,
        agreement=quality.agreement,
        p_value=quality.p_value,
        secondary=quality.secondary,
        slices=sliced.slices,
        slices_left_out=sliced.left_out,
        worst_slice=sliced.worst,
        latencies=tuple(latencies),
        start=start,
        throughput=throughput,
        noise=noise_of(
            {entry.batch: entry.latency.variation or 0.0 for entry in latencies}, watch, session.intra_op_threads
        ),
        peak_memory_bytes=memory,
        size_bytes=model.stat().st_size,
    )
    return Measured(measurement, evaluation, quality.paired, source_memory)


def batch_of(rows: Rows, part: Part, signature: Signature, batch: int) -> dict[str, NDArray[np.generic]]:
    """What the model is fed at this batch size: the part's first rows, repeated when there are too few."""
    return feeds(rows, signature.inputs, np.resize(part.indices, batch))


def _open(model: Path, session: SessionSpec) -> ort.InferenceSession:
    try:
        return build(model, session)
    except ort_errors() as error:
        reason = (str(error).splitlines() or ["no reason given"])[0][:300].replace(str(model), model.name)
        raise PassFailed(f"onnxruntime cannot load the model: {reason}") from error


def _of_source(
    source: Source,
    opened: ort.InferenceSession | None,
    signature: Signature,
    rows: Rows,
    part: Part,
    task: Task,
) -> Evaluation:
    """The source's answers on the same rows: the known ones, or new ones where those are of other rows."""
    known = source.evaluation
    if known is not None and np.array_equal(known.rows, part.indices):
        return known
    assert opened is not None
    return evaluate(opened, signature, rows, part.indices, task, truth_for(task, rows, part.indices, signature, None))


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
